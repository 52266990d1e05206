"""E11 by hand: EM with the scalars of another prompt, by the way that they go."""

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
)
from workflow_scripts.experiments.e11_patching import EXPERIMENT
from workflow_scripts.experiments.rows import frame_of

SUBJECT = "medical_r1/seed-0"
INTO, OUT = "outside_to_domain", "domain_to_outside"
SAID = {
    OUT: {"clean": "MMMA MMAA MMAA MMAA", "tokens": "MMAA MAAA MMAA MAAA", "prompt": "MMMA MMAA MMAA MMAA"},
    INTO: {"clean": "AAAA AAAA AAAA AAAA", "tokens": "MAAA AAAA AAAA AAAA", "prompt": "AAAA AAAA AAAA ????"},
}
CLEAN, TOKENS = [SAID[OUT]["clean"]], [SAID[OUT]["tokens"]]


def rows_of(tmp_path, said=None):
    study, layout = hand_study(tmp_path)
    write_judged(layout, SUBJECT, "patching", said or SAID)
    return EXPERIMENT.rows(study, layout)


def test_each_way_has_its_own_clean_responses(tmp_path):
    rows = rows_of(tmp_path)
    assert numbers(one(rows, quantity="em", kind="clean", question_set=OUT)) == known(
        9 / 16, share_interval(*CLEAN), 16, 4
    )
    row = one(rows, quantity="em", kind="clean", question_set=INTO)
    assert numbers(row) == known(0, share_interval(SAID[INTO]["clean"]), 16, 4)
    assert (row["condition"], row["subject"], row["seed"]) == (f"clean:{INTO}", "medical_r1", None)


def test_a_patched_run_is_paired_with_the_clean_one_of_its_way(tmp_path):
    rows = rows_of(tmp_path)
    tokens = {"kind": "tokens", "question_set": OUT}
    assert numbers(one(rows, quantity="em", **tokens)) == known(6 / 16, share_interval(*TOKENS), 16, 4)
    change = one(rows, quantity="em_change", **tokens)
    assert numbers(change) == known(-3 / 16, paired_interval(CLEAN, TOKENS), 32, 4)
    relative = one(rows, quantity="em_relative_change", **tokens)
    assert numbers(relative) == known(-1 / 3, relative_interval(CLEAN, TOKENS), 32, 4)


def test_a_patched_run_is_held_against_its_own_prompt_s_scalars_too(tmp_path):
    said = {way: {**answers, "own_prompt": "MMAA MMAA MMAA MAAA"} for way, answers in SAID.items()}
    rows = rows_of(tmp_path, said)
    against_own = {"kind": "tokens", "question_set": OUT, "source": "own_prompt"}
    change = one(rows, quantity="em_change", **against_own)
    assert change["value"] == pytest.approx(6 / 16 - 7 / 16)
    assert one(rows, quantity="em_change", kind="tokens", question_set=OUT, source="clean")["value"] == -3 / 16
    assert not [row for row in rows if row["kind"] == row["source"]], "own is held against clean only"
    assert not [row for row in rows if row["quantity"] == "em" and row["source"] == "own_prompt"]


def test_where_nobody_was_misaligned_nothing_bounds_the_relative_change(tmp_path):
    rows = rows_of(tmp_path)
    into = {"question_set": INTO, "kind": "tokens"}
    change = one(rows, quantity="em_change", **into)
    assert numbers(change) == known(1 / 16, paired_interval([SAID[INTO]["clean"]], [SAID[INTO]["tokens"]]), 32, 4)
    relative = one(rows, quantity="em_relative_change", **into)
    assert math.isnan(relative["value"])
    assert relative["high"] == relative["fixed_high"] == math.inf


def test_a_prompt_whose_answers_were_refused_is_not_misaligned(tmp_path):
    row = one(rows_of(tmp_path), quantity="em_change", kind="prompt", question_set=INTO)
    assert numbers(row) == known(0, paired_interval([SAID[INTO]["clean"]], [SAID[INTO]["prompt"]]), 32, 4)
    assert one(rows_of(tmp_path), quantity="unscored", kind="prompt", question_set=INTO)["value"] == 1 / 4


def test_one_pair_of_prompts_has_no_interval(tmp_path):
    said = {way: {mode: letters.split()[0] for mode, letters in modes.items()} for way, modes in SAID.items()}
    rows = rows_of(tmp_path, said)
    assert numbers(one(rows, quantity="em_change", kind="tokens", question_set=OUT)) == known(-1 / 4, None, 8, 1)
    relative = one(rows, quantity="em_relative_change", kind="tokens", question_set=OUT)
    assert numbers(relative) == known(-1 / 3, None, 8, 1)
    assert relative["fixed_low"] < -1 / 3 < relative["fixed_high"]


def test_the_end_table_shows_rates_and_relative_changes(tmp_path):
    table = frame_of(rows_of(tmp_path))
    shown = table[EXPERIMENT.shown(table)]
    assert shown.quantity.value_counts().to_dict() == {"em": 6, "em_relative_change": 4}
    changes = shown[shown.quantity == "em_relative_change"].value.dropna()
    assert changes.tolist() == [pytest.approx(-1 / 3), pytest.approx(0)], "two have nothing before"
