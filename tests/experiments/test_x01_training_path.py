"""X1 by hand: a path of B in the plane that turns by a right angle."""

import math

import numpy as np
import pytest
import torch

from helpers.tables import BENT, hand_study, known, numbers, one, share_interval, write_checkpoints, write_judgements
from workflow_scripts.experiments.rows import frame_of
from workflow_scripts.experiments.x01_training_path import EXPERIMENT, NULL_DRAWS, paces

SUBJECT = "medical_single/seed-0"
SAID = {
    "step-1:scale-1": "AA AA AA AA",
    "step-1:scale-5": "MA AA AA AA",
    "step-5:scale-1": "MM MA AA AA",
    "step-5:scale-5": "MM MM MX XX",
    "b_projected": "MM MM MM MM",
}


def rows_of(tmp_path, path=BENT, a=None, **changed):
    study, layout = hand_study(tmp_path, training_path=changed)
    write_checkpoints(layout, SUBJECT, path, a=a)
    write_judgements(layout, SUBJECT, "surgery", SAID)
    return EXPERIMENT.rows(study, layout)


@pytest.fixture
def rows(tmp_path):
    return rows_of(tmp_path)


def by_step(rows, quantity, **facts):
    chosen = [r for r in rows if r["quantity"] == quantity and all(r[k] == v for k, v in facts.items())]
    return {row["step"]: row["value"] for row in chosen}


def test_norms_are_of_the_whole_of_a_and_of_b(rows):
    norms = by_step(rows, "b_norm")
    assert norms == {step: pytest.approx(math.hypot(*b)) for step, b in BENT.items()}
    assert by_step(rows, "a_norm") == dict.fromkeys(BENT, 1.0)
    assert by_step(rows, "gradient_norm") == {step: pytest.approx(1 / step) for step in BENT}


def test_the_local_cosine_is_minus_one_straight_on_and_zero_at_the_right_angle(rows):
    assert by_step(rows, "local_cosine_b", window=1) == {2: -1, 3: 0, 4: -1}
    assert by_step(rows, "local_cosine_b", window=2) == {3: 0}
    assert by_step(rows, "local_cosine_a") == {}, "A stands still"


def test_the_turn_is_the_largest_local_cosine_of_b_by_window(rows):
    turn = one(rows, quantity="local_cosine_b_max", window=1, kind="path")
    assert (turn["value"], turn["step"], turn["n"]) == (0, 3, 1)
    assert one(rows, quantity="local_cosine_b_max", window=2, kind="path")["n"] == 1


def test_the_turn_is_of_b_even_where_a_moves(tmp_path):
    rows = rows_of(tmp_path, a={step: float(step) for step in BENT})
    assert by_step(rows, "local_cosine_a", window=1) == {2: -1, 3: -1, 4: -1}
    assert by_step(rows, "a_norm") == {step: step for step in BENT}
    assert one(rows, quantity="local_cosine_b_max", window=1, kind="path")["step"] == 3


def test_a_path_that_all_but_stands_still_does_not_turn(tmp_path):
    """It goes straight on for 100 and then trembles by .1: its cosines there are of noise."""
    trembling = {1: (0.0, 0.0), 2: (50.0, 0.0), 3: (100.0, 0.0), 4: (100.0, 0.1), 5: (100.0, 0.0)}
    assert by_step(rows_of(tmp_path, trembling), "local_cosine_b", window=1) == {
        2: -1,
        3: pytest.approx(0, abs=0.01),
    }, "one long side is enough, none at step 4"


def test_a_straight_path_with_noise_turns_no_more_than_straightened_ones(tmp_path):
    rng = np.random.default_rng(0)
    straight = np.cumsum(np.array([1.0, 0, 0]) + rng.normal(scale=0.1, size=(30, 3)), axis=0)
    bent = straight.copy()
    bent[15:] = bent[14] + np.cumsum(np.array([0, 1.0, 0]) + rng.normal(scale=0.1, size=(15, 3)), axis=0)
    turns = {}
    for name, path in (("straight", straight), ("bent", bent)):
        kept = {step: tuple(b) for step, b in enumerate(path.tolist(), start=1)}
        rows = rows_of(tmp_path / name, kept, windows=[5], steps=[1])
        found, null = (one(rows, quantity="local_cosine_b_max", kind=kind) for kind in ("path", "straight"))
        assert (null["n"], null["interval"], null["seed"]) == (NULL_DRAWS, "draws", None)
        turns[name] = found["value"] > null["high"]
    assert turns == {"straight": False, "bent": True}


def test_a_step_is_told_apart_into_its_pace_and_what_it_has_beside():
    moves = torch.tensor([[1.0, 0.0], [2.0, 0.5], [1.0, 0.0], [1.0, 0.0]])
    pace, beside = paces(moves)
    assert (pace[1], beside[1].tolist()) == (2, [0, 0.5]), "its neighbours go along the first axis"
    assert pace[0] == pytest.approx(4 / math.hypot(4, 0.5))


def test_windows_are_in_steps_not_in_kept_copies(tmp_path):
    rows = rows_of(tmp_path, {2 * step: b for step, b in BENT.items()}, windows=[1, 2])
    assert by_step(rows, "local_cosine_b", window=1) == {}
    assert by_step(rows, "local_cosine_b", window=2) == {4: -1, 6: 0, 8: -1}


def test_components_are_those_of_the_path_of_b(rows):
    # about their mean, the steps have Σx² = Σy² = 3.2 and Σxy = 1.8: variances 5 and 1.4 along the diagonals
    assert numbers(one(rows, quantity="pca_share", kind="pc-1")) == known(5 / 6.4, None, 5, 0)
    assert numbers(one(rows, quantity="pca_share", kind="pc-2")) == known(1.4 / 6.4, None, 5, 0)
    first, second = by_step(rows, "pc", kind="pc-1"), by_step(rows, "pc", kind="pc-2")
    along = {step: (x + y - 3) / math.sqrt(2) for step, (x, y) in BENT.items()}
    across = {step: (x - y - 1.8) / math.sqrt(2) for step, (x, y) in BENT.items()}
    for found, meant in ((first, along), (second, across)):
        sign = math.copysign(1, found[1] * meant[1])  # of a component: arbitrary
        assert found == {step: pytest.approx(sign * value) for step, value in meant.items()}


def test_kept_copies_are_sampled_by_step_and_scale(rows):
    copy = {"kind": "checkpoint", "step": 5, "scale": 1.0}
    assert numbers(one(rows, quantity="em", **copy)) == known(3 / 8, share_interval("MM MA AA AA"), 8, 4)
    scaled = {**copy, "scale": 5.0}
    assert one(rows, quantity="em", **scaled)["value"] == pytest.approx(5 / 8)
    assert numbers(one(rows, quantity="coherence", **scaled)) == known(
        5 / 8, share_interval("MM MM MX XX", ones="M"), 8, 4
    )
    assert one(rows, quantity="em", **scaled)["condition"] == "step-5:scale-5"
    assert len([row for row in rows if row["quantity"] == "em"]) == 4, "other edits are other experiments'"
    assert {row["seed"] for row in rows} == {None}


def test_a_window_wider_than_the_path_has_no_turn(tmp_path):
    rows = rows_of(tmp_path, windows=[1, 3])
    assert not [row for row in rows if row["window"] == 3]


def test_a_path_of_one_copy_has_a_norm_and_no_turn_and_no_components(tmp_path):
    rows = rows_of(tmp_path, {1: (3.0, 4.0)}, steps=[1])
    assert by_step(rows, "b_norm") == {1: 5}
    assert not [row for row in rows if row["quantity"].startswith(("local_cosine", "pc"))]


def test_a_path_that_never_moves_has_no_components(tmp_path):
    rows = rows_of(tmp_path, dict.fromkeys(range(1, 6), (3.0, 4.0)))
    assert not [row for row in rows if row["quantity"].startswith(("local_cosine", "pc"))]


def test_the_end_table_shows_turns_components_and_rates(rows):
    table = frame_of(rows)
    shown = table[EXPERIMENT.shown(table)]
    assert shown.quantity.value_counts().to_dict() == {"em": 4, "local_cosine_b_max": 4, "pca_share": 2}
