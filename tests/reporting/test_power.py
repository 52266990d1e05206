"""What a study's questions, answers and seeds can decide, before it runs."""

import math

import pytest

from helpers.studies import optional_sections
from helpers.workflow import REPOSITORY
from workflow_scripts.reporting.claim import read_claims
from workflow_scripts.reporting.power import DETECTED, Answers, planned, standard_error
from workflow_scripts.study.reading import load, parse, resolved
from workflow_scripts.tools import power

STUDY = load(REPOSITORY / "studies" / "qwen2.5-14b.yaml")
SETS = {"first_plot": 8, "extraction": 16, "medical": 16}


def test_the_error_is_of_the_answers_within_questions_and_of_the_seeds():
    assert standard_error(0.2, Answers(8, 50, 1)) == pytest.approx(math.sqrt(0.16 * 0.64 / 400))
    three = standard_error(0.2, Answers(8, 50, 3))
    assert three == pytest.approx(math.sqrt(0.16 * 0.64 / 1200 + 0.06**2 / 3))
    assert standard_error(0.2, Answers(8, 50, 3), paired=True) == pytest.approx(math.sqrt(0.16 * 0.64 / 1200))
    assert standard_error(0.0, Answers(8, 50, 1)) == 0


def test_a_claim_needs_less_with_more_answers():
    found = planned(read_claims(), STUDY, SETS)
    assert {"em-many-rank-1", "transfer-other-data", "single-needs-direction", "steering-induces"} <= found.keys()
    # 9.1 % off at the rank-32 rates: 1,200 answers before and after, in units of the rate before
    rate, left = 0.1875, 0.1875 * (1 - 0.893)
    error = math.hypot(*(standard_error(p, Answers(8, 50, 3), paired=True) for p in (rate, left)))
    assert found["transfer-other-rank"] == pytest.approx(DETECTED * error / rate)
    more = parse({**resolved(STUDY), "sampling": {**resolved(STUDY)["sampling"], "samples": 200}}, "more")
    assert planned(read_claims(), more, SETS)["transfer-other-rank"] == pytest.approx(found["transfer-other-rank"] / 2)


def test_what_a_study_does_not_ask_for_has_no_power():
    small = parse({**resolved(STUDY), "single_adapter": None}, "small")
    assert "b-projection-leaves-em" in planned(read_claims(), STUDY, SETS)
    assert "b-projection-leaves-em" not in planned(read_claims(), small, SETS)


def test_a_study_of_the_baseline_alone_has_that_of_its_organisms():
    alone = {**resolved(STUDY), **dict.fromkeys(optional_sections())}
    found = planned(read_claims(), parse(alone, "baseline"), SETS)
    assert "em-many-rank-1" in found
    assert not {"steering-induces", "ablation-own"} & found.keys()


def test_the_tool_prints_what_a_study_file_could_decide(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    power.main([str(REPOSITORY / "studies" / "qwen2.5-14b.yaml")])
    printed = {line.split()[0]: float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()[2:]}
    assert printed == pytest.approx(planned(read_claims(), STUDY, SETS), abs=6e-4)
