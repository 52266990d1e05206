"""E7 by hand: what B writes against the direction, B's projections, and where both push the later layers."""

import pytest

from helpers.tables import (
    hand_study,
    known,
    numbers,
    one,
    paired_interval,
    relative_interval,
    share_interval,
    t_interval,
    within,
    write_adapter,
    write_direction,
    write_downstream,
    write_judgements,
)
from workflow_scripts.experiments.e07_single_adapter import ALIGNMENT, EXPERIMENT
from workflow_scripts.experiments.rows import frame_of

SINGLE, SOURCE = "medical_single", "medical_r1"
AT_LAYER_1 = {
    "medical_single/seed-0": (2, 0),
    "medical_single/seed-1": (0, 2),
    "medical_r1/seed-0": (0, 5),
    "medical_r1/seed-1": (-4, 3),
}
"""Directions at the adapter's layer; those of other layers are not looked at."""
BEFORE, LEFT = ("MM MM MA MA", "MM MA MA MA"), ("MM MA AA AA", "MA AA AA AA")


@pytest.fixture
def alignment(tmp_path):
    study, layout = hand_study(tmp_path, directions={"organisms": [SOURCE, "sport_r8", SINGLE]})
    for subject, vector in AT_LAYER_1.items():
        write_direction(layout.direction(subject), [(1, 1), vector, (1, 1)])
    write_adapter(layout, "medical_single/seed-0", 1, (3, 4))
    write_adapter(layout, "medical_single/seed-1", 1, (0, 1))
    return ALIGNMENT.rows(study, layout)


def test_b_is_compared_with_its_own_and_the_source_s_direction_of_the_same_seed(alignment):
    cosines = {(r["seed"], r["source"]): r["value"] for r in alignment if r["seed"] is not None}
    assert cosines == {
        (0, SINGLE): pytest.approx(3 / 5),  # (3, 4) with (2, 0)
        (1, SINGLE): pytest.approx(1),  # (0, 1) with (0, 2)
        (0, SOURCE): pytest.approx(4 / 5),  # (3, 4) with (0, 5)
        (1, SOURCE): pytest.approx(3 / 5),  # (0, 1) with (−4, 3)
    }
    assert {row["layer"] for row in alignment} == {1}
    assert {row["subject"] for row in alignment} == {SINGLE}, "other organisms have several adapters, or another rank"


def test_the_cosine_of_an_organism_is_the_mean_size_over_its_seeds(alignment):
    assert numbers(one(alignment, source=SINGLE, seed=None)) == known((0.6 + 1) / 2, (-1, 1), 2, 2, "seeds")
    seeds = within(*t_interval(0.8, 0.6), -1)
    assert numbers(one(alignment, source=SOURCE, seed=None)) == known((0.8 + 0.6) / 2, seeds, 2, 2, "seeds")
    assert ALIGNMENT.shown(frame_of(alignment)).all()


def test_without_an_ablation_there_is_only_the_own_direction(tmp_path):
    study, layout = hand_study(tmp_path, ablation=None, specificity=None, directions={"organisms": [SOURCE, SINGLE]})
    for seed in (0, 1):
        write_direction(layout.direction(f"{SINGLE}/seed-{seed}"), [(0, 0), (-1, 0), (0, 0)])
        write_adapter(layout, f"{SINGLE}/seed-{seed}", 1, (1, 0))
    rows = ALIGNMENT.rows(study, layout)
    assert [(row["seed"], row["source"], row["value"]) for row in rows] == [
        (0, SINGLE, 1),
        (1, SINGLE, 1),
        (None, SINGLE, 1),
    ]


@pytest.fixture
def rows(tmp_path):
    study, layout = hand_study(tmp_path)
    copies = {"step-1:scale-1": "MM MM MM MM"}  # of the training path, which is sampled in the same battery
    for seed, before, projected in zip((0, 1), BEFORE, LEFT, strict=True):
        subject = f"{SINGLE}/seed-{seed}"
        write_judgements(layout, subject, "baseline", {"none": before})
        edited = {"b_projected": projected, "b_projected_renormalised": before, **copies}
        write_judgements(layout, subject, "surgery", edited)
    pushed = {0: (0.9, 0.2, 0.1, -0.1, 0.7), 1: (0.7, 0.4, 0.2, 0.3, 0.5)}
    for seed, (carrier, misaligned, aligned, first, second) in pushed.items():
        lines = [
            ("direction", None, "misaligned", 1, carrier),
            ("direction", None, "misaligned", 2, misaligned),
            ("direction", None, "aligned", 2, aligned),
            ("random", 0, "misaligned", 2, first),
            ("random", 1, "misaligned", 2, second),
            ("random", 1, "aligned", 2, -0.5),
            ("random", 1, "aligned", 1, 0.8),
        ]
        write_downstream(layout, f"{SINGLE}/seed-{seed}", lines)
    return EXPERIMENT.rows(study, layout)


def test_the_edited_adapters_are_held_against_the_baseline_of_all_seeds(rows):
    assert numbers(one(rows, quantity="em", kind="none")) == known(11 / 16, share_interval(*BEFORE), 16, 4)
    assert numbers(one(rows, quantity="em", kind="b_projected")) == known(1 / 4, share_interval(*LEFT), 16, 4)
    change = one(rows, quantity="em_change", kind="b_projected")
    assert numbers(change) == known(4 / 16 - 11 / 16, paired_interval(BEFORE, LEFT), 32, 4)
    relative = one(rows, quantity="em_relative_change", kind="b_projected")
    assert numbers(relative) == known(4 / 11 - 1, relative_interval(BEFORE, LEFT), 32, 4)
    assert (relative["source"], relative["question_set"], relative["seed"]) == (SOURCE, "evaluation", None)


def test_the_very_same_rates_are_no_change_within_the_doubt_of_both(rows):
    change = one(rows, quantity="em_change", kind="b_projected_renormalised")
    assert numbers(change) == known(0, paired_interval(BEFORE, BEFORE), 32, 4)
    assert change["seeds_holding"] == 0
    relative = one(rows, quantity="em_relative_change", kind="b_projected_renormalised")
    assert numbers(relative) == known(0, relative_interval(BEFORE, BEFORE), 32, 4)


def test_downstream_cosines_are_means_over_seeds(rows):
    pushes = [row for row in rows if row["quantity"] == "downstream_cosine"]
    means = {(r["kind"], r["source"], r["draw"], r["layer"]): r["value"] for r in pushes}
    assert means == {
        ("misaligned", "direction", None, 1): pytest.approx(0.8),
        ("misaligned", "direction", None, 2): pytest.approx(0.3),
        ("aligned", "direction", None, 2): pytest.approx(0.15),
        ("misaligned", "random", 0, 2): pytest.approx(0.1),
        ("misaligned", "random", 1, 2): pytest.approx(0.6),
        ("aligned", "random", 1, 2): pytest.approx(-0.5),
        ("aligned", "random", 1, 1): pytest.approx(0.8),
    }
    assert {row["n"] for row in pushes} == {20}, "ten responses of each seed"


def test_the_largest_downstream_cosine_is_after_the_adapter_s_layer(rows):
    largest = {row["kind"]: row["value"] for row in rows if row["quantity"] == "downstream_cosine_max"}
    assert largest == {
        "misaligned": pytest.approx(0.3),
        "aligned": pytest.approx(0.15),
        "random": pytest.approx(0.6),
    }


def test_an_adapter_at_the_last_layer_has_nothing_downstream(tmp_path):
    study, layout = hand_study(tmp_path)
    for seed in (0, 1):
        subject = f"{SINGLE}/seed-{seed}"
        write_judgements(layout, subject, "baseline", {"none": "AA AA"})
        write_judgements(layout, subject, "surgery", {"b_projected": "AA AA"})
        write_downstream(layout, subject, [("direction", None, "misaligned", 1, 0.9)])
    rows = EXPERIMENT.rows(study, layout)
    assert not [row for row in rows if row["quantity"] == "downstream_cosine_max"]


def test_the_end_table_shows_rates_changes_and_the_largest_cosines(rows):
    table = frame_of(rows)
    shown = table[EXPERIMENT.shown(table)]
    assert set(shown.quantity) == {"em", "em_relative_change", "downstream_cosine_max"}
