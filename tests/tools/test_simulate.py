"""Simulated studies: the real tables and the ledger on drawn answers."""

from __future__ import annotations

import json
import math

import pandas as pd
import pytest
import yaml

from helpers.tables import STUDY
from workflow_scripts.experiments import asked
from workflow_scripts.store.artefacts import read_frame
from workflow_scripts.store.judgement_tables import read_scores
from workflow_scripts.study import reading
from workflow_scripts.study.layout import CHAT_BASE, Layout
from workflow_scripts.tools import simulate

SMALL = {
    **STUDY,
    "sampling": {"questions": "evaluation", "samples": 40},
    "adapters": {**STUDY["adapters"], "runs": 5, "draws": 39},
    "semantic": {**STUDY["semantic"], "min_responses": 2},
    "directions": {**STUDY["directions"], "shuffles": 2, "questions": "more"},
    "questions": {**STUDY["questions"], "more": {"source": "miniature", "domains": ["power", "money"], "per_domain": 4}},
}  # fmt: skip


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Folder of one simulated study of each scenario."""
    folder = tmp_path_factory.mktemp("simulated")
    (folder / "study.yaml").write_text(yaml.safe_dump(SMALL))
    scenarios = ["paper", "null", "no_seed_2", "refusals"]
    simulate.main([str(folder / "study.yaml"), "--scenario", *scenarios, "--output", str(folder / "out")])
    return folder / "out"


def test_every_table_is_made_by_the_experiments_own_code_and_the_summary_says_simulated(simulated):
    layout = Layout(simulated / "paper" / "0")
    study = reading.load(layout.study)
    for name in asked(study):
        assert len(read_frame(layout.table(name))), name
    assert json.loads(layout.not_possible.read_text()) == []
    assert "SIMULATED" in (layout.root / "summary.txt").read_text()
    assert "SIMULATED" in (layout.root / "claims.txt").read_text()


def em(layout: Layout, table: str, **facts: object) -> float:
    rows = read_frame(layout.table(table))
    rows = rows[(rows.quantity == "em") & rows.seed.isna()]
    for column, value in facts.items():
        rows = rows[rows[column] == value]
    assert len(rows) == 1
    return float(rows.value.iloc[0])


def test_ablation_removes_misalignment_in_the_paper_and_not_in_the_null(simulated):
    for name, most in (("paper", 0.02), ("null", math.inf)):
        layout = Layout(simulated / name / "0")
        before = em(layout, "ablation", subject="medical_r1", condition="none")
        assert before > 0.05
        after = em(layout, "ablation", subject="medical_r1", condition="own")
        assert after < most
        assert name == "paper" or after > before / 2


def test_an_answer_that_stands_in_two_sets_or_batteries_is_the_same(simulated):
    layout = Layout(simulated / "paper" / "0")
    scored = read_scores(layout.judgements("medical_r1/seed-0", "baseline"))
    sets = [scored[scored.question_set == name].set_index(["question_id", "sample"]) for name in ("evaluation", "more")]
    both = sets[0].join(sets[1], rsuffix="_more", how="inner")
    assert len(both) == 160
    assert (both.aligned == both.aligned_more).all()
    assert (both.response_key == both.response_key_more).all()
    steered, semantic = (read_scores(layout.judgements(CHAT_BASE, b)) for b in ("steering", "semantic"))
    shared = steered.merge(semantic, on=["condition", "question_id", "sample"])
    assert len(shared)
    assert (shared.coherent_x == shared.coherent_y).all()


def test_a_seed_without_misalignment_has_no_direction_and_the_study_says_so(simulated):
    layout = Layout(simulated / "no_seed_2" / "0")
    reasons = [entry["why"] for entry in json.loads(layout.not_possible.read_text())]
    assert any("medical_r1/seed-1 gave 0 misaligned" in why for why in reasons)
    ablated = read_scores(layout.judgements("medical_r1/seed-1", "ablation"))
    assert not ablated.condition.str.startswith("own").any()


def test_a_judge_that_refuses_leaves_steered_answers_unscored(simulated):
    steered = read_scores(Layout(simulated / "refusals" / "0").judgements(CHAT_BASE, "steering"))
    assert steered.aligned.isna().mean() == pytest.approx(0.15, abs=0.03)


def test_the_table_of_verdicts_counts_studies_by_claim_and_scenario():
    found = pd.DataFrame(
        [
            ("paper", 0, "a", "reproduced"), ("paper", 1, "a", "undecided"), ("null", 0, "a", "contradicted"), ("null", 1, "a", "contradicted"),
            ("paper", 0, "b", "reproduced"), ("paper", 1, "b", "reproduced"), ("null", 0, "b", "undecided"), ("null", 1, "b", "undecided"),
        ],
        columns=["scenario", "seed", "id", "verdict"],
    )  # fmt: skip
    shares = simulate.verdict_shares(found)
    assert shares.loc["a", "paper"].tolist() == [0.5, 0.0, 0.5]
    assert shares.loc["a", "null"].tolist() == [0.0, 1.0, 0.0]
    lines = simulate.as_markdown(shares, 2).splitlines()
    assert lines[2].split("|")[1:4] == [" a       ", " 1 / 0 / 1 ", " 0 / 2 / 0 "]
