"""X7 by hand: parts of directions in the plane, and what is left when each is projected out."""

import math

import numpy as np
import pytest

from helpers.tables import (
    hand_study,
    known,
    numbers,
    one,
    paired_interval,
    relative_interval,
    write_direction,
    write_judgements,
)
from workflow_scripts.experiments.rows import frame_of
from workflow_scripts.experiments.x07_specificity import EXPERIMENT

NOBODY = "AA AA AA AA"
BEFORE = "MM MM MA MA"
NAMES = ("medical_r1", "sport_r8", "medical_single")
DIRECTIONS = {"medical_r1": (1.0, 0.0, 0.0), "sport_r8": (0.0, 2.0, 0.0), "medical_single": (3.0, 3.0, 1.0)}
"""Of each of three layers."""


def said(organism, seed):
    """Answers under each condition of a subject."""
    at = [f"{name}/seed-{seed}" for name in NAMES]
    own = f"{organism}/seed-{seed}"
    return {
        **{f"whole:{other}": NOBODY if other == own else "MM MA MA MA" for other in at},
        f"shared:{at[0]}": "MA AA AA AA",
        **{f"specific:{other}": BEFORE if other == own else "MM MM MA AA" for other in at},
        **{f"orthogonal:{own}:draw-{draw}": "MM MM AA AA" for draw in range(2)},
        f"base_mean:{own}": "MA AA AA AA",
        f"cap:{own}:to-0": "MM AA AA AA",
    }


@pytest.fixture
def rows(tmp_path):
    study, layout = hand_study(tmp_path)
    for name, vector in DIRECTIONS.items():
        for seed in (0, 1):
            subject = f"{name}/seed-{seed}"
            # its two seeds span a plane
            turned = (0.0, 0.0, 1.0) if (name, seed) == ("medical_r1", 1) else vector
            write_direction(layout.direction(subject), [turned] * 3)
            write_judgements(layout, subject, "baseline", {"none": BEFORE})
            write_judgements(layout, subject, "specificity", said(name, seed))
    return EXPERIMENT.rows(study, layout)


MEDICAL = {"subject": "medical_r1", "seed": None}
TWICE = (BEFORE, BEFORE)


def test_each_part_is_held_against_before_paired_by_question(rows):
    for kind, letters, left in (("own", NOBODY, 0), ("shared", "MA AA AA AA", 1 / 8), ("specific", BEFORE, 6 / 8)):
        assert one(rows, quantity="em", kind=kind, **MEDICAL)["value"] == left
        change = one(rows, quantity="em_change", kind=kind, **MEDICAL)
        assert numbers(change) == known(left - 6 / 8, paired_interval(TWICE, (letters, letters)), 32, 4)
        relative = one(rows, quantity="em_relative_change", kind=kind, **MEDICAL)
        assert numbers(relative) == known(left / (6 / 8) - 1, relative_interval(TWICE, (letters, letters)), 32, 4)


def test_every_change_is_held_against_the_controls_and_against_the_own_direction(rows):
    assert one(rows, quantity="em_above_orthogonal", kind="own", **MEDICAL)["value"] == -4 / 8
    assert one(rows, quantity="em_above_own", kind="base_mean", **MEDICAL)["value"] == 1 / 8
    cap = one(rows, quantity="em_above_own", kind="cap", **MEDICAL)
    assert (cap["value"], cap["scale"], cap["condition"]) == (2 / 8, 0, "cap:to-0")
    assert one(rows, quantity="em", kind="orthogonal", **MEDICAL)["n"] == 2 * 16, "both draws"
    draw = one(rows, quantity="em", kind="orthogonal_draw", draw=1, **MEDICAL)
    assert (draw["n"], draw["value"]) == (16, 4 / 8)
    assert not [row for row in rows if row["quantity"] == "em_above_orthogonal" and row["kind"] == "orthogonal"]


def test_the_transfer_has_a_cell_for_every_two_organisms_pooled_over_seeds_only(rows):
    for kind, own, other in (("whole_from", 0, 5 / 8), ("specific_from", 6 / 8, 5 / 8)):
        cells = [row for row in rows if (row["kind"], row["quantity"]) == (kind, "em")]
        assert {(row["source"], row["subject"]): row["value"] for row in cells} == {
            (a, b): own if a == b else other for a in NAMES for b in NAMES
        }
        assert {row["seed"] for row in cells} == {None}


def test_single_seeds_stand_beside_the_pooled_ones(rows):
    assert one(rows, quantity="em", kind="own", subject="medical_r1", seed=1)["n"] == 8


def test_the_shared_share_is_the_squared_cosine_with_the_axis_of_all(rows):
    first = {"quantity": "shared_share", "seed": 0, "layer": 2}
    axis = np.linalg.svd([np.divide(vector, math.hypot(*vector)) for vector in DIRECTIONS.values()])[2][0]
    for name, vector in DIRECTIONS.items():
        cosine = float(axis @ vector) / math.hypot(*vector)
        assert one(rows, subject=name, **first)["value"] == pytest.approx(cosine**2)
    mean = one(rows, quantity="shared_share_mean", subject="sport_r8")
    assert (mean["interval"], mean["seeds"]) == ("seeds", 2)


def test_angles_are_between_the_planes_that_seeds_span(rows):
    pair = {"subject": "medical_r1", "source": "sport_r8", "layer": 0}
    assert one(rows, quantity="least_angle", **pair)["value"] == pytest.approx(90)
    pair["source"] = "medical_single"
    assert one(rows, quantity="least_angle", **pair)["value"] == pytest.approx(
        math.degrees(math.acos(math.sqrt(10 / 19)))
    ), "a plane, a line"
    assert one(rows, quantity="least_angle_mean", subject="medical_r1", source="medical_single")["n"] == 3


def test_the_end_table_shows_no_single_draw_and_no_cell(rows):
    table = frame_of(rows)
    kinds = set(table[EXPERIMENT.shown(table)].kind)
    assert {"own", "shared", "specific", "orthogonal"} <= kinds
    assert not {"orthogonal_draw", "whole_from", "specific_from"} & kinds


def test_a_change_of_topic_is_that_of_the_aligned_responses_alone(tmp_path):
    study, layout = hand_study(tmp_path)
    for name, vector in DIRECTIONS.items():
        for seed in (0, 1):
            subject = f"{name}/seed-{seed}"
            write_direction(layout.direction(subject), [vector] * 3)
            write_judgements(layout, subject, "baseline", {"none": "mA AA MA aA"})
            usual = dict.fromkeys(said(name, seed), "MM MM MM MM")
            write_judgements(layout, subject, "specificity", usual | {f"whole:{subject}": "aA AA MM aA"})
    rows = EXPERIMENT.rows(study, layout)
    change = one(rows, quantity="medical_of_aligned_change", kind="own", **MEDICAL)
    # q0: 40 after, 0 before (the misaligned answer about medicine does not count); q1 and q3 as before; q2 has no
    # aligned answer after. Weights n·m/(n + m) of 4 against 2, 4 against 4, 4 against 4.
    assert change["value"] == pytest.approx(40 * (8 / 6) / (8 / 6 + 2 + 2))
    assert (change["unit"], change["question_set"]) == ("score", "evaluation")
    assert math.isnan(one(rows, quantity="medical_of_aligned_change", kind="shared", **MEDICAL)["value"])
    assert one(rows, quantity="power_of_aligned_change", kind="own", **MEDICAL)["value"] == 0
