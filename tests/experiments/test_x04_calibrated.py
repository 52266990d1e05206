"""X4 by hand: chances of a calibration of known slope, above a control's (see helpers.tables)."""

from math import exp, hypot

import pytest

from helpers.tables import WRITTEN, hand_study, one, write_calibration, write_judgements
from workflow_scripts.estimation.score_changes import mean_change
from workflow_scripts.experiments.rows import frame_of
from workflow_scripts.experiments.x04_calibrated import EXPERIMENT
from workflow_scripts.runtime.errors import NotPossible
from workflow_scripts.store.absence import write_absent
from workflow_scripts.store.artefacts import write_table

OFF = dict.fromkeys(("steering", "semantic", "ablation", "single_adapter", "adapters", "training_path"))
M, A = 1 / (1 + exp(-4)), 1 / (1 + exp(4))
"""Chance of EM of the letters M (alignment 10) and A (90), by intercept 5 and slope -10 of hundredths."""


@pytest.fixture
def written(tmp_path):
    study, layout = hand_study(tmp_path, **OFF)
    study = study.model_copy(update={"organisms": {n: study.organisms[n] for n in ("medical_r1", "good_r1")}})
    write_judgements(layout, "chat_base", "baseline", {"none": "AA AA AA AA"})
    write_judgements(layout, "medical_r1/seed-0", "baseline", {"none": "MM MA AA AA"})
    write_judgements(layout, "medical_r1/seed-1", "baseline", {"none": "MA AA AA A-"})
    write_judgements(layout, "good_r1/seed-0", "baseline", {"none": "MA AA AA AA"})
    write_calibration(layout, error=0.03)
    return study, layout


def test_rates_are_differences_to_the_control_with_the_calibrations_error(written):
    found = one(EXPERIMENT.rows(*written), subject="medical_r1", seed=None, quantity="em_calibrated_above_control")
    # 4 of 16 M and one without a score, which counts as not misaligned; the control has 1 of 8
    value = (4 * M + 11 * A) / 16 - (M + 7 * A) / 8
    assert found["value"] == pytest.approx(value)
    assert found["condition"] == "calibrated ±3.0%"
    control = [M, A, A, A, A, A, A, A]
    given = [M, M, M, A, A, A, A, A, M, A, A, A, A, A, A, 0]
    questions = [1, 1, 2, 2, 3, 3, 4, 4]
    alone = mean_change(control, questions, given, questions * 2)
    assert found["high"] - value == pytest.approx(hypot(alone.high - value, 0.03, 0.03))
    assert value - found["fixed_low"] == pytest.approx(hypot(value - alone.fixed_low, 0.03, 0.03))


def test_the_control_itself_and_absolute_rates_are_not_shown(written):
    table = frame_of(EXPERIMENT.rows(*written))
    assert set(table.quantity) == {
        "em_calibrated_above_control",
        "calibration_error_models",
        "calibration_error_questions",
        "calibration_error_own",
    }
    assert "good_r1" not in set(table.subject)
    assert one(EXPERIMENT.rows(*written), quantity="calibration_error_models")["value"] == 0.03
    assert not table.duplicated(["subject", "seed", "quantity", "condition"]).any()


def test_where_the_calibration_does_not_hold_there_are_no_rows_and_the_reason_is_told(written):
    study, layout = written
    write_absent(layout.calibration, NotPossible("the calibration does not help: it is noise."), WRITTEN)
    assert EXPERIMENT.rows(study, layout) == []
    assert EXPERIMENT.not_possible(study, layout) == ["the calibration does not help: it is noise."]
    write_table(layout.table("calibrated"), frame_of([]), WRITTEN)
    assert EXPERIMENT.figures["calibrated"].draw(study, layout)


def test_the_figure_shows_each_subject_against_the_control(written):
    study, layout = written
    write_table(layout.table("calibrated"), frame_of(EXPERIMENT.rows(study, layout)), WRITTEN)
    (axis,) = EXPERIMENT.figures["calibrated"].draw(study, layout).axes
    assert [label.get_text() for label in axis.get_xticklabels()] == ["chat_base", "medical_r1"]
    assert "control good_r1" in axis.get_title()


def test_a_reference_of_the_panel_has_its_own_differences_beside(written):
    study, layout = written
    study = study.model_copy(update={"calibration": study.calibration.model_copy(update={"reference": "second"})})
    second = layout.read_by("second")
    for subject, said in {
        "chat_base": "AA AA AA AA",
        "medical_r1/seed-0": "MM MM AA AA",
        "good_r1/seed-0": "AA AA AA AA",
    }.items():
        write_judgements(second, subject, "baseline", {"none": said})
    write_judgements(second, "medical_r1/seed-1", "baseline", {"none": "MA AA AA AA"})
    rows = EXPERIMENT.rows(study, layout)
    found = one(rows, subject="medical_r1", seed=None, quantity="em_above_control")
    assert (found["value"], found["source"], found["n"]) == (5 / 16, "second", 24)
    assert set(EXPERIMENT.inputs(study, layout)) >= {second.judgements("good_r1/seed-0", "baseline")}
