"""E2 and E6 by hand: norms and cosines of directions in two dimensions."""

import math

import pytest
import torch

from helpers.tables import hand_study, known, numbers, one, t_interval, within, write_direction
from workflow_scripts.experiments.e02_directions import CONVERGENCE, NORMS, NULL_DRAWS
from workflow_scripts.experiments.rows import frame_of

RIGHT, UP, LEFT, STEEP = (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (3.0, 4.0)
DIRECTIONS = {
    "medical_r1/seed-0": (RIGHT, RIGHT, RIGHT),
    "medical_r1/seed-1": (UP, UP, UP),
    "sport_r8/seed-0": (STEEP, RIGHT, LEFT),
    "sport_r8/seed-1": (STEEP, UP, UP),
}
"""Of three layers."""


def written(tmp_path, directions=DIRECTIONS, shuffled=(), **asked):
    asked = {"organisms": ["medical_r1", "sport_r8"], **asked}
    study, layout = hand_study(tmp_path, single_adapter=None, ablation=None, specificity=None, directions=asked)
    for subject, vectors in directions.items():
        drawn = dict(shuffled).get(subject, ())
        write_direction(layout.direction(subject), vectors, counts=(8, 12), shuffled=drawn)
        write_direction(layout.other_direction(subject), [UP] * len(vectors))
    return study, layout


def test_norms_are_by_layer_and_seed_and_counted_in_responses(tmp_path):
    study, layout = written(tmp_path)
    write_direction(layout.direction("medical_r1/seed-1"), [STEEP, (6, 8), (0, 5)], [50, 100, 20], (9, 7))
    rows = NORMS.rows(study, layout)
    seed_1 = {"subject": "medical_r1", "seed": 1}
    for layer, (norm, activation) in enumerate([(5, 50), (10, 100), (5, 20)]):
        assert numbers(one(rows, quantity="direction_norm", layer=layer, kind="direction", **seed_1)) == known(
            norm, None, 16, 0
        )
        assert numbers(one(rows, quantity="activation_norm", layer=layer, **seed_1)) == known(activation, None, 16, 0)
    assert numbers(one(rows, quantity="misaligned_responses", **seed_1)) == known(9, None, 16, 0)
    assert numbers(one(rows, quantity="aligned_responses", **seed_1)) == known(7, None, 16, 0)
    assert len(rows) == 4 * (3 + 3 + 2), "four subjects"
    assert not NORMS.shown(frame_of(rows)).any()


def test_cosines_of_organisms_are_taken_at_equal_seeds(tmp_path):
    rows = CONVERGENCE.rows(*written(tmp_path))
    pairs = {
        (row["seed"], row["source"], row["layer"]): row["value"]
        for row in rows
        if (row["quantity"], row["kind"]) == ("cosine", "organisms")
    }
    assert pairs == {
        (0, "sport_r8/seed-0", 0): pytest.approx(3 / 5),
        (0, "sport_r8/seed-0", 1): 1,
        (0, "sport_r8/seed-0", 2): -1,
        (1, "sport_r8/seed-1", 0): pytest.approx(4 / 5),
        (1, "sport_r8/seed-1", 1): 1,
        (1, "sport_r8/seed-1", 2): 1,
    }
    row = one(rows, quantity="relative_difference", kind="organisms", seed=0, layer=0)
    assert row["value"] == pytest.approx(math.hypot(2, 4)), "|(1, 0) − (3, 4)| over the first one's length"
    row = one(rows, quantity="relative_difference", kind="organisms", seed=0, layer=2)
    assert row["value"] == pytest.approx(2)


def test_cosines_of_seeds_are_of_one_organism(tmp_path):
    rows = CONVERGENCE.rows(*written(tmp_path))
    seeds = [row for row in rows if (row["quantity"], row["kind"]) == ("cosine", "seeds")]
    assert {(row["subject"], row["seed"], row["source"]) for row in seeds} == {
        ("medical_r1", 0, "medical_r1/seed-1"),
        ("sport_r8", 0, "sport_r8/seed-1"),
    }
    assert numbers(one(seeds, subject="sport_r8", layer=0)) == known(1, None, 1, 0)
    assert one(seeds, subject="medical_r1", layer=0)["value"] == 0


def test_the_least_and_the_mean_cosine_are_over_layers_and_seeds(tmp_path):
    rows = CONVERGENCE.rows(*written(tmp_path))
    pair = {"kind": "organisms", "subject": "medical_r1", "source": "sport_r8", "seed": None}
    assert numbers(one(rows, quantity="cosine_min", **pair)) == known(-1, None, 6, 0)
    seeds = within(*t_interval((0.6 + 1 - 1) / 3, (0.8 + 1 + 1) / 3), -1)
    mean = known((0.6 + 1 - 1 + 0.8 + 1 + 1) / 6, seeds, 6, 2, "seeds")
    assert numbers(one(rows, quantity="cosine_mean", **pair)) == mean


def test_both_sources_of_directions_are_held_against_each_other(tmp_path):
    rows = CONVERGENCE.rows(*written(tmp_path))
    both = {"kind": "sources", "source": "datasets"}
    assert one(rows, quantity="cosine", subject="sport_r8", seed=0, layer=0, **both)["value"] == pytest.approx(4 / 5)
    # of sport: .8, 0, 0 and .8, 1, 1; medical has 0 at three layers and 1 at three
    assert numbers(one(rows, quantity="cosine_mean", subject="sport_r8", **both)) == known(
        3.6 / 6, within(*t_interval(0.8 / 3, 2.8 / 3), -1), 6, 2, "seeds"
    )
    assert numbers(one(rows, quantity="cosine_min", subject="medical_r1", **both)) == known(0, None, 6, 0)
    rows = CONVERGENCE.rows(*written(tmp_path / "one_source", also=None, bad=None, good=None))
    assert not [row for row in rows if row["kind"] == "sources"]


def test_shuffled_labels_are_a_null_of_equal_draws(tmp_path):
    # at each layer, draws (→, ↑, ↑) of one organism and (→, ←, ↑) of the other: cosines 1, 0, 1
    drawn = {
        "medical_r1/seed-0": [[RIGHT] * 3, [UP] * 3, [UP] * 3],
        "sport_r8/seed-0": [[RIGHT] * 3, [LEFT] * 3, [UP] * 3],
    }
    rows = CONVERGENCE.rows(*written(tmp_path, shuffled=drawn.items()))
    null = [row for row in rows if row["kind"] == "shuffled"]
    assert [(row["layer"], row["seed"], row["source"]) for row in null] == [(k, 0, "sport_r8/seed-0") for k in range(3)]
    # of 0, 1, 1 the 2.5 % quantile lies .05 of the way from 0 to 1
    assert numbers(null[0]) == known(2 / 3, (0.05, 1), 3, 3, "draws")


def test_norms_of_shuffled_labels_stand_beside_those_of_the_directions(tmp_path):
    study, layout = written(tmp_path, shuffled={"sport_r8/seed-1": [[RIGHT] * 3, [STEEP] * 3]}.items())
    rows = [row for row in NORMS.rows(study, layout) if row["kind"] == "shuffled"]
    assert [(row["subject"], row["seed"], row["layer"]) for row in rows] == [
        ("sport_r8", 1, layer) for layer in range(3)
    ]
    assert numbers(rows[0]) == known(3, (1.1, 4.9), 2, 2, "draws")


def test_one_draw_is_no_null_distribution(tmp_path):
    drawn = {"medical_r1/seed-0": [[RIGHT] * 3], "sport_r8/seed-0": [[STEEP] * 3]}
    rows = CONVERGENCE.rows(*written(tmp_path, shuffled=drawn.items()))
    assert numbers(one(rows, kind="shuffled", layer=0)) == known(3 / 5, None, 1, 0)


def test_random_directions_are_a_null_at_every_layer_and_alike_for_all(tmp_path):
    rows = CONVERGENCE.rows(*written(tmp_path))
    null = [row for row in rows if row["kind"] == "random"]
    assert len(null) == 4 * 3
    assert {(row["n"], row["clusters"], row["interval"]) for row in null} == {(NULL_DRAWS, NULL_DRAWS, "draws")}
    a, b = one(null, subject="medical_r1", seed=0, layer=1), one(null, subject="sport_r8", seed=0, layer=1)
    assert numbers(a) == numbers(b), "equal directions meet the same draws"
    # angles in the plane are uniform: cosines have mean 0, and 95 % of them lie between ± cos(π / 40)
    assert abs(a["value"]) < 3 / math.sqrt(2 * NULL_DRAWS)
    assert (a["low"], a["high"]) == (pytest.approx(-1, abs=0.05), pytest.approx(1, abs=0.05))


def test_one_layer_has_as_many_rows(tmp_path):
    rows = CONVERGENCE.rows(*written(tmp_path, {subject: [STEEP] for subject in DIRECTIONS}))
    pair = {"kind": "organisms", "source": "sport_r8"}
    assert numbers(one(rows, quantity="cosine_min", **pair)) == known(1, None, 2, 0)
    assert torch.tensor([row["layer"] for row in rows if row["layer"] is not None]).unique().tolist() == [0]
    table = frame_of(rows)
    assert set(table[CONVERGENCE.shown(table)].quantity) == {"cosine_min"}
