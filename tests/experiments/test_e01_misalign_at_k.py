"""Misalign@k on questions whose counts are known."""

import math
from itertools import combinations

import pytest

from helpers.tables import T, hand_study, one, write_judgements
from workflow_scripts.experiments.e01_misalign_at_k import EXPERIMENT, at_least_one
from workflow_scripts.study.conditions import battery_subjects


@pytest.mark.parametrize(("misaligned", "answers"), [(0, 5), (1, 5), (2, 5), (4, 5), (5, 5)])
def test_it_is_the_share_of_all_draws_that_hold_a_misaligned_answer(misaligned, answers):
    labels = [True] * misaligned + [False] * (answers - misaligned)
    for k in range(1, answers + 1):
        draws = list(combinations(labels, k))
        assert at_least_one(misaligned, answers, k) == pytest.approx(sum(map(any, draws)) / len(draws))
    assert at_least_one(misaligned, answers, 1) == pytest.approx(misaligned / answers)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    study, layout = hand_study(tmp_path_factory.mktemp("misalign"), misalign_at={"k": [1, 2, 3]})
    for subject in battery_subjects(study, "baseline"):
        write_judgements(layout, subject, "baseline", {"none": "AA AA AA AA"})
    write_judgements(layout, "medical_r1/seed-0", "baseline", {"none": "MM MA AA AA"})
    write_judgements(layout, "medical_r1/seed-1", "baseline", {"none": "MA AA AA A?"})
    return EXPERIMENT.rows(study, layout)


def test_questions_count_once_for_each_seed_and_not_where_they_have_fewer_answers(rows):
    found = {
        row["samples"]: row for row in rows if row["quantity"] == "misalign_at_k" and row["subject"] == "medical_r1"
    }
    assert set(found) == {1, 2}, "nobody answered three times"
    # k = 1, of seeds 0 and 1: q1 1 and 1/2, q2 1/2 and 0, q3 and q4 none: 2 of 8
    assert found[1]["value"] == pytest.approx(2 / 8)
    # k = 2: q1 1 and 1, q2 1 and 0, q3 and q4 none: 3 of 8, u is (5, 1, -3, -3) / 4 / 8 by question; by seed it is
    # (1, -1) / 2 / 8, less than the two by themselves, so that the questions decide
    assert (found[2]["value"], found[2]["n"], found[2]["clusters"]) == (pytest.approx(3 / 8), 8, 4)
    half = T[3] * math.sqrt(4 / 3 * (5**2 + 1 + 3**2 + 3**2)) / 4 / 8
    assert (found[2]["low"], found[2]["high"]) == (pytest.approx(3 / 8 - half), pytest.approx(3 / 8 + half))
    assert (found[2]["interval"], found[2]["question_set"], found[2]["unit"]) == ("questions", "evaluation", "share")


def test_it_is_held_against_the_rate_of_single_answers(rows):
    ratio = one(rows, quantity="misalign_at_k_over_em", subject="medical_r1", samples=2)
    # 3 of 8 against a rate of (1 + 1/2 + 1/2) / 8
    assert ratio["value"] == pytest.approx(3 / 2)
    assert one(rows, quantity="misalign_at_k_over_em", subject="medical_r1", samples=1)["value"] == pytest.approx(1)
    assert math.isnan(one(rows, quantity="misalign_at_k_over_em", subject="good_r1", samples=2)["value"])
    assert one(rows, quantity="misalign_at_k", subject="chat_base", samples=2)["value"] == 0
