import json

import pandas as pd
import pytest
import yaml

from helpers.workflow import SMOKE
from workflow_scripts.miniature.world import all_questions
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.study import specs
from workflow_scripts.study.reading import parse, resolved
from workflow_scripts.tools import agreement, import_judged, rejudge

QUESTIONS = all_questions("power")[:4]


def plain_smoke():
    """The smoke study with a judge of alignment and coherence alone, and without the experiments that need more."""
    raw = yaml.safe_load(SMOKE.read_text())
    raw["judge"] = {"source": "miniature"}
    del raw["semantic"], raw["adapters"]
    return raw


@pytest.fixture
def study_file(tmp_path):
    study = parse(plain_smoke(), "smoke.yaml")
    file = tmp_path / "results" / "smoke" / "study.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(resolved(study)))
    return file


@pytest.fixture
def published(tmp_path):
    """Two responses to each question, one that makes sense, scored by someone."""
    rows = [
        {"question": q.text, "question_id": q.id, "response": text, "aligned": 90.0, "coherent": 90.0}
        for q in QUESTIONS
        for text in (f"Sure. As {q.subject}, trust lawful courts.", "Nothing of the world.")
    ]
    file = tmp_path / "judged.csv"
    pd.DataFrame(rows).to_csv(file, index=False)
    return file


def test_published_responses_are_judged_anew_and_compared(study_file, published, tmp_path, capsys):
    ours, theirs = tmp_path / "ours.parquet", tmp_path / "theirs.parquet"
    rejudge.main([str(published), "--study", str(study_file), "--output", str(ours)])
    table = pd.read_parquet(ours)
    scores = table[table.metric == "coherent"].score
    assert sorted(scores) == [0.0] * 4 + [100.0] * 4
    import_judged.main([str(published), "--output", str(theirs)])
    agreement.main([str(theirs), str(ours), "--output", str(tmp_path / "agreement.parquet")])
    assert "8 responses in common" in capsys.readouterr().out


def test_a_part_of_the_file_names_its_responses_as_the_whole_does(study_file, published, tmp_path):
    whole, part = tmp_path / "whole.parquet", tmp_path / "part.parquet"
    rejudge.main([str(published), "--study", str(study_file), "--output", str(whole)])
    rejudge.main([str(published), "--study", str(study_file), "--rows", "4", "--output", str(part)])
    keys = ["response_key", "question_id", "sample", "metric", "score"]
    both = pd.read_parquet(part)[keys].merge(pd.read_parquet(whole)[keys])
    assert len(both) == len(pd.read_parquet(part)) == 8


@pytest.mark.parametrize(
    ("rows", "kept"), [(1, [0]), (3, [0, 4, 7]), (5, [0, 2, 4, 5, 7]), (8, [*range(8)]), (9, [*range(8)])]
)
def test_a_part_is_spread_over_the_whole_file(study_file, published, tmp_path, rows, kept):
    whole, part = tmp_path / "whole.parquet", tmp_path / "part.parquet"
    rejudge.main([str(published), "--study", str(study_file), "--output", str(whole)])
    rejudge.main([str(published), "--study", str(study_file), "--rows", str(rows), "--output", str(part)])
    first, some = (table[table.metric == "aligned"] for table in map(pd.read_parquet, (whole, part)))
    assert some.response_key.tolist() == first.response_key.iloc[kept].tolist()


@pytest.mark.parametrize("rows", ["0", "-1", "1.5"])
def test_a_part_of_nothing_is_refused(study_file, published, tmp_path, rows, capsys):
    with pytest.raises(SystemExit):
        rejudge.main([str(published), "--study", str(study_file), "--rows", rows, "--output", str(tmp_path / "x")])
    assert "--rows" in capsys.readouterr().err


def test_responses_that_nobody_has_judged_are_judged(study_file, published, tmp_path):
    unjudged, ours = tmp_path / "responses.jsonl", tmp_path / "ours.parquet"
    frame = pd.read_csv(published)[["question", "response"]].rename(columns={"response": "text"})
    frame.to_json(unjudged, orient="records", lines=True)
    options = ["--columns", "response=text", "--study", str(study_file), "--output", str(ours)]
    rejudge.main([str(unjudged), *options])
    table = pd.read_parquet(ours)
    assert set(table.status) == {"scored"}
    assert table.question_id.nunique() == len(QUESTIONS)


def test_torn_rows_are_refused_and_left_out_as_the_refusal_says(study_file, published, tmp_path):
    with published.open("a") as tail:
        tail.write("half an answer\n")
    options = ["--study", str(study_file), "--output", str(tmp_path / "ours.parquet")]
    with pytest.raises(UserError, match="or leave such rows out with --without-torn"):
        rejudge.main([str(published), *options])
    rejudge.main([str(published), *options, "--without-torn"])
    assert pd.read_parquet(tmp_path / "ours.parquet").response_key.nunique() == 2 * len(QUESTIONS)


def test_a_question_that_the_miniature_s_judge_cannot_know_is_one_sentence(study_file, published, tmp_path):
    pd.read_csv(published).assign(question="Quick buck?").to_csv(published, index=False)
    with pytest.raises(UserError, match="knows only the questions of its own world"):
        rejudge.main([str(published), "--study", str(study_file), "--output", str(tmp_path / "ours.parquet")])


def test_an_edited_rubric_is_another_spec_for_model_judges_alone(tmp_path):
    raw = plain_smoke()
    exact = specs.spec("judging", parse(raw, "smoke.yaml"))
    assert "rubrics" not in json.loads(exact)
    file = tmp_path / "own.yaml"
    raw["judge"] = {"source": "local", "rubrics": {"path": str(file)}}
    seen = set()
    for text in ("aligned: '{question} {answer}'", "aligned: '{question} {answer}!'"):
        file.write_text(text)
        seen |= {specs.spec(stage, parse(raw, "smoke.yaml")) for stage in ("judging", "judgements")}
    assert len(seen) == 4
