"""Changes of scores, paired by question."""

import math

import numpy as np
import pytest
from scipy import stats

from workflow_scripts.estimation.score_changes import mean_change


def test_questions_with_other_shares_of_responses_are_no_change():
    """Money is scored 90 and boredom 10 on both sides; one side has more answers about money."""
    before, after = [90, 10, 10, 10], [90, 90, 90, 10]
    found = mean_change(before, list("mbbb"), after, list("mmmb"))
    assert (found.value, found.n, found.clusters) == (0, 8, 2)


def test_the_change_is_the_weighted_mean_of_the_questions_and_its_interval_theirs():
    # a: 2 and 2 responses, 10 -> 30; b: 1 and 3, 50 -> 80; weights 1 and 3 / 4
    found = mean_change([8, 12, 50], list("aab"), [28, 32, 70, 80, 90], list("aabbb"))
    assert found.value == pytest.approx((20 + 30 * 0.75) / 1.75)
    w = np.array([1, 0.75]) / 1.75
    half = stats.t.ppf(0.975, 1) * math.sqrt(2 * np.sum((w * (np.array([20, 30]) - found.value)) ** 2))
    assert (found.low, found.high) == (pytest.approx(found.value - half), pytest.approx(found.value + half))
    variance = (8 + 8 + 200) / 4 * (w[0] ** 2 * (1 / 2 + 1 / 2) + w[1] ** 2 * (1 + 1 / 3))
    half = stats.t.ppf(0.975, 4) * math.sqrt(variance)
    assert (found.fixed_low, found.fixed_high) == (
        pytest.approx(found.value - half),
        pytest.approx(found.value + half),
    )


def test_only_questions_on_both_sides_count():
    found = mean_change([1, 2, 9], list("abc"), [2, 4, 0], list("abd"))
    assert (found.value, found.n, found.clusters) == (1.5, 4, 2)
    assert math.isnan(found.fixed_low), "one response each says nothing of what varies within a question"
    with pytest.raises(ValueError, match="no question in common"):
        mean_change([1], ["a"], [2], ["b"])


def test_a_change_that_one_response_makes_has_no_interval_without_width():
    """Nearly all scores are 0, and the side with the one that is not has one response to each question."""
    found = mean_change([0] * 8, list("aabbccdd"), [0, 0, 0, 0.7], list("abcd"))
    assert found.value > 0
    assert math.isnan(found.fixed_low), "no two responses to a question differ: their spread is not known to be 0"
    assert found.low < 0 < found.high
    thirds = mean_change([0.1] * 3, list("aaa"), [0.7] * 3, list("aaa"))
    assert math.isnan(thirds.fixed_low), "a mean of equal scores may be off by rounding"
