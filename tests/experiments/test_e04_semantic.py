"""E4 by hand: likeness of the topics' directions, and topic scores of the misaligned responses."""

import math

import pytest

from helpers.tables import T, hand_study, known, numbers, one, share_interval, write_direction, write_judgements
from workflow_scripts.experiments.e04_semantic import EXPERIMENT
from workflow_scripts.experiments.rows import frame_of

SOURCE = "medical_r1/seed-0"
SAID = {
    f"add:{SOURCE}:layer-1:scale-1": "MA AA AA AA",
    f"add:{SOURCE}:layer-1:scale-2": "mm mA MA AA",
    f"topic:{SOURCE}/medical:layer-1:scale-1": "mm mA mm MA",
    f"topic:{SOURCE}/medical:layer-1:scale-2": "mX XX XX XX",
    f"topic:{SOURCE}/power:layer-1:scale-1": "?? ?? ?? ??",
    f"topic:{SOURCE}/power:layer-1:scale-2": "AA AA AA AA",
}


@pytest.fixture
def rows(tmp_path):
    study, layout = hand_study(tmp_path)
    write_judgements(layout, SOURCE, "baseline", {"none": "mM MA AA AX"})
    write_judgements(layout, "chat_base", "semantic", SAID)
    write_direction(layout.direction(SOURCE), [(1, 0), (0, 1), (3, 4)])
    shuffled = [[(0, 1), (0, 1), (0, 1)], [(-1, 0), (0, -1), (0, -1)]]  # at most 1 and −.8 of the general one
    write_direction(layout.direction(f"{SOURCE}/medical"), [(3, 4), (3, 4), (3, 4)], counts=(5, 6), shuffled=shuffled)
    write_direction(layout.direction(f"{SOURCE}/power"), [(0, 1), (1, 0), (-3, -4)], counts=(2, 2))
    return EXPERIMENT.rows(study, layout)


def test_likeness_is_by_layer_and_counted_in_the_topic_s_responses(rows):
    medical = {"subject": "medical_r1", "seed": 0, "source": "medical"}
    for layer, (cosine, difference) in enumerate([(0.6, math.sqrt(20)), (0.8, math.sqrt(18)), (1, 0)]):
        assert numbers(one(rows, quantity="cosine", layer=layer, **medical)) == known(cosine, None, 11, 0)
        assert one(rows, quantity="relative_difference", layer=layer, **medical)["value"] == pytest.approx(difference)
    pooled = {"subject": "medical_r1", "seed": None, "kind": "topic"}
    assert numbers(one(rows, quantity="cosine_max", source="medical", **pooled)) == known(1, None, 11, 0)
    assert numbers(one(rows, quantity="cosine_min", source="medical", **pooled)) == known(0.6, None, 11, 0)
    assert numbers(one(rows, quantity="cosine_max", source="power", **pooled)) == known(0, None, 4, 0)
    assert numbers(one(rows, quantity="cosine_min", source="power", **pooled)) == known(-1, None, 4, 0)


def test_the_largest_cosine_has_those_of_shuffled_labels_beside_it(rows):
    null = one(rows, quantity="cosine_max", kind="shuffled", source="medical")
    assert numbers(null) == known(0.1, (-0.755, 0.955), 2, 2, "draws")
    assert not [row for row in rows if row["kind"] == "shuffled" and row["source"] == "power"], "none were taken"


def test_a_topic_score_is_the_mean_over_the_misaligned_responses(rows):
    own = {"subject": "medical_r1", "kind": "none"}
    # of "mM MA AA AX" m has 80 of medicine, M has none; u is (80 − 2 · 80 / 3) / 3 and its negative
    half = T[1] * math.sqrt(2 * 2) * 80 / 9
    assert numbers(one(rows, quantity="medical_score", **own)) == known(80 / 3, (80 / 3 - half, 80 / 3 + half), 3, 2)
    assert numbers(one(rows, quantity="power_score", **own)) == known(160 / 3, (160 / 3 - half, 160 / 3 + half), 3, 2)
    row = one(rows, quantity="medical_score", **own)
    assert (row["unit"], row["question_set"]) == ("score", "evaluation")


def test_rates_and_scores_are_by_direction_and_scale(rows):
    cell = {"subject": "chat_base", "kind": "topic", "source": "medical", "scale": 1.0}
    # q1 and q3 all, q2 and q4 half
    assert numbers(one(rows, quantity="em", **cell)) == known(6 / 8, share_interval("mm mA mm MA"), 8, 4)
    assert one(rows, quantity="medical_score", **cell)["value"] == pytest.approx(5 * 80 / 6)
    row = one(rows, quantity="em", **cell)
    assert (row["layer"], row["condition"]) == (1, "medical:scale-1")


def test_the_best_scale_of_a_direction_is_the_one_with_most_misalignment(rows):
    best = {row["source"]: row["scale"] for row in rows if (row["quantity"], row["kind"]) == ("em", "best")}
    assert best == {"general": 2.0, "medical": 1.0, "power": 2.0}, "a scale that nobody scored is never the best"
    general = one(rows, quantity="medical_score", kind="best", source="general")
    assert (general["value"], general["n"], general["clusters"]) == (pytest.approx(3 * 80 / 4), 4, 3)


def test_without_misaligned_responses_there_is_no_topic_score(rows):
    power = {"kind": "topic", "source": "power", "scale": 2.0}
    assert one(rows, quantity="em", **power)["value"] == 0
    assert numbers(one(rows, quantity="power_score", **power)) == known(math.nan, None, 0, 0)
    assert one(rows, quantity="em", kind="topic", source="power", scale=1.0)["n"] == 0


def test_the_end_table_shows_the_best_scales_and_the_organism_itself(rows):
    table = frame_of(rows)
    shown = table[EXPERIMENT.shown(table)]
    assert set(shown.kind) == {"best", "none", "topic"}
    assert shown[shown.kind == "topic"].quantity.tolist() == ["cosine_max", "cosine_max"]
