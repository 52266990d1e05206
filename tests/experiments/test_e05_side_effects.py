"""What projections take besides, by hand: pooled over seeds, by layer, beside random directions."""

import pytest

from helpers.tables import hand_study, one, write_side_effects
from workflow_scripts.experiments.e05_side_effects import EXPERIMENT
from workflow_scripts.experiments.rows import frame_of

FIRST, SECOND = "medical_r1/seed-0", "medical_r1/seed-1"


def moved(subject, condition, values):
    return [(subject, condition, "kl", None, question, value) for question, value in values]


def taken(subject, condition, quantity, shares):
    return [(subject, condition, quantity, layer, None, value) for layer, value in enumerate(shares)]


@pytest.fixture
def rows(tmp_path):
    study, layout = hand_study(
        tmp_path, ablation={"targets": ["medical_r1"], "matrix": [], "chat_base": False, "side_effects": 4}
    )
    write_side_effects(
        layout,
        [
            *moved(FIRST, f"own:{FIRST}", [("a", 0.1), ("a", 0.3), ("b", 0.2), ("b", 0.4)]),
            *moved(SECOND, f"own:{SECOND}", [("a", 0.2), ("a", 0.2), ("b", 0.5), ("b", 0.5)]),
            *[(FIRST, f"own:{FIRST}", "loss_rise", None, str(n), value) for n, value in enumerate((0.1, 0.3))],
            *[(SECOND, f"own:{SECOND}", "loss_rise", None, str(n), value) for n, value in enumerate((0.0, 0.2))],
            *moved(FIRST, f"random:{FIRST}:layer-1:draw-0", [("a", 0.0), ("b", 0.02)]),
            *moved(FIRST, f"random:{FIRST}:layer-1:draw-1", [("a", 0.04), ("b", 0.02)]),
            *taken(FIRST, f"own:{FIRST}", "variance_share", (0.1, 0.2, 0.3)),
            *taken(SECOND, f"own:{SECOND}", "variance_share", (0.3, 0.2, 0.1)),
            *taken(FIRST, f"random:{FIRST}:layer-1:draw-0", "norm_share", (0.01, 0.01, 0.01)),
            *moved(FIRST, f"only_layer:{FIRST}:only-layer-1", [("a", 0.1), ("b", 0.1)]),
            (FIRST, f"only_layer:{FIRST}:only-layer-1", "variance_share", 1, None, 0.25),
        ],
    )
    return EXPERIMENT.rows(study, layout)


def test_divergence_is_the_mean_over_answers_of_all_seeds(rows):
    own = one(rows, quantity="kl", kind="own", subject="medical_r1")
    assert own["value"] == pytest.approx((0.1 + 0.3 + 0.2 + 0.4 + 0.2 + 0.2 + 0.5 + 0.5) / 8)
    assert (own["n"], own["clusters"], own["seeds"], own["unit"]) == (8, 2, 2, "nats")
    assert own["low"] < own["value"] < own["high"]
    random = one(rows, quantity="kl", kind="random", subject="medical_r1")
    assert (random["value"], random["n"]) == (pytest.approx(0.02), 4), "both draws"


def test_a_rise_of_the_loss_is_the_mean_over_rows_and_seeds(rows):
    own = one(rows, quantity="loss_rise", kind="own", subject="medical_r1")
    assert own["value"] == pytest.approx(0.15)
    assert (own["n"], own["clusters"], own["seeds"], own["unit"]) == (4, 2, 2, "nats")
    assert not [r for r in rows if r["quantity"] == "loss_rise" and r["kind"] != "own"], "nothing of what was not read"


def test_shares_are_means_over_seeds_by_layer_and_over_layers(rows):
    by_layer = [r for r in rows if r["quantity"] == "variance_share" and r["kind"] == "own" and r["layer"] is not None]
    assert {r["layer"]: r["value"] for r in by_layer} == {layer: pytest.approx(0.2) for layer in range(3)}
    whole = one(rows, quantity="variance_share", kind="own", layer=None)
    assert (whole["value"], whole["n"]) == (pytest.approx(0.2), 2)
    only = [r for r in rows if r["kind"] == "only_layer" and r["quantity"] == "variance_share"]
    assert [(r["layer"], r["value"]) for r in only] == [(None, 0.25), (1, 0.25)]
    assert one(rows, quantity="norm_share", kind="random", layer=2)["value"] == pytest.approx(0.01)


def test_the_end_table_shows_directions_beside_random_ones(rows):
    table = frame_of(rows)
    assert set(table[EXPERIMENT.shown(table)].kind) == {"own", "random"}


def test_the_direction_is_that_of_the_organism_itself_or_of_the_source(tmp_path):
    """Two organisms have projections of one name."""
    study, layout = hand_study(
        tmp_path, ablation={"targets": ["medical_r1", "sport_r8"], "matrix": [], "chat_base": False, "side_effects": 2}
    )
    other = "sport_r8/seed-0"
    conditions = {FIRST: [f"own:{FIRST}"], other: [f"own:{other}", f"transferred:{FIRST}"]}
    write_side_effects(
        layout,
        [line for subject, names in conditions.items() for name in names
         for line in moved(subject, name, [("a", 0.1), ("b", 0.2)])],
    )  # fmt: skip
    rows = EXPERIMENT.rows(study, layout)
    assert {(row["subject"], row["kind"]): row["source"] for row in rows} == {
        ("medical_r1", "own"): "medical_r1",
        ("sport_r8", "own"): "sport_r8",
        ("sport_r8", "transferred"): "medical_r1",
    }
