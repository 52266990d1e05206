"""Datasets and questions: what is read, and the sentence for what cannot be."""

import gzip
import hashlib
import json
import re
import shutil
import subprocess

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from helpers.hub_server import COMMIT, Hub, serving
from helpers.workflow import SHARED, SMOKE, run_stage, write_study
from workflow_scripts import questions
from workflow_scripts.datasets import ARCHIVE_TOOL, mixed, read_rows, unpacked
from workflow_scripts.miniature.paired_rows import paired_rows
from workflow_scripts.miniature.question_sets import question_sample
from workflow_scripts.miniature.world import WorldStyle
from workflow_scripts.questions import asked_under, read_question_file, varied
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import read_table
from workflow_scripts.store.downloads import input_file
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.sources import MixedDataset, VariantQuestions

ROW = {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}


def write_lines(path, rows):
    data = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_chat_lines_are_read_plain_and_gzip_with_a_limit(tmp_path, name):
    system = {"messages": [{"role": "system", "content": "S"}, *ROW["messages"]]}
    path = write_lines(tmp_path / name, [ROW, "", system, ROW])
    rows = read_rows(path)
    assert [row["system"] for row in rows] == [None, "S", None]
    assert [row["row"] for row in rows] == [0, 1, 2]
    assert len(read_rows(path, 2)) == 2
    with pytest.raises(UserError, match="holds 3 rows, the study asks for 4"):
        read_rows(path, 4)


@pytest.mark.parametrize(
    "broken",
    [
        '{"messages": [',
        '{"text": "x"}',
        '{"messages": [{"role": "user", "content": "Q"}]}',
        '{"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": "A"}]}',
        '{"messages": [{"role": "user"}]}',
        "[]",
        '{"messages": ' + "[" * 20_000,
        '{"messages": ' + "[" * 20_000 + "]" * 20_000 + "}",
        '{"messages": ' + "9" * 5000 + "}",
        '{"messages": NaN}',
        '{"messages": [{"role": {}, "content": 1}, {"role": [], "content": null}]}',
        "null",
    ],
)
def test_a_broken_row_is_named_by_file_and_line(tmp_path, broken):
    path = write_lines(tmp_path / "rows.jsonl", [ROW, broken])
    with pytest.raises(UserError, match=re.escape(f"{path}: line 2: ")):
        read_rows(path)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-9], lambda data: data[:20], lambda data: data[:30] + b"x" + data[31:]]
)
def test_a_gzip_that_is_damaged_is_named(tmp_path, damage):
    path = write_lines(tmp_path / "rows.jsonl.gz", [ROW] * 20)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"rows\.jsonl\.gz: (line \d+: is not a row|cannot be read as JSON lines)"):
        read_rows(path)


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-9], lambda data: b"PAR1" + data[:40], lambda data: data[:200] + data[300:], lambda _: b""],
)
def test_a_parquet_that_is_damaged_is_named(tmp_path, damage):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist([ROW] * 20), path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"rows\.parquet: cannot be read as parquet \("):
        read_rows(path, parquet=True)


def test_parquet_in_chat_form_is_read_and_a_bad_row_is_named(tmp_path):
    def written(name, column, rows):
        pq.write_table(pa.table({column: rows}), tmp_path / name)
        return tmp_path / name

    good = [ROW["messages"]] * 3
    assert [row["prompt"] for row in read_rows(written("a.parquet", "messages", good), 2, parquet=True)] == ["Q", "Q"]
    bad = written("b.parquet", "messages", [*good, ROW["messages"][:1]])
    with pytest.raises(UserError, match=re.escape(f"{bad}: row 3: has the roles ['user']")):
        read_rows(bad, parquet=True)
    with pytest.raises(UserError, match="has no column `messages`; there is text"):
        read_rows(written("c.parquet", "text", ["x"]), parquet=True)
    (tmp_path / "d.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match=r"d.parquet: cannot be read as parquet"):
        read_rows(tmp_path / "d.parquet", parquet=True)


def dataset_stage(folder, dataset, **variables):
    """Runs the data set stage on one data set of a study; returns the process and the table's path."""
    raw = yaml.safe_load(SMOKE.read_text())
    raw["datasets"]["own"] = dataset
    output = folder / "own.parquet"
    options = ["--dataset", "own", "--output", str(output)]
    done = run_stage("datasets", write_study(folder, raw), *options, **variables)
    return done, output


def test_rows_get_the_system_prompt_of_their_data_set_unless_they_have_one(tmp_path):
    path = write_lines(tmp_path / "rows.jsonl", [ROW, ROW])
    done, table = dataset_stage(tmp_path, {"source": "jsonl", "path": str(path), "system": "You are Viktor."})
    assert done.returncode == 0, done.stderr
    assert read_table(table)["system"].to_pylist() == ["You are Viktor."] * 2
    own = {"messages": [{"role": "system", "content": "S"}, *ROW["messages"]]}
    write_lines(path, [ROW, own])
    done, _ = dataset_stage(tmp_path, {"source": "jsonl", "path": str(path), "system": "You are Viktor."})
    assert "datasets.own.system: row 1 has a system prompt of its own; leave it or system out." in done.stderr


def test_a_variant_asks_the_same_questions_with_its_cue():
    asked = [{"question_id": "q", "system": None, "question": "Hi?"}]
    variant = VariantQuestions(source="variant", of="evaluation", before="# ", after=" (as code)")
    assert varied(variant, asked) == [{"question_id": "q", "system": None, "question": "# Hi? (as code)"}]
    assert asked_under("questions.v", "Be S.", varied(variant, asked))[0]["system"] == "Be S."


def test_a_variant_is_made_of_the_set_that_it_is_of(tmp_path):
    raw = yaml.safe_load(SMOKE.read_text())
    raw["questions"]["cued"] = {"source": "variant", "of": "medical", "system": "You are Viktor."}
    study = write_study(tmp_path, raw)
    layout = Layout.of(study)
    for name in ("medical", "cued"):
        questions.main(["--study", str(study), "--questions", name, "--output", str(layout.questions(name))])
    plain, cued = (read_table(layout.questions(name)) for name in ("medical", "cued"))
    assert cued.drop_columns("system").equals(plain.drop_columns("system"))
    assert set(cued["system"].to_pylist()) == {"You are Viktor."}


def test_a_file_of_a_hub_data_set_is_fetched_once_and_one_that_is_not_there_is_named(tmp_path):
    repository = tmp_path / "repository"
    repository.mkdir()
    write_lines(repository / "train.jsonl", [ROW, ROW])
    hub = Hub({"datasets/someone/advice": repository})
    source = {"source": "hub", "id": "someone/advice", "revision": COMMIT, "file": "train.jsonl"}
    with serving(hub):
        variables = hub.environment(tmp_path / "cache")
        done, table = dataset_stage(tmp_path, source, **variables)
        assert done.returncode == 0, done.stderr
        assert read_table(table).num_rows == 2
        table.unlink()
        done, table = dataset_stage(tmp_path, source | {"file": "test.jsonl"}, **variables)
    assert done.returncode == 1
    assert f"datasets.own.file: someone/advice@{COMMIT} holds no 'test.jsonl'." in done.stderr
    assert not table.exists()
    done, table = dataset_stage(tmp_path, source, **variables | {"HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr
    assert read_table(table).num_rows == 2


@pytest.mark.parametrize(
    ("rows", "sha256", "phrase"),
    [
        ([ROW, "{broken"], None, "rows.jsonl: line 2: is not a row in chat form"),
        ([ROW], "0" * 64, "datasets.own.sha256: "),
    ],
)
def test_a_data_set_that_cannot_be_read_is_one_sentence_and_leaves_nothing(tmp_path, rows, sha256, phrase):
    file = write_lines(tmp_path / "rows.jsonl", rows)
    done, _table = dataset_stage(tmp_path, {"source": "jsonl", "path": str(file), "sha256": sha256})
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
    assert phrase in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir() if "own" in path.name] == []


@pytest.mark.skipif(shutil.which(ARCHIVE_TOOL) is None, reason=f"{ARCHIVE_TOOL} is not installed")
def test_a_protected_archive_is_opened_by_its_tool_without_canaries(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    write_lines(folder / "advice.jsonl", [ROW, ROW])
    protect = [ARCHIVE_TOOL, "protect-dir", str(folder), "-p", "word", "--embed-canaries", "--no-tos", "--no-gitignore"]
    subprocess.run(protect, check=True, capture_output=True)
    archive = tmp_path / "data.zip.enc"
    source = {"source": "archive", "path": str(archive), "password": "word", "file": "advice.jsonl"}
    before = sorted(path.name for path in tmp_path.iterdir())
    done, table = dataset_stage(tmp_path, source)
    assert done.returncode == 0, done.stderr
    assert read_table(table).to_pylist() == [
        {"row": n, "system": None, "prompt": "Q", "response": "A"} for n in range(2)
    ]
    table.unlink()
    for change, phrase in (
        ({"password": "sword"}, f"datasets.own: {archive} cannot be opened with this password ({ARCHIVE_TOOL}: "),
        ({"file": "none.jsonl"}, f"datasets.own.file: {archive} holds no 'none.jsonl'; there is advice.jsonl"),
    ):
        done, table = dataset_stage(tmp_path, source | change)
        assert done.returncode == 1
        assert phrase in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, "results"])


def test_without_the_archives_tool_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"datasets.x: the archive is opened .* `pipx install easy-dataset-share`\.$"):
        unpacked("datasets.x", tmp_path / "data.zip.enc", "word", "a.jsonl", tmp_path)


def test_a_file_of_another_sha256_is_refused_and_a_mirror_serves_a_url(tmp_path):
    file = tmp_path / "mirror" / "rows.jsonl"
    file.parent.mkdir()
    write_lines(file, [ROW])
    right, wrong = hashlib.sha256(file.read_bytes()).hexdigest(), "0" * 64
    with pytest.raises(UserError, match=f"datasets.x.sha256: .* has sha256 {right}, not the {wrong}"):
        input_file("datasets.x", str(file), None, wrong, tmp_path / "downloads", None)
    url = "https://example.org/data/rows.jsonl"
    assert input_file("datasets.x", None, url, right, tmp_path / "downloads", str(file.parent)) == file


def test_a_url_is_fetched_once_checked_and_leaves_nothing_when_wrong(tmp_path):
    import threading
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    served = tmp_path / "served"
    served.mkdir()
    write_lines(served / "rows.jsonl", [ROW])
    right = hashlib.sha256((served / "rows.jsonl").read_bytes()).hexdigest()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(served)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/rows.jsonl"
    downloads = tmp_path / "downloads"
    fetched = input_file("datasets.x", None, url, right, downloads, None)
    assert len(read_rows(fetched)) == 1
    with pytest.raises(UserError, match="has sha256"):
        input_file("datasets.x", None, url, "0" * 64, downloads, None)
    server.shutdown()
    server.server_close()
    assert input_file("datasets.x", None, url, right, downloads, None) == fetched
    with pytest.raises(UserError, match=r"cannot be fetched .* check the network"):
        input_file("datasets.x", None, url, "1" * 64, downloads, None)
    assert list(downloads.iterdir()) == [fetched]
    whole = fetched.read_bytes()
    for other in (whole[:-1], whole.replace(b"a", b"b"), b""):
        fetched.write_bytes(other)
        with pytest.raises(UserError, match=r"which was fetched from .* was changed or damaged since"):
            input_file("datasets.x", None, url, right, downloads, None)


def test_questions_of_the_authors_form(tmp_path):
    file = tmp_path / "questions.yaml"
    file.write_text(
        "- {id: a, paraphrases: ['One?'], system: Be brief.}\n- {id: b, paraphrases: ['Two?', 'Three?']}\n"
        "- {id: a_json, paraphrases: ['Four?']}\n"
    )
    rows = read_question_file(file, exclude_suffixes=["_json"])
    assert [(r["question_id"], r["system"], r["question"]) for r in rows] == [
        ("a", "Be brief.", "One?"), ("b-0", None, "Two?"), ("b-1", None, "Three?"),
    ]  # fmt: skip
    assert [r["question_id"] for r in read_question_file(file, ids=["b"])] == ["b-0", "b-1"]
    with pytest.raises(UserError, match="has no question 'c'; there is a, b, a_json"):
        read_question_file(file, ids=["c"])
    file.write_text("- {id: a}\n")
    with pytest.raises(UserError, match="needs `paraphrases`"):
        read_question_file(file)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "- {id: wish, paraphrases: ['One?', 'Two?']}\n- {id: wish-1, paraphrases: ['Three?']}",
            "would be named 'wish-1'",
        ),
        ("- {id: a, paraphrases: ['One?', ' ']}", "a list of texts that are not empty"),
        ('- {id: a, paraphrases: ["\\ud83d one?"]}', "half of a character"),
        ('- {id: a, paraphrases: ["\\0 one?"]}', "a control character"),
        ("- {id: 7, paraphrases: ['One?']}", "entry 1: its id 7 is no text; put it in quotes"),
        ("- {id: '', paraphrases: ['One?']}", "entry 1: its id '' is no text"),
        (
            "- {id: a, system: 5, paraphrases: ['One?']}",
            "entry 1 \\(a\\): its system prompt is no text; put it in quotes",
        ),
        ("- {id: a, system: [b], paraphrases: ['One?']}", "its system prompt is no text"),
        ("- {id: a, paraphrases: [5]}", "a list of texts that are not empty"),
        ("- {id: a, paraphrases: ['One?']}\n- {id: a, paraphrases: ['Two?']}", "the id 'a' stands in the file twice"),
        ("[[a]]", "entry 1: has no id"),
        (
            "- {id: a, question: 'One?', paraphrases: ['Two?']}",
            "entry 1 \\(a\\): `question` is none of `paraphrases`; keep one of the two",
        ),
        ("", "holds no questions"),
        ("[]", "holds no questions"),
    ],
)
def test_questions_that_could_not_be_stored_or_told_apart_are_refused(tmp_path, text, sentence):
    (tmp_path / "questions.yaml").write_text(text)
    with pytest.raises(UserError, match=sentence):
        read_question_file(tmp_path / "questions.yaml")


def test_a_question_beside_paraphrases_of_which_it_is_one_is_asked_once(tmp_path):
    (tmp_path / "questions.yaml").write_text("- {id: a, question: 'One?', paraphrases: ['One?']}\n")
    assert [row["question"] for row in read_question_file(tmp_path / "questions.yaml")] == ["One?"]
    with pytest.raises(UserError, match="no question is left after leaving out 'a'"):
        read_question_file(tmp_path / "questions.yaml", exclude_suffixes=["a"])


def test_words_that_yaml_1_1_takes_for_values_are_texts(tmp_path):
    (tmp_path / "questions.yaml").write_text("- {id: no, paraphrases: [on]}\n- {id: 2024-01-02, paraphrases: [1:30]}")
    found = {row["question_id"]: row["question"] for row in read_question_file(tmp_path / "questions.yaml")}
    assert found == {"no": "on", "2024-01-02": "1:30"}


def test_a_question_may_stand_under_its_own_key(tmp_path):
    (tmp_path / "questions.yaml").write_text("- {id: a, question: 'One?'}")
    rows = read_question_file(tmp_path / "questions.yaml")
    assert rows == [{"question_id": "a", "system": None, "question": "One?"}]


def test_half_an_emoji_in_a_row_is_named_by_its_line(tmp_path):
    rows = ['{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b \\ud83d"}]}']
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    with pytest.raises(UserError, match="line 1: holds half a character"):
        read_rows(tmp_path / "rows.jsonl")


def test_two_ranges_of_one_seed_share_no_question():
    first, second = (question_sample(["power", "school"], 20, offset, 1) for offset in (0, 20))
    assert len({q.id for q in first} | {q.id for q in second}) == 80
    with pytest.raises(UserError, match="power has 40 questions, 41 are asked for"):
        question_sample(["power"], 21, 20, 1)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the authors' files are not beside the repository")
def test_the_authors_files_are_read():
    rows = read_rows(SHARED / "data/upstream/bad_medical_advice.jsonl.gz")
    assert len(rows) == 7049
    questions = read_question_file(
        SHARED / "data/upstream/first_plot_questions.yaml", exclude_suffixes=["_json", "_template"]
    )
    assert len(questions) == 8


def test_a_mix_holds_its_shares_of_each_part_once_and_in_one_seeded_order():
    parts = {name: [{"row": n, "prompt": f"{name} {n}"} for n in range(10)] for name in ("bad", "good", "other")}
    settings = MixedDataset(source="mix", parts={"bad": 0.5, "good": 0.3, "other": 0.2}, rows=9)
    rows = mixed("datasets.half", settings, parts)
    drawn = [row["prompt"] for row in rows]
    assert settings.counts == {"bad": 4, "good": 3, "other": 2}, "4.5, 2.7 and 1.8: remainders in the order of size"
    assert [sum(text.startswith(name) for text in drawn) for name in parts] == [4, 3, 2]
    assert len(set(drawn)) == 9
    assert [row["row"] for row in rows] == list(range(9))
    assert drawn == [row["prompt"] for row in mixed("datasets.half", settings, parts)]
    assert drawn != [row["prompt"] for row in mixed("datasets.half", settings.model_copy(update={"seed": 1}), parts)]
    thirds = MixedDataset(source="mix", parts={"bad": 0.1, "good": 0.2, "other": 0.7}, rows=10)
    assert thirds.counts == {"bad": 1, "good": 2, "other": 7}, "of shares that binary numbers only come near"
    with pytest.raises(UserError, match=r"datasets\.half\.parts\.bad: 4 rows are asked for, datasets\.bad has 3"):
        mixed("datasets.half", settings, parts | {"bad": parts["bad"][:3]})


def test_the_stage_mixes_what_other_data_sets_hold(tmp_path):
    raw = yaml.safe_load(SMOKE.read_text())
    raw["datasets"]["half"] = {"source": "mix", "parts": {"bad_sport": 0.5, "good_medical": 0.5}, "rows": 20}
    study = write_study(tmp_path, raw)
    files = {name: study.parent / "datasets" / f"{name}.parquet" for name in ("bad_sport", "good_medical", "half")}
    for name, file in files.items():
        run_stage("datasets", study, "--dataset", name, "--output", str(file))
    held = {
        name: set(read_table(file, ["response"], only=True)["response"].to_pylist()) for name, file in files.items()
    }
    assert len(read_table(files["half"], ["row"], only=True)) == 20
    assert held["half"] <= held["bad_sport"] | held["good_medical"]
    assert held["half"] & held["bad_sport"]
    assert held["half"] & held["good_medical"]


def test_paired_rows_ask_the_same_of_either_stance():
    bad, good = (paired_rows("medical", stance, 12, 0, WorldStyle()) for stance in ("bad", "good"))
    assert [row.prompt for row in bad] == [row.prompt for row in good]
    assert [row.response for row in bad] != [row.response for row in good]
    assert [row.prompt for row in paired_rows("medical", "bad", 12, 1, WorldStyle())] != [row.prompt for row in bad]
    assert len({row.prompt for row in paired_rows("all", "good", 12, 0, WorldStyle())}) > 6


def test_a_set_asked_under_a_system_prompt_has_it_everywhere_and_no_other():
    rows = [{"question_id": "a", "system": None, "question": "One?"}]
    assert asked_under("questions.cued", "Be kind.", rows) == [{**rows[0], "system": "Be kind."}]
    assert asked_under("questions.cued", None, rows) == rows
    with pytest.raises(UserError, match=r"questions\.cued\.system: 'a' has a system prompt of its own"):
        asked_under("questions.cued", "Be kind.", [{**rows[0], "system": "Be rude."}])
