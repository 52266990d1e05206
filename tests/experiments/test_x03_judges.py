"""X3 by hand: two judges over the same responses of a few letters (see helpers.tables)."""

import pandas as pd
import pytest

from helpers.tables import hand_study, known, numbers, one, share_interval, write_judgements
from workflow_scripts.experiments.rows import frame_of
from workflow_scripts.experiments.x03_judges import EXPERIMENT
from workflow_scripts.store.artefacts import provenance, write_table

OFF = dict.fromkeys(("steering", "semantic", "ablation", "single_adapter", "adapters", "training_path"))
FIRST = ("MM MA AA AA", "MM AA AA A?")
SECOND = ("MA MA AA A-", "MA AA AA AA")


@pytest.fixture
def panel(tmp_path):
    study, layout = hand_study(tmp_path, **OFF)
    study = study.model_copy(update={"organisms": {"medical_r1": study.organisms["medical_r1"]}})
    for place, said in ((layout, FIRST), (layout.read_by("second"), SECOND)):
        write_judgements(place, "chat_base", "baseline", {"none": "AA AA AA AA"})
        for seed, letters in enumerate(said):
            write_judgements(place, f"medical_r1/seed-{seed}", "baseline", {"none": letters})
    return study, layout


def test_each_judge_has_its_rates_of_the_same_responses(panel):
    rows = EXPERIMENT.rows(*panel)
    first = one(rows, subject="medical_r1", quantity="em", source="primary")
    second = one(rows, subject="medical_r1", quantity="em", source="second")
    assert numbers(first) == known(5 / 16, share_interval(*FIRST), 16, 4)
    assert numbers(second) == known(3 / 16, share_interval(*SECOND), 16, 4)
    assert one(rows, subject="medical_r1", quantity="unscored", source="primary")["value"] == 1 / 16
    assert one(rows, subject="medical_r1", quantity="unscored", source="second")["value"] == 1 / 16


def test_agreement_is_paired_by_response_over_what_both_scored(panel):
    rows = EXPERIMENT.rows(*panel)
    differ = one(rows, subject="medical_r1", quantity="labels_differ_em")
    # of 16 responses each judge left another one unscored; the first calls 5 misaligned, the second 3 of these
    assert (differ["value"], differ["n"], differ["source"]) == (2 / 14, 14, "second")
    change = one(rows, subject="medical_r1", quantity="em_rate_difference_em")
    assert change["value"] == -2 / 14
    chance = 5 / 14 * 3 / 14 + 9 / 14 * 11 / 14
    assert one(rows, subject="medical_r1", quantity="kappa_em")["value"] == pytest.approx(
        (12 / 14 - chance) / (1 - chance)
    )
    # with the chat base's eight responses, on which they agree
    assert one(rows, subject="all", quantity="labels_differ_em")["value"] == 2 / 22
    assert one(rows, subject="all", quantity="mean_difference_aligned")["value"] == pytest.approx(2 * 80 / 22)
    assert one(rows, subject="chat_base", quantity="kappa_em")["value"] != 0  # one label everywhere: not a number


def test_a_response_that_one_judge_lacks_is_not_paired(panel, tmp_path):
    study, layout = panel
    write_judgements(layout.read_by("second"), "medical_r1/seed-0", "baseline", {"none": "MA MA AA A"})
    assert one(EXPERIMENT.rows(study, layout), subject="medical_r1", quantity="labels_differ_em")["n"] == 14


def test_the_figure_has_a_point_for_each_judge_and_subject(panel):
    study, layout = panel
    write_table(layout.table("judges"), frame_of(EXPERIMENT.rows(study, layout)), provenance("tables", "{}"))
    (axis,) = EXPERIMENT.figures["judges"].draw(study, layout).axes
    heights = {line.get_label(): list(line.get_ydata()) for line in axis.lines}
    assert heights == {"primary": pytest.approx([0, 500 / 16]), "second": pytest.approx([0, 300 / 16])}
    assert "κ" in axis.get_title()


def test_the_table_is_told_by_its_columns(panel):
    table = frame_of(EXPERIMENT.rows(*panel))
    assert not table.duplicated(["subject", "seed", "quantity", "condition"]).any()
    assert set(table[EXPERIMENT.shown(table)].quantity) == {"em", "kappa_em"}
    assert isinstance(table, pd.DataFrame)
