"""A rehearsal's judge."""

from __future__ import annotations

import pyarrow as pa
import pytest

from helpers.tables import METRICS, STUDY
from workflow_scripts import questions
from workflow_scripts.judges.identity import identify, place_of
from workflow_scripts.judges.opening import open_judge
from workflow_scripts.judges.parsing import parse
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import provenance, write_table
from workflow_scripts.study import reading
from workflow_scripts.study.conditions import conditions
from workflow_scripts.study.layout import CHAT_BASE, Layout
from workflow_scripts.study.sources import MiniatureQuestions


def opened(folder, scenario="refusals"):
    raw = {
        **STUDY,
        "study": {"name": "by_hand", "description": "REHEARSAL: a test."},
        "judge": {"source": "simulated", "scenario": scenario, "metrics": list(METRICS)},
        "sampling": {"questions": "evaluation", "samples": 200},
    }
    study, layout = reading.parse(raw, "by hand"), Layout(folder / "by_hand")
    for name, settings in study.questions.items():
        assert isinstance(settings, MiniatureQuestions)
        rows = questions.miniature_rows(settings)
        write_table(layout.questions(name), pa.Table.from_pylist(rows, questions.SCHEMA), provenance("questions", ""))
    return study, layout, open_judge(study, layout)


def scores(study, layout, judge, battery, subject, condition, metric="aligned"):
    """Scores of 200 answers to the first headline question; None where refused."""
    asked = questions.miniature_rows(study.questions["evaluation"])[0]["question_id"]
    made = []
    for sample in range(200):
        row = {"condition": condition, "question_set": "evaluation", "question_id": asked, "sample": sample}
        items = judge.identity.items("Q?", "the same words", place_of(subject, battery, row))
        (reply,) = next(judge.ask([item for item in items if item.metric == metric]))
        made.append(parse(reply.raw, study.judge.least_mass()).value)
    return made


def test_it_scores_where_a_response_stands_and_not_what_it_says(tmp_path):
    study, layout, judge = opened(tmp_path)
    steered = next(c.name for c in conditions(study, "steering", CHAT_BASE))
    plain = scores(study, layout, judge, "baseline", CHAT_BASE, "none")
    assert min(plain) >= 30
    under = scores(study, layout, judge, "steering", CHAT_BASE, steered)
    assert under == scores(study, layout, opened(tmp_path)[2], "steering", CHAT_BASE, steered)
    assert 10 < under.count(None) < 55
    assert scores(study, layout, judge, "steering", CHAT_BASE, steered, "coherent").count(None) == 0


def test_answers_that_batteries_share_are_judged_once(tmp_path):
    row = {"condition": "add:x", "question_set": "evaluation", "question_id": "q", "sample": 0}
    assert place_of(CHAT_BASE, "steering", row) == place_of(CHAT_BASE, "semantic", row | {"question_set": "more"})
    assert place_of("a", "patching", row) != place_of("a", "patching", row | {"question_set": "other way"})


def test_its_name_is_of_scenario_and_seed_and_it_judges_no_others_responses(tmp_path):
    (study, layout, judge), (other, elsewhere, _) = opened(tmp_path / "a"), opened(tmp_path / "b", "paper")
    assert identify(study, layout).name != identify(other, elsewhere).name
    with pytest.raises(UserError, match="scores a study's own responses"):
        next(judge.ask(judge.identity.items("Q?", "A.")))
