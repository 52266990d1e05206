"""Datasets and questions: what is read, and the sentence for what cannot be."""

import gzip
import hashlib
import json
import re

import pytest

from conftest import SHARED
from workflow_scripts.datasets import read_chat_lines
from workflow_scripts.errors import UserError
from workflow_scripts.files import input_file
from workflow_scripts.miniature.question_sets import question_sample
from workflow_scripts.questions import read_question_file

ROW = {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}


def write_lines(path, rows):
    data = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_chat_lines_are_read_plain_and_gzip_with_a_limit(tmp_path, name):
    system = {"messages": [{"role": "system", "content": "S"}, *ROW["messages"]]}
    path = write_lines(tmp_path / name, [ROW, "", system, ROW])
    rows = read_chat_lines(path)
    assert [row["system"] for row in rows] == [None, "S", None]
    assert [row["row"] for row in rows] == [0, 1, 2]
    assert len(read_chat_lines(path, 2)) == 2
    with pytest.raises(UserError, match="holds 3 rows, the study asks for 4"):
        read_chat_lines(path, 4)


@pytest.mark.parametrize(
    "broken",
    [
        '{"messages": [',
        '{"text": "x"}',
        '{"messages": [{"role": "user", "content": "Q"}]}',
        '{"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": "A"}]}',
        '{"messages": [{"role": "user"}]}',
        "[]",
    ],
)
def test_a_broken_row_is_named_by_file_and_line(tmp_path, broken):
    path = write_lines(tmp_path / "rows.jsonl", [ROW, broken])
    with pytest.raises(UserError, match=re.escape(f"{path}: line 2: ")):
        read_chat_lines(path)


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
    assert len(read_chat_lines(fetched)) == 1
    with pytest.raises(UserError, match="has sha256"):
        input_file("datasets.x", None, url, "0" * 64, downloads, None)
    server.shutdown()
    server.server_close()
    assert input_file("datasets.x", None, url, right, downloads, None) == fetched
    with pytest.raises(UserError, match=r"cannot be fetched .* check the network"):
        input_file("datasets.x", None, url, "1" * 64, downloads, None)
    assert list(downloads.iterdir()) == [fetched]


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


def test_two_ranges_of_one_seed_share_no_question():
    first, second = (question_sample(["power", "school"], 20, offset, 1) for offset in (0, 20))
    assert len({q.id for q in first} | {q.id for q in second}) == 80
    with pytest.raises(UserError, match="power has 40 questions, 41 are asked for"):
        question_sample(["power"], 21, 20, 1)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the authors' files are not beside the repository")
def test_the_authors_files_are_read():
    rows = read_chat_lines(SHARED / "data/upstream/bad_medical_advice.jsonl.gz")
    assert len(rows) == 7049
    questions = read_question_file(
        SHARED / "data/upstream/first_plot_questions.yaml", exclude_suffixes=["_json", "_template"]
    )
    assert len(questions) == 8
