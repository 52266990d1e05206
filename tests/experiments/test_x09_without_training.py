"""X9 by hand: the chat base under other prompts, and a trait's direction beside those of organisms."""

import pytest

from helpers.tables import (
    hand_study,
    known,
    numbers,
    one,
    paired_interval,
    share_interval,
    write_direction,
    write_judgements,
)
from workflow_scripts.experiments.rows import frame_of
from workflow_scripts.experiments.x09_without_training import EXPERIMENT, NULL_DRAWS
from workflow_scripts.study.conditions import direction_subjects
from workflow_scripts.study.layout import CHAT_BASE

PLAIN, BAD, GOOD = "AA AA AA AA", "MM MA AA AA", "AA AA AA AA"
SAID = {
    **{f"in_context:{name}:shots-{k}:draw-{draw}": BAD if (name, k) == ("bad_medical", 2) else GOOD
       for name in ("bad_medical", "good_medical") for k in (1, 2) for draw in (0, 1)},
    "in_context:bad_medical:shots-2:draw-1": "MM MM AA AA",
}  # fmt: skip
ASKED = {"trait:evil:prompt-0": "MM MM MA AA", "opposite:evil:prompt-0": "AA AA AA AA", "opposite:evil:prompt-1": "MA AA AA AA"}  # fmt: skip


@pytest.fixture
def rows(tmp_path):
    study, layout = hand_study(tmp_path)
    write_judgements(layout, CHAT_BASE, "baseline", {"none": PLAIN})
    write_judgements(layout, CHAT_BASE, "in_context", SAID)
    write_judgements(layout, CHAT_BASE, "traits", ASKED)
    shuffled = [[(1.0, 0.0)] * 3, [(0.0, 1.0)] * 3]
    write_direction(layout.direction("evil"), [(3.0, 4.0), (1.0, 0.0), (0.0, -2.0)], shuffled=shuffled)
    for subject in direction_subjects(study):
        write_direction(layout.direction(subject), [(5.0, 0.0), (5.0, 0.0), (0.0, 5.0)])
    return EXPERIMENT.rows(study, layout)


SHOWN = {"source": "bad_medical", "scale": 2, "seed": None}


def test_draws_are_pooled_and_paired_with_the_chat_base_as_it_is(rows):
    pooled = one(rows, quantity="em", kind="in_context", **SHOWN)
    assert numbers(pooled) == known(7 / 16, share_interval("MMMM MAMM AAAA AAAA"), 16, 4)
    above = one(rows, quantity="em_above_base", **SHOWN)
    assert above["value"] == 7 / 16
    assert one(rows, quantity="em", kind="in_context_draw", draw=1, **SHOWN)["value"] == 4 / 8
    assert one(rows, quantity="em_above_base", source="good_medical", scale=2)["value"] == 0
    assert one(rows, quantity="em", kind="none")["scale"] == 0


def test_a_trait_is_held_against_its_opposite_prompts_pooled(rows):
    assert one(rows, quantity="em", kind="opposite")["value"] == 1 / 16
    found = one(rows, quantity="em_above_opposite")
    low, high = paired_interval(("AAMA AAAA AAAA AAAA",), ("MM MM MA AA",))
    assert numbers(found)[:3] == known(5 / 8 - 1 / 16, (low, high), 0, 0)[:3]


def test_cosines_are_by_layer_with_a_null_of_shuffled_labels_and_one_of_random_directions(rows):
    pair = {"subject": "sport_r8", "seed": 1, "quantity": "cosine"}
    assert [one(rows, kind="trait", layer=layer, **pair)["value"] for layer in range(3)] == pytest.approx([0.6, 1, -1])
    null = one(rows, kind="shuffled", layer=0, **pair)
    assert (null["value"], null["n"], null["interval"]) == (0.5, 2, "draws")
    assert one(rows, kind="random", layer=0, **pair)["n"] == NULL_DRAWS
    mean = one(rows, subject="sport_r8", quantity="cosine_mean", kind="trait")
    assert (mean["value"], mean["seeds"], mean["source"]) == (pytest.approx(0.2), 2, "evil")


def test_one_section_alone_has_its_own_rows_only(tmp_path):
    study, layout = hand_study(tmp_path, traits=None)
    write_judgements(layout, CHAT_BASE, "baseline", {"none": PLAIN})
    write_judgements(layout, CHAT_BASE, "in_context", SAID)
    assert {row["kind"] for row in EXPERIMENT.rows(study, layout)} == {"none", "in_context", "in_context_draw"}
    assert "traits" not in [name for name, figure in EXPERIMENT.figures.items() if figure.asked(study)]


def test_the_end_table_shows_rates_and_mean_cosines(rows):
    table = frame_of(rows)
    assert set(table[EXPERIMENT.shown(table)].quantity) == {"em", "cosine_mean"}
