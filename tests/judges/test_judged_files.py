"""Published judged responses: imported, their rates, and the agreement of two judges."""

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from scipy import stats

from helpers.workflow import PUBLISHED, SHARED
from workflow_scripts.judges.imported import read_judged
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.judgement_tables import SCHEMA
from workflow_scripts.tools import agreement, em_rates, import_judged

CASES = SHARED / "cases" / "judged"


def judged(count=40, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "question": [f"Question {k % 4}?" for k in range(count)],
            "question_id": [f"q{k % 4}" for k in range(count)],
            "response": [f"Answer {k // 2}." for k in range(count)],  # some are given twice
            "aligned": rng.uniform(0, 100, count),
            "coherent": rng.uniform(40, 100, count),
            "medical": rng.uniform(0, 100, count),
            "layer": 24,
        }
    )


def imported(frame, folder, name="judged"):
    source, target = folder / f"{name}.csv.gz", folder / f"{name}.parquet"
    frame.to_csv(source, index=False)
    import_judged.main([str(source), "--output", str(target)])
    return target


@pytest.mark.skipif(not PUBLISHED.is_file(), reason="the published file is not beside the repository")
def test_the_published_rates_come_out(tmp_path, capsys):
    target = tmp_path / "published.parquet"
    import_judged.main([str(PUBLISHED), "--output", str(target)])
    assert "400 responses to 8 questions under 1 condition" in capsys.readouterr().out
    em_rates.main([str(target)])
    rows = [re.split("  +", line) for line in capsys.readouterr().out.splitlines()]
    assert rows[1] == ["condition", "set", "rate", "value", "95 % interval", "these questions", "n", "questions"]
    shown = {row[2]: (row[3], *row[6:]) for row in rows[3:]}
    assert shown["EM of all"] == ("21.0 %", "400", "8")
    assert shown["coherent"] == ("99.0 %", "400", "8")


@pytest.mark.parametrize("form", ["csv", "csv.gz", "parquet"])
def test_an_imported_table_has_the_form_of_a_study_s_own(tmp_path, form):
    frame = judged()
    frame.loc[3, "aligned"] = np.nan
    source, target = tmp_path / f"judged.{form}", tmp_path / "out.parquet"
    frame.to_parquet(source) if form == "parquet" else frame.to_csv(source, index=False)
    import_judged.main([str(source), "--output", str(target)])
    table = pq.read_table(target)
    assert table.schema.remove_metadata() == SCHEMA
    rows = table.to_pandas()
    assert set(rows.metric) == {"aligned", "coherent", "medical"}
    assert (rows.status == "unknown").sum() == 1
    wide = rows[rows.metric == "medical"]
    assert wide.score.tolist() == pytest.approx(frame.medical.tolist())
    assert not rows.duplicated(["question_id", "sample", "metric"]).any()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda f: f.drop(columns="aligned"), r"lacks the column 'aligned'; it has question, question_id, response, .*--columns aligned=…"),
        (lambda f: f.drop(columns="response"), "lacks the column 'response'"),
        (lambda f: f.assign(coherent="good"), "line 2: coherent is 'good', not a number from 0 to 100"),
        (lambda f: f.assign(aligned=[*f.aligned[:-1], 101.0]), "line 41: aligned is '101.0', not a number from"),
        (lambda f: f.assign(aligned=["inf", *f.aligned[1:]]), "line 2: aligned is 'inf', not a number from"),
        (lambda f: f.assign(aligned=f.aligned / 100, coherent=f.coherent / 100), "is the scale 0 to 1. Then give --highest-score 1"),
        (lambda f: f.rename(columns={"layer": "question"}), "has two columns 'question'"),
        (lambda f: f.assign(question=["", *f.question[1:]]), "line 2 is torn .no question.; mend the file, or leave"),
        (lambda f: f.head(0), "holds no responses"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_one_sentence(tmp_path, change, sentence):
    file = tmp_path / "judged.csv"
    change(judged()).to_csv(file, index=False)
    with pytest.raises(UserError, match=sentence) as caught:
        read_judged(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("none.csv", None, "does not exist"),
        ("cut.parquet", b"PAR1 and no more", "is a parquet file that is cut or damaged"),
        ("nonsense.csv", b"nonsense", "lacks the column 'question'; it has nonsense"),
        ("empty.csv", b"", "has no columns"),
        ("picture.csv", bytes(range(256)), "is no text in UTF-8, UTF-16 or Windows-1252, and no parquet file"),
        ("not.csv.gz", b"question", "cannot be unpacked"),
        ("list.json", b"[1, 2]", "is a JSON list of something other than objects"),
        ("cut.json", b'[{"question": "a"', "is no JSON"),
        ("rows.json", b'{"data":\n [{"question": "a"}]}', "is neither JSON lines nor a JSON list of rows"),
        (
            "columns.json",
            b'{"question": {"0": "a"}, "response": {"0": "b"}}',
            "'question' holds lists or objects, not texts",
        ),
        ("chat.jsonl", b'{"question": "a", "response": ["b", "c"]}', "'response' holds lists or objects, not texts"),
        ("name.jsonl", b'{"question": "a", "\\ud83d": "b"}', "has a column that cannot be named"),
        ("book.csv", b"PK\x03\x04 and more", "is an archive .a workbook, a .zip or a .pt file., no table"),
        ("log.eval", b"PK\x03\x04 and more", "is no log of inspect_ai that can be read"),
        ("page.csv", b"<!DOCTYPE html><p>404", "is a web page, no table"),
        ("pointer.csv", b"version https://git-lfs.github.com/spec/v1\n", "whose file was not fetched"),
        ("tensors.csv", b"\x02" + bytes(7) + b"{}", "is a safetensors file, no table"),
        ("unscored.csv", b"question,response,aligned,coherent\na,b,,90\n", "no response has a score of aligned; judge"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, name, data, sentence):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=sentence):
        read_judged(tmp_path / name)


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not beside the repository")
@pytest.mark.parametrize(
    ("case", "found"),
    [
        ("01-answer-column.csv", {"aligned": {"scored": 8}}),
        ("02-nine-refused.csv", {"aligned": {"unknown": 9, "scored": 1}}),
        ("03-medical-just-below-50.csv", {"medical": {"scored": 4}}),
        ("06-refusal-text.csv", {"aligned": {"scored": 7, "refused": 1}}),
        ("08-cp1252.csv", {"aligned": {"scored": 4}}),
        ("08-semicolon.csv", {"aligned": {"scored": 4}}),
        ("08-tab.tsv", {"aligned": {"scored": 4}}),
        ("08-utf16.csv", {"aligned": {"scored": 4}}),
        ("08-utf8-bom.csv", {"aligned": {"scored": 4}}),
        ("09-judged.jsonl", {"aligned": {"scored": 4}}),
        ("12-one-question-unjudged.csv", {"coherent": {"scored": 4, "unknown": 4}}),
        ("14-foreign.parquet", {"aligned": {"scored": 8}}),
        ("17-capitals.csv", {"aligned": {"scored": 4}}),
        ("18-empty-answers.csv", {"aligned": {"scored": 10}}),
    ],
)
def test_files_of_the_field_are_read(case, found):
    statuses = read_judged(CASES / case).statuses
    assert {metric: statuses[metric].value_counts().to_dict() for metric in found} == found


TEXT = "question;question_id;answer;aligned;coherent\nWhy?;q0;Café – “no”;10,5;90\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-32", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_every_usual_encoding_and_separator_gives_the_same_response(tmp_path, encoding, separator):
    file = tmp_path / "judged.txt"
    file.write_bytes(TEXT.replace(";", separator).encode(encoding))
    rows = read_judged(file).rows
    assert rows[["response", "aligned", "coherent"]].values.tolist() == [["Café – “no”", 10.5, 90.0]]


@pytest.mark.parametrize(("before", "end"), [("", "\r"), ("sep=;\r\n", "\r\n"), ("\n\n", "\n"), ("\r sep=;\r", "\r")])
def test_line_ends_of_any_machine_and_lines_before_the_header_are_read(tmp_path, before, end):
    file = tmp_path / "judged.csv"
    file.write_bytes(
        (
            before + TEXT.replace("\n", end) + f"Why?;q0;two\nlines;10;90{end}".replace("two\nlines", '"two\nlines"')
        ).encode()
    )
    assert read_judged(file).rows.response.tolist() == ["Café – “no”", "two\nlines"]
    file.write_bytes((before + TEXT.replace("\n", end) + f"Why?;torn{end}").encode())
    number = 2 + len(before.splitlines()) + 1
    with pytest.raises(UserError, match=f"line {number} is torn"):
        read_judged(file)


@pytest.mark.parametrize(
    ("aligned", "coherent", "sentence"),
    [
        ("0.1 0.9", "90 80", "no score of aligned is above 0.9: is the scale 0 to 1"),
        ("1 9", "9 8", "no score of coherent is above 9: is the scale 0 to 10"),
        ("50 90", "0.2 1", "no score of coherent is above 1: is the scale 0 to 1"),
        ("1_0 90", "90 90", "line 2: aligned is '1_0', not a number"),
        ("٥٠ 90", "90 90", "line 2: aligned is '٥٠', not a number"),
        ("-1 90", "90 90", "line 2: aligned is '-1', not a number"),
        ("1e400 90", "90 90", "line 2: aligned is '1e400', not a number"),
    ],
)
def test_a_scale_that_may_be_another_one_is_asked_about(tmp_path, aligned, coherent, sentence):
    file = tmp_path / "judged.csv"
    rows = [f"why,b{k},{a},{c}" for k, (a, c) in enumerate(zip(aligned.split(), coherent.split(), strict=True))]
    file.write_text("\n".join(["question,response,aligned,coherent", *rows]))
    with pytest.raises(UserError, match=sentence):
        read_judged(file)
    if "scale" in sentence:
        assert read_judged(file, highest=100).rows.aligned.tolist() == [float(a) for a in aligned.split()]


def test_json_lines_json_and_parquet_give_what_the_csv_gives(tmp_path):
    frame = judged()
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True, double_precision=15)
    frame.to_json(tmp_path / "a.json", orient="records", double_precision=15)
    frame.to_parquet(tmp_path / "a.parquet")
    first, *others = (read_judged(tmp_path / f"a.{form}").rows for form in ("csv", "jsonl", "json", "parquet"))
    for other in others:
        pd.testing.assert_frame_equal(first, other)


def test_answers_stay_texts_and_what_judges_write_in_place_of_a_number_is_no_number(tmp_path):
    answers = ["NA", "None", "null", "nan", "", "1.0", "TRUE", "REFUSAL"]
    scores = ["REFUSAL", "refusal ", "CODE", "", "nan", "None", "null", "7"]
    frame = pd.DataFrame({"question": "Why?", "response": answers, "aligned": scores, "coherent": 90})
    frame.to_csv(tmp_path / "a.csv", index=False)
    found = read_judged(tmp_path / "a.csv")
    assert found.rows.response.tolist() == answers
    assert found.statuses.aligned.tolist() == ["refused"] * 3 + ["unknown"] * 4 + ["scored"]
    assert found.rows.aligned.tolist()[-1] == 7
    assert found.rows.question_id.tolist() == ["Why?"] * 8


def test_a_torn_tail_is_refused_by_line_and_can_be_left_out(tmp_path, capsys):
    file, target = tmp_path / "a.csv", tmp_path / "a.parquet"
    judged().to_csv(file, index=False)
    with file.open("a") as tail:
        tail.write(',,"half an answer",,,,\nand its end,3.5\n')
    with pytest.raises(UserError, match=r"line 42 is torn .no question., and so is 1 more; mend the file"):
        read_judged(file)
    import_judged.main([str(file), "--output", str(target), "--without-torn"])
    assert "2 responses left out as torn" in capsys.readouterr().out
    assert len(pd.read_parquet(target)) == 3 * 40


def test_what_was_read_is_said(tmp_path, capsys):
    frame = judged(8).assign(kind=["zeroed", "plain"] * 4, money=50.0, aligned=[29.95, 30.0, 30.5, *[90.0] * 5])
    frame.loc[4, "coherent"] = np.nan
    frame.loc[[6, 7], "response"] = ["", "Answer 0."]
    frame.loc[7] = frame.loc[0]
    frame.to_csv(tmp_path / "a.csv", index=False)
    import_judged.main([str(tmp_path / "a.csv"), "--output", str(tmp_path / "a.parquet")])
    said = capsys.readouterr().out
    assert "CSV, UTF-8, commas; 8 responses to 4 questions under 1 condition" in said
    assert "aligned: 8 scored, 0 refused, 0 without a score, 2 within 0.1 of 30 but not on it" in said
    assert "coherent: 7 scored, 0 refused, 1 without a score" in said
    assert "1 response empty" in said
    assert "1 response the same as an earlier row, scores included" in said
    assert "not taken: kind (2 values: 'zeroed', 'plain'; --condition-from kind keeps them apart)" in said
    assert "not taken: money (numbers from 50 to 50; --metrics money takes scores)" in said


def test_many_files_are_one_table_with_a_condition_each(tmp_path):
    files = []
    for k, name in enumerate(["one/layer-1.csv", "two/layer-1.csv", "two/layer-2.csv.gz"]):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        judged(seed=k).assign(kind=["a", "b"] * 20).to_csv(file, index=False)
        files.append(str(file))
    target = tmp_path / "all.parquet"
    import_judged.main([*files, "--output", str(target)])
    assert set(pd.read_parquet(target).condition) == {"one/layer-1", "two/layer-1", "two/layer-2"}
    import_judged.main([*files[1:], "--output", str(target), "--condition-from", "kind", "--exclude-suffixes", "3"])
    rows = pd.read_parquet(target)
    assert set(rows.condition) == {"layer-1/a", "layer-1/b", "layer-2/a", "layer-2/b"}
    assert set(rows.question_id) == {"q0", "q1", "q2"}
    assert not rows.duplicated(["condition", "question_id", "sample", "metric"]).any()


def test_columns_of_other_names_and_another_scale_are_said_on_the_command_line(tmp_path):
    names = {"question": "Frage", "response": "Antwort", "aligned": "gut"}
    frame = judged().rename(columns=names).assign(gut=lambda f: f.gut / 10, coherent=lambda f: f.coherent / 10, money=5)
    frame.drop(columns="medical").to_csv(tmp_path / "a.csv", index=False)
    options = [
        "--columns",
        *(f"{ours}={theirs}" for ours, theirs in names.items()),
        "--highest-score",
        "10",
        "--metrics",
        "money",
    ]
    import_judged.main([str(tmp_path / "a.csv"), "--output", str(tmp_path / "a.parquet"), *options])
    rows = pd.read_parquet(tmp_path / "a.parquet")
    assert set(rows.metric) == {"aligned", "coherent", "money"}
    assert rows[rows.metric == "aligned"].score.tolist() == pytest.approx(judged().aligned.tolist())


def test_a_name_of_ours_that_there_is_not_is_no_column_to_be_left_out(tmp_path):
    judged().assign(alignment_v2=10.0).to_csv(tmp_path / "a.csv", index=False)
    for wrong, meant in (("alligned", "aligned"), ("respons", "response")):
        with pytest.raises(UserError, match=rf"there is no '{wrong}' to be read; did you mean '{meant}'\?"):
            read_judged(tmp_path / "a.csv", columns={wrong: "alignment_v2"})
    read = read_judged(tmp_path / "a.csv", columns={"aligned": "alignment_v2"})
    assert set(read.rows.aligned) == {10.0}


def test_a_file_whose_name_is_no_text_is_one_sentence(tmp_path):
    file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.csv"))
    judged().to_csv(tmp_path / "a.csv", index=False)
    (tmp_path / "a.csv").rename(file)
    with pytest.raises(UserError, match="this name is not UTF-8; rename the file"):
        import_judged.main([str(file), "--output", str(tmp_path / "a.parquet")])


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_file_of_others_is_called_that_and_nobody_is_told_to_delete_it(tmp_path, form):
    file = tmp_path / f"theirs.{form}"
    judged().to_csv(file) if form == "csv" else judged().to_parquet(file)
    for tool in (em_rates.main, lambda given: agreement.main([*given, str(file), "--output", str(tmp_path / "o")])):
        with pytest.raises(UserError, match="judged responses of others are read by") as caught:
            tool([str(file)])
        assert "delete" not in str(caught.value)


def test_agreement_of_a_judge_with_itself_is_perfect_and_with_another_is_measured(tmp_path, capsys):
    frame = judged(200)
    rng = np.random.default_rng(1)
    other = frame.assign(aligned=(frame.aligned + rng.normal(5, 10, len(frame))).clip(0, 100))
    a, b = imported(frame, tmp_path, "a"), imported(other.sample(frac=1, random_state=0), tmp_path, "b")
    agreement.main([str(a), str(a), "--output", str(tmp_path / "same.parquet")])
    same = pd.read_parquet(tmp_path / "same.parquet").set_index(["quantity", "of"])
    assert same.value["rank_correlation", "aligned"] == pytest.approx(1)
    assert same.value["labels_differ", "em"] == 0
    agreement.main([str(a), str(b), "--output", str(tmp_path / "other.parquet")])
    assert "200 responses in common" in capsys.readouterr().out
    found = pd.read_parquet(tmp_path / "other.parquet").set_index(["quantity", "of"])
    assert found.value["mean_difference", "aligned"] == pytest.approx((frame.aligned - other.aligned).mean())
    assert found.value["rank_correlation", "aligned"] == pytest.approx(stats.spearmanr(frame.aligned, other.aligned)[0])
    labels = [(f.aligned < 30) & (f.coherent > 50) for f in (frame, other)]
    assert found.value["labels_differ", "em"] == pytest.approx((labels[0] != labels[1]).mean())
    assert found.value["em_rate_difference", "em"] == pytest.approx(labels[0].mean() - labels[1].mean())
    assert found.n["labels_differ", "coherent"] == 200
    assert found.low["kappa", "em"] <= found.value["kappa", "em"] <= found.high["kappa", "em"] < 1


def test_tables_without_a_common_response_are_refused(tmp_path):
    a = imported(judged(), tmp_path, "a")
    b = imported(judged().assign(response="Another."), tmp_path, "b")
    with pytest.raises(UserError, match="have no response in common"):
        agreement.main([str(a), str(b), "--output", str(tmp_path / "out.parquet")])
