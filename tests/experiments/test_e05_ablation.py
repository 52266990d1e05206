"""E5 by hand: what is left after ablation, paired changes, and the transfer matrix with unequal seeds."""

import math

import pytest

from helpers.tables import (
    hand_study,
    known,
    numbers,
    one,
    paired_interval,
    relative_interval,
    share_interval,
    write_judged,
    write_judgements,
)
from workflow_scripts.experiments.e05_ablation import EXPERIMENT
from workflow_scripts.experiments.rows import frame_of
from workflow_scripts.runtime.errors import UserError

NOBODY = "AA AA AA AA"
BEFORE = {
    "chat_base": NOBODY,
    "medical_r1/seed-0": "MM MM MA MA",
    "medical_r1/seed-1": "MM MA MA MA",
    "sport_r8/seed-0": "MM MM MA AA",
    "sport_r8/seed-1": NOBODY,
}
POOLED = ("MM MM MA MA", "MM MA MA MA")
"""Before, of both seeds of medical_r1."""


def ablated(source, own="", single=NOBODY, only=NOBODY, draws=(NOBODY, NOBODY), others=()):
    return {
        **({f"own:{own[0]}": own[1]} if own else {}),
        **{f"transferred:{other}": said for other, said in dict(others).items()},
        f"single_layer:{source}:layer-1": single,
        f"only_layer:{source}:only-layer-1": only,
        **{f"random:{source}:layer-1:draw-{draw}": said for draw, said in enumerate(draws)},
    }


def after():
    first, second = "medical_r1/seed-0", "medical_r1/seed-1"
    return {
        "chat_base": ablated(first, others={first: NOBODY}),
        # the matrix's sport is taken out of the first seed only
        first: ablated(first, (first, NOBODY), "MA AA AA AA", "MM MA AA AA", ("MM MM MA MA", "MM MA AA MA"),
                       {"sport_r8/seed-0": "MM AA MA AA"}),
        second: ablated(second, (second, NOBODY), NOBODY, "MA MA AA AA", ("MM MA MA MA", "MM MA MA AA")),
        "sport_r8/seed-0": ablated(first, ("sport_r8/seed-0", NOBODY), others={first: "MA MA AA AA"}),
        "sport_r8/seed-1": ablated(second, ("sport_r8/seed-1", NOBODY), others={second: NOBODY}),
    }  # fmt: skip


def study_of(tmp_path, **changed):
    study, layout = hand_study(
        tmp_path, ablation={"targets": ["medical_r1", "sport_r8"], "matrix": ["sport_r8"], **changed}
    )
    for subject, said in BEFORE.items():
        write_judgements(layout, subject, "baseline", {"none": said})
    for subject, said in after().items():
        write_judgements(layout, subject, "ablation", said)
    return study, layout


@pytest.fixture
def rows(tmp_path):
    return EXPERIMENT.rows(*study_of(tmp_path))


MEDICAL = {"subject": "medical_r1", "seed": None}


def test_before_is_the_baseline_of_all_seeds(rows):
    assert numbers(one(rows, quantity="em", kind="none", **MEDICAL)) == known(11 / 16, share_interval(*POOLED), 16, 4)
    row = one(rows, quantity="em", kind="none", subject="medical_r1", seed=1)
    assert numbers(row) == known(5 / 8, share_interval(POOLED[1]), 8, 4)


def test_nothing_left_is_minus_100_percent_with_an_upper_bound(rows):
    own = {"kind": "own", "source": "medical_r1", "layer": None, **MEDICAL}
    assert numbers(one(rows, quantity="em", **own)) == known(0, share_interval(NOBODY, NOBODY), 16, 4)
    change = one(rows, quantity="em_change", **own)
    assert numbers(change) == known(-11 / 16, paired_interval(POOLED, (NOBODY, NOBODY)), 32, 4)
    assert (change["seeds"], change["seeds_holding"]) == (2, 1), "6 of 8 to none for sure, 5 of 8 not quite"
    relative = one(rows, quantity="em_relative_change", **own)
    assert numbers(relative) == known(-1, relative_interval(POOLED, (NOBODY, NOBODY)), 32, 4)
    assert relative["low"] == -1 < relative["high"]
    assert one(rows, quantity="coherence", **own)["value"] == 1


def test_what_is_left_is_relative_to_before_and_paired_by_question(rows):
    one_layer = {"kind": "single_layer", "layer": 1, **MEDICAL}
    left = ("MA AA AA AA", NOBODY)
    assert numbers(one(rows, quantity="em", **one_layer)) == known(1 / 16, share_interval(*left), 16, 4)
    relative = one(rows, quantity="em_relative_change", **one_layer)
    assert numbers(relative) == known(-10 / 11, relative_interval(POOLED, left), 32, 4)
    assert (relative["source"], relative["unit"], relative["question_set"]) == ("medical_r1", "ratio", "evaluation")
    there = one(rows, quantity="em", kind="only_layer", layer=1, **MEDICAL)
    assert numbers(there) == known(5 / 16, share_interval("MM MA AA AA", "MA MA AA AA"), 16, 4)


def test_random_draws_are_pooled_and_single(rows):
    # four answers to a question from two draws of each seed
    said = ("MMMM MMMA MAAA MAMA", "MMMM MAMA MAMA MAAA")
    pooled = {"kind": "random", "draw": None, **MEDICAL}
    assert numbers(one(rows, quantity="em", **pooled)) == known(19 / 32, share_interval(*said), 32, 4)
    change = one(rows, quantity="em_change", **pooled)
    assert numbers(change) == known(19 / 32 - 22 / 32, paired_interval(POOLED, said), 16 + 32, 4)
    first = {"kind": "random_draw", "draw": 0, **MEDICAL}
    assert numbers(one(rows, quantity="em", **first)) == known(11 / 16, share_interval(*POOLED), 16, 4)
    second = {"kind": "random_draw", "draw": 1, **MEDICAL}
    assert one(rows, quantity="em", **second)["value"] == pytest.approx(8 / 16)


def test_one_random_draw_is_not_listed_twice(tmp_path):
    study, layout = study_of(tmp_path, random_draws=1)
    for subject, said in after().items():
        write_judgements(layout, subject, "ablation", {name: s for name, s in said.items() if "draw-1" not in name})
    rows = EXPERIMENT.rows(study, layout)
    assert not [row for row in rows if row["kind"] == "random_draw"]
    assert numbers(one(rows, quantity="em", kind="random", **MEDICAL)) == known(11 / 16, share_interval(*POOLED), 16, 4)


def test_the_matrix_compares_the_same_seeds_before_and_after(rows):
    cell = {"kind": "from", "source": "sport_r8", **MEDICAL}
    # only seed 0 was ablated so: 6 of 8 before, 3 of 8 after
    before, left = ["MM MM MA MA"], ["MM AA MA AA"]
    assert numbers(one(rows, quantity="em", **cell)) == known(3 / 8, share_interval(*left), 8, 4)
    assert numbers(one(rows, quantity="em_change", **cell)) == known(-3 / 8, paired_interval(before, left), 16, 4)
    relative = one(rows, quantity="em_relative_change", **cell)
    assert numbers(relative) == known(-1 / 2, relative_interval(before, left), 16, 4)


def test_every_cell_of_the_matrix_stands_once_and_for_pooled_seeds_only(rows):
    cells = {(row["source"], row["subject"]) for row in rows if (row["kind"], row["quantity"]) == ("from", "em")}
    assert cells == {
        ("medical_r1", "chat_base"),
        ("medical_r1", "medical_r1"),
        ("sport_r8", "medical_r1"),
        ("medical_r1", "sport_r8"),
        ("sport_r8", "sport_r8"),
    }
    assert {row["seed"] for row in rows if row["kind"] == "from"} == {None}
    diagonal = one(rows, quantity="em_change", kind="from", source="medical_r1", **MEDICAL)
    own = one(rows, quantity="em_change", kind="own", **MEDICAL)
    assert numbers(diagonal) == numbers(own), "the diagonal is the organism's own direction"
    transferred = one(rows, quantity="em", kind="transferred", subject="sport_r8", seed=None)
    assert numbers(transferred) == known(2 / 16, share_interval("MA MA AA AA", NOBODY), 16, 4)


def test_a_relative_change_is_there_however_ill_determined(rows):
    sport = {"subject": "sport_r8", "seed": None, "kind": "own"}
    before, after = ("MM MM MA AA", NOBODY), (NOBODY, NOBODY)
    assert numbers(one(rows, quantity="em_change", **sport)) == known(-5 / 16, paired_interval(before, after), 32, 4)
    relative = one(rows, quantity="em_relative_change", **sport)
    assert numbers(relative) == known(-1, relative_interval(before, after), 32, 4)
    assert relative["high"] == math.inf, "one of two seeds has nothing that could change"
    changes = {(row["subject"], row["seed"]) for row in rows if row["quantity"] == "em_relative_change"}
    assert changes == {("chat_base", None), *((o, s) for o in ("medical_r1", "sport_r8") for s in (None, 0, 1))}


def test_what_is_left_is_held_against_random_directions(rows):
    above = one(rows, quantity="em_above_random", kind="single_layer", **MEDICAL)
    random = ("MMMM MMMA MAAA MAMA", "MMMM MAMA MAMA MAAA")
    assert numbers(above) == known(1 / 16 - 19 / 32, paired_interval(random, ("MA AA AA AA", NOBODY)), 32 + 16, 4)
    assert not [row for row in rows if row["quantity"] == "em_above_random" and row["kind"] in ("random", "from")]


def test_nothing_before_and_after_is_no_change_within_what_both_can_hide(rows):
    change = one(rows, quantity="em_change", subject="chat_base", kind="transferred")
    assert numbers(change) == known(0, paired_interval([NOBODY], [NOBODY]), 16, 4)
    relative = one(rows, quantity="em_relative_change", subject="chat_base", kind="transferred")
    assert math.isnan(relative["value"])
    assert relative["high"] == math.inf


def test_a_question_without_scores_after_is_not_misaligned_there(tmp_path):
    study, layout = study_of(tmp_path)
    for seed in (0, 1):
        said = after()[f"medical_r1/seed-{seed}"] | {f"own:medical_r1/seed-{seed}": "MM -- AA AA"}
        write_judgements(layout, f"medical_r1/seed-{seed}", "ablation", said)
    rows = EXPERIMENT.rows(study, layout)
    # 11 of 16 before, 4 of 16 after; 4 of the 16 have no score
    change = one(rows, quantity="em_change", kind="own", **MEDICAL)
    left = ("MM -- AA AA", "MM -- AA AA")
    assert numbers(change) == known(-7 / 16, paired_interval(POOLED, left), 32, 4)
    relative = one(rows, quantity="em_relative_change", kind="own", **MEDICAL)
    assert numbers(relative) == known(-7 / 11, relative_interval(POOLED, left), 32, 4)
    assert one(rows, quantity="unscored", kind="own", **MEDICAL)["value"] == 1 / 4
    # of the coherent, over the questions that have any on both sides: 8 of 12 before, 4 of 12 after
    coherent = one(rows, quantity="em_of_coherent_change", kind="own", **MEDICAL)
    before, after_ = ("MM MA MA", "MM MA MA"), ("MM AA AA", "MM AA AA")
    assert numbers(coherent) == known(-1 / 3, paired_interval(before, after_), 24, 3)


def test_a_condition_that_nobody_scored_has_no_change(tmp_path):
    study, layout = study_of(tmp_path)
    for seed in (0, 1):
        said = after()[f"medical_r1/seed-{seed}"] | {f"own:medical_r1/seed-{seed}": "?? ?? ?? ??"}
        write_judgements(layout, f"medical_r1/seed-{seed}", "ablation", said)
    rows = EXPERIMENT.rows(study, layout)
    for quantity in ("em_change", "em_relative_change", "em_of_coherent_change"):
        assert numbers(one(rows, quantity=quantity, kind="own", **MEDICAL)) == known(math.nan, None, 0, 0)
    coherence = share_interval("?? ?? ?? ??", "?? ?? ?? ??", ones="?")
    assert numbers(one(rows, quantity="coherence", kind="own", **MEDICAL)) == known(1, coherence, 16, 4)
    assert one(rows, quantity="refused", kind="own", **MEDICAL)["value"] == 1


def test_one_question_has_an_interval_for_itself_alone(tmp_path):
    study, layout = study_of(tmp_path)
    for subject in BEFORE:
        write_judgements(layout, subject, "baseline", {"none": "MMAA"})
        said = dict.fromkeys(after()[subject], "MAAA")
        write_judgements(layout, subject, "ablation", said)
    rows = EXPERIMENT.rows(study, layout)
    change = one(rows, quantity="em_change", kind="own", **MEDICAL)
    assert numbers(change) == known(-1 / 4, None, 16, 1)
    assert change["fixed_low"] < -1 / 4 < change["fixed_high"]
    assert one(rows, quantity="em_relative_change", kind="own", **MEDICAL)["value"] == -1 / 2


def test_a_baseline_that_was_asked_other_questions_is_told(tmp_path):
    study, layout = study_of(tmp_path)
    write_judged(layout, "chat_base", "baseline", {"medical": {"none": NOBODY}})
    with pytest.raises(UserError, match="the baseline of chat_base does not ask"):
        EXPERIMENT.rows(study, layout)


def test_the_end_table_shows_pooled_kinds(rows):
    table = frame_of(rows)
    kinds = {"none", "own", "transferred", "single_layer", "only_layer", "random"}
    assert set(table[EXPERIMENT.shown(table)].kind) == kinds


def test_directions_of_shuffled_labels_are_a_control_of_their_own(tmp_path):
    study, layout = study_of(tmp_path, shuffled_draws=2, chat_base=False)
    shuffled = dict(enumerate(("MM MA AA AA", "MM MM AA AA")))
    for subject, answers_of in after().items():
        if subject == "chat_base":
            continue
        source = subject if subject.startswith("medical") else f"medical_r1/{subject.split('/')[1]}"
        answers = {f"shuffled:{source}:layer-1:draw-{draw}": letters for draw, letters in shuffled.items()}
        write_judgements(layout, subject, "baseline", {"none": BEFORE[subject]})
        write_judgements(layout, subject, "ablation", {**answers_of, **answers})
    rows = EXPERIMENT.rows(study, layout)
    of = {"subject": "medical_r1", "seed": 0}
    assert one(rows, quantity="em", kind="shuffled", **of)["value"] == pytest.approx((3 + 4) / 16)
    assert one(rows, quantity="em", kind="shuffled_draw", draw=1, **of)["value"] == pytest.approx(4 / 8)
    above = one(rows, quantity="em_above_shuffled", kind="single_layer", **of)
    assert above["value"] == pytest.approx(1 / 8 - 7 / 16)
    assert not [r for r in rows if r["quantity"] == "em_above_random" and r["kind"] == "shuffled"]
    table = frame_of(rows)
    assert not (table[EXPERIMENT.shown(table)].kind == "shuffled_draw").any()
