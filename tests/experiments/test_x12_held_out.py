"""X12 by hand: the same organism on the headline questions and on others."""

import pytest

from helpers.tables import hand_study, one, write_judged
from workflow_scripts.experiments.e05_ablation import EXPERIMENT as ABLATION
from workflow_scripts.experiments.x12_held_out import EXPERIMENT
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.study.conditions import question_uses

SUBJECT = "medical_r1/seed-0"
OFF = dict.fromkeys(("steering", "semantic", "single_adapter", "adapters", "training_path"))


@pytest.fixture
def written(tmp_path):
    study, layout = hand_study(
        tmp_path, **OFF, ablation={"targets": ["medical_r1"], "matrix": [], "chat_base": False, "random_draws": 1}
    )
    organism = study.organisms["medical_r1"].model_copy(update={"seeds": [0]})
    study = study.model_copy(update={"organisms": {"medical_r1": organism}})
    own, one_layer, random, only = (
        f"own:{SUBJECT}", f"single_layer:{SUBJECT}:layer-1", f"random:{SUBJECT}:layer-1:draw-0",
        f"only_layer:{SUBJECT}:only-layer-1",
    )  # fmt: skip
    before = {"evaluation": {"none": "MM MA AA AA"}, "unseen": {"none": "MM MM AA AA"}}
    write_judged(layout, "chat_base", "baseline", {name: {"none": "AA AA AA AA"} for name in before})
    write_judged(layout, SUBJECT, "baseline", before)
    after = {
        "evaluation": {own: "AA AA AA AA", one_layer: "MA AA AA AA", random: "MM MA AA AA", only: "MM MM AA AA"},
        "unseen": {own: "MM MA AA AA", one_layer: "MM MM AA AA", random: "MM MM AA AA", only: "MM MM MM AA"},
    }
    write_judged(layout, SUBJECT, "ablation", after)
    return study, layout


def test_each_question_set_has_its_own_rates_and_changes(written):
    rows = EXPERIMENT.rows(*written)
    of = {"subject": "medical_r1", "quantity": "em"}
    assert one(rows, **of, kind="none", question_set="evaluation")["value"] == 3 / 8
    assert one(rows, **of, kind="none", question_set="unseen")["value"] == 4 / 8
    assert one(rows, **of, kind="own", question_set="unseen")["value"] == 3 / 8
    change = {"subject": "medical_r1", "quantity": "em_relative_change"}
    assert one(rows, **change, kind="own", question_set="evaluation")["value"] == -1
    assert one(rows, **change, kind="own", question_set="unseen")["value"] == pytest.approx(-1 / 4)
    assert one(rows, **change, kind="random", question_set="unseen")["value"] == 0
    above = one(rows, subject="medical_r1", quantity="em_above_base", question_set="unseen")
    assert (above["value"], above["n"]) == (1 / 2, 16), "eight answers of each side"
    assert not [row for row in rows if row["kind"] == "only_layer"]


def test_the_table_of_the_ablation_is_about_the_headline_questions_alone(written):
    rows = ABLATION.rows(*written)
    assert {row["question_set"] for row in rows} == {"evaluation"}
    assert one(rows, subject="medical_r1", quantity="em", kind="own")["value"] == 0


def test_organisms_and_their_ablation_are_asked_the_held_out_questions_and_steering_is_not(tmp_path):
    study, _ = hand_study(tmp_path)
    asked = {battery: [use.questions for use in question_uses(study, battery, SUBJECT)]
             for battery in ("baseline", "ablation", "steering", "surgery")}  # fmt: skip
    assert "unseen" in asked["baseline"]
    assert asked["ablation"] == ["evaluation", "unseen"]
    assert asked["steering"] == asked["surgery"] == ["evaluation"]


@pytest.mark.parametrize("name", ["evaluation", "medical"])
def test_questions_that_another_section_asks_are_refused(tmp_path, name):
    with pytest.raises(UserError, match=r"held_out\.questions: '\w+' is asked by `\w+` already"):
        hand_study(tmp_path, held_out={"questions": name})
