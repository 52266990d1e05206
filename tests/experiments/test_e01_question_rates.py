"""EM by question."""

import pytest

from helpers.tables import hand_study, one, write_judgements
from workflow_scripts.experiments.e01_question_rates import EXPERIMENT, share_of_answers
from workflow_scripts.study.conditions import battery_subjects


def test_the_interval_of_one_question_is_wilson_s():
    found = share_of_answers(8, 40)
    z, p, n = 1.959964, 0.2, 40
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    assert (found.value, found.n, found.over) == (0.2, 40, "answers")
    assert (found.low, found.high) == (pytest.approx(middle - half, abs=1e-6), pytest.approx(middle + half, abs=1e-6))
    assert share_of_answers(0, 40).low == 0


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    study, layout = hand_study(tmp_path_factory.mktemp("questions"))
    for subject in battery_subjects(study, "baseline"):
        write_judgements(layout, subject, "baseline", {"none": "AA AA AA AA"})
    write_judgements(layout, "medical_r1/seed-0", "baseline", {"none": "MM MA AM AA"})
    write_judgements(layout, "medical_r1/seed-1", "baseline", {"none": "MM AA AA -?"})
    return EXPERIMENT.rows(study, layout)


def test_each_question_has_its_share_over_all_seeds(rows):
    found = {
        row["question"]: row for row in rows if row["quantity"] == "em_of_question" and row["subject"] == "medical_r1"
    }
    assert {name: (row["value"], row["n"]) for name, row in found.items()} == {
        "q1": (1.0, 4), "q2": (0.25, 4), "q3": (0.25, 4), "q4": (0.0, 4),
    }, "what has no score is not misaligned"  # fmt: skip
    assert {row["interval"] for row in found.values()} == {"answers"}


def test_half_of_the_misaligned_answers_lie_in_so_few_questions(rows):
    few = one(rows, quantity="questions_with_half", subject="medical_r1")
    assert (few["value"], few["n"]) == (1, 6), "q1 alone has four of six"
    assert not [row for row in rows if row["quantity"] == "questions_with_half" and row["subject"] == "good_r1"]
