"""E5 by hand: what is left after ablation, paired changes, and the transfer matrix with unequal seeds."""

import math

import pytest

from helpers.tables import (
    all_or_none,
    hand_study,
    known,
    numbers,
    one,
    paired_interval,
    relative_interval,
    share_interval,
    t_interval,
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
POOLED = (1, 3 / 4, 1 / 2, 1 / 2)
"""Shares of the questions before, of both seeds of medical_r1."""


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
    assert numbers(row) == known(5 / 8, share_interval(1, 1 / 2, 1 / 2, 1 / 2), 8, 4)


def test_nothing_left_is_minus_100_percent_with_an_upper_bound(rows):
    own = {"kind": "own", "source": "medical_r1", "layer": None, **MEDICAL}
    assert numbers(one(rows, quantity="em", **own)) == known(0, (0, 1 - all_or_none(4)), 16, 4)
    change = one(rows, quantity="em_change", **own)
    assert numbers(change) == known(-11 / 16, paired_interval(POOLED, (0, 0, 0, 0)), 32, 4)
    # nothing is left of any question: up to 60 % of responses, of 11 / 16 before
    upper = (1 - all_or_none(4)) / (11 / 16) - 1
    assert numbers(one(rows, quantity="em_relative_change", **own)) == known(-1, (-1, upper), 32, 4)
    assert one(rows, quantity="coherence", **own)["value"] == 1


def test_what_is_left_is_relative_to_before_and_paired_by_question(rows):
    one_layer = {"kind": "single_layer", "layer": 1, **MEDICAL}
    left = (1 / 4, 0, 0, 0)
    assert numbers(one(rows, quantity="em", **one_layer)) == known(1 / 16, share_interval(*left), 16, 4)
    relative = one(rows, quantity="em_relative_change", **one_layer)
    assert numbers(relative) == known(-10 / 11, relative_interval(POOLED, left), 32, 4)
    assert (relative["source"], relative["unit"], relative["question_set"]) == ("medical_r1", "ratio", "evaluation")
    there = one(rows, quantity="em", kind="only_layer", layer=1, **MEDICAL)
    assert numbers(there) == known(5 / 16, share_interval(3 / 4, 1 / 2, 0, 0), 16, 4)


def test_random_draws_are_pooled_and_single(rows):
    means = (1, 5 / 8, 3 / 8, 3 / 8)
    pooled = {"kind": "random", "draw": None, **MEDICAL}
    assert numbers(one(rows, quantity="em", **pooled)) == known(19 / 32, share_interval(*means), 32, 4)
    change = one(rows, quantity="em_change", **pooled)
    assert numbers(change) == known(19 / 32 - 22 / 32, paired_interval(POOLED, means), 16 + 32, 4)
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
    before, left = (1, 1, 1 / 2, 1 / 2), (1, 0, 1 / 2, 0)
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
    assert numbers(transferred) == known(2 / 16, share_interval(1 / 4, 1 / 4, 0, 0), 16, 4)


def test_there_is_no_relative_change_where_misalignment_is_not_surely_above_zero(rows):
    low, _ = t_interval(1 / 2, 1 / 2, 1 / 4, 0)
    assert low < 0, "of sport, both seeds before"
    sport = {"subject": "sport_r8", "seed": None, "kind": "own"}
    assert one(rows, quantity="em_change", **sport)["value"] == pytest.approx(-5 / 16)
    relative = {(row["subject"], row["seed"]) for row in rows if row["quantity"] == "em_relative_change"}
    assert relative == {("medical_r1", seed) for seed in (None, 0, 1)}


def test_nothing_before_and_after_is_no_change_within_what_both_can_hide(rows):
    change = one(rows, quantity="em_change", subject="chat_base", kind="transferred")
    bound = 1 - all_or_none(4)
    assert numbers(change) == known(0, (-bound, bound), 16, 4)


def test_a_question_without_scores_after_is_left_out_before(tmp_path):
    study, layout = study_of(tmp_path)
    for seed in (0, 1):
        said = after()[f"medical_r1/seed-{seed}"] | {f"own:medical_r1/seed-{seed}": "MM -- AA AA"}
        write_judgements(layout, f"medical_r1/seed-{seed}", "ablation", said)
    rows = EXPERIMENT.rows(study, layout)
    # over q1, q3 and q4: 8 of 12 before, 4 of 12 after
    change = one(rows, quantity="em_change", kind="own", **MEDICAL)
    before, left = (1, 1 / 2, 1 / 2), (1, 0, 0)
    assert numbers(change) == known(-1 / 3, paired_interval(before, left), 24, 3)
    relative = one(rows, quantity="em_relative_change", kind="own", **MEDICAL)
    assert numbers(relative) == known(-1 / 2, relative_interval(before, left), 24, 3)


def test_a_condition_that_nobody_scored_has_no_change(tmp_path):
    study, layout = study_of(tmp_path)
    for seed in (0, 1):
        said = after()[f"medical_r1/seed-{seed}"] | {f"own:medical_r1/seed-{seed}": "?? ?? ?? ??"}
        write_judgements(layout, f"medical_r1/seed-{seed}", "ablation", said)
    rows = EXPERIMENT.rows(study, layout)
    assert numbers(one(rows, quantity="em_change", kind="own", **MEDICAL)) == known(math.nan, None, 0, 0)
    assert numbers(one(rows, quantity="coherence", kind="own", **MEDICAL)) == known(1, (all_or_none(4), 1), 16, 4)
    assert not [r for r in rows if r["kind"] == "own" and r["quantity"] == "em_relative_change"]


def test_one_question_has_changes_without_intervals(tmp_path):
    study, layout = study_of(tmp_path)
    for subject in BEFORE:
        write_judgements(layout, subject, "baseline", {"none": "MMAA"})
        said = dict.fromkeys(after()[subject], "MAAA")
        write_judgements(layout, subject, "ablation", said)
    rows = EXPERIMENT.rows(study, layout)
    assert numbers(one(rows, quantity="em_change", kind="own", **MEDICAL)) == known(-1 / 4, None, 16, 1)
    assert not [row for row in rows if row["quantity"] == "em_relative_change"]


def test_a_baseline_that_was_asked_other_questions_is_told(tmp_path):
    study, layout = study_of(tmp_path)
    write_judged(layout, "chat_base", "baseline", {"medical": {"none": NOBODY}})
    with pytest.raises(UserError, match="the baseline of chat_base does not ask"):
        EXPERIMENT.rows(study, layout)


def test_the_end_table_shows_pooled_kinds(rows):
    table = frame_of(rows)
    kinds = {"none", "own", "transferred", "single_layer", "only_layer", "random"}
    assert set(table[EXPERIMENT.shown(table)].kind) == kinds
