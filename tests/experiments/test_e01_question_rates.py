"""EM by question."""

import pytest

from workflow_scripts.experiments.e01_question_rates import share_of_answers


def test_the_interval_of_one_question_is_wilson_s():
    found = share_of_answers(8, 40)
    z, p, n = 1.959964, 0.2, 40
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    assert (found.value, found.n, found.over) == (0.2, 40, "answers")
    assert (found.low, found.high) == (pytest.approx(middle - half, abs=1e-6), pytest.approx(middle + half, abs=1e-6))
    assert share_of_answers(0, 40).low == 0
