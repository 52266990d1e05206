"""Shares, their differences and ratios: what the intervals have to be, whoever computes them."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from helpers.workflow import PUBLISHED
from workflow_scripts.estimation.changes import paired_difference, relative_change
from workflow_scripts.estimation.labels import is_misaligned
from workflow_scripts.estimation.shares import (
    Cells,
    cells,
    clustered_share,
    concentration,
    difference_of,
    relative_change_of,
    share_of,
)

few = settings(max_examples=40, deadline=None)


def counted(ones, answers):
    """Cells of counts [question] or [question, seed], with equally many answers in each, or [question, seed]."""
    ones = np.asarray(ones, dtype=float)
    ones = ones[:, None] if ones.ndim == 1 else ones
    return Cells(np.arange(len(ones)), np.arange(ones.shape[1]), ones, np.broadcast_to(float(answers), ones.shape))


def everything(found):
    return np.array([found.low, found.high, found.fixed_low, found.fixed_high])


@st.composite
def with_one_more(draw):
    """Cells, and the same with one more answer that counts in one of them; both of some questions and seeds."""
    shape = draw(st.integers(1, 9)), draw(st.integers(1, 3))
    answers = draw(st.integers(2, 50))
    size = shape[0] * shape[1]
    ones = np.array(draw(st.lists(st.integers(0, answers), min_size=size, max_size=size)))
    ones = ones.reshape(shape)
    place = draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))
    ones[place] = min(ones[place], answers - 1)
    more = ones.copy()
    more[place] += 1
    return counted(ones, answers), counted(more, answers)


# What holds always


@few
@given(with_one_more())
def test_no_bound_falls_when_the_count_grows(both):
    fewer, more = (everything(share_of(side)) for side in both)
    assert (np.isnan(more) | (more >= fewer)).all()


@few
@given(with_one_more(), with_one_more())
def test_no_bound_of_a_change_falls_when_more_is_after_and_less_before(olds, news):
    old = olds[0]
    news = [
        Cells(old.questions, old.seeds, *(np.resize(part, old.ones.shape) for part in (side.ones, side.answers)))
        for side in news
    ]
    for compare in (difference_of, relative_change_of):
        fewer, more = (everything(compare(old, side)) for side in news)
        assert (np.isnan(more) | (more >= fewer - 1e-12)).all()
        less, again = (everything(compare(side, news[0])) for side in olds)
        assert (np.isnan(again) | (again <= less + 1e-12)).all()


@few
@given(with_one_more())
def test_bounds_are_possible_shares_around_the_value_and_never_a_point(both):
    for side in both:
        found = share_of(side)
        assert 0 <= found.fixed_low <= found.value <= found.fixed_high <= 1
        assert found.fixed_low < found.fixed_high
        assert np.isnan(found.low) == (side.questions.size < 2)
        if side.questions.size > 1:
            assert 0 <= found.low <= found.fixed_low
            assert found.fixed_high <= found.high <= 1


# What is known


@pytest.mark.parametrize(("ones", "n"), [(0, 400), (4, 400), (84, 400), (0, 8), (30, 30)])
def test_one_cell_has_the_exact_interval_of_clopper_and_pearson(ones, n):
    found = share_of(counted([ones], n))
    exact = stats.binomtest(ones, n).proportion_ci(method="exact")
    assert (found.fixed_low, found.fixed_high) == pytest.approx((exact.low, exact.high), rel=0.02, abs=2e-4)
    assert np.isnan([found.low, found.high]).all(), "one question says nothing about others"


def test_the_fixed_interval_of_many_answers_is_that_of_a_stratified_sample():
    # 8 questions with 2,000 answers each; the variance is Σ p (1 − p) / 2000 / 64
    shares = np.array([0.73, 0.45, 0.38, 0.08, 0.05, 0.05, 0.01, 0.001])
    found = share_of(counted(shares * 2000, 2000))
    half = 1.96 * np.sqrt((shares * (1 - shares)).sum() / 2000) / 8
    assert (found.fixed_low, found.fixed_high) == pytest.approx((found.value - half, found.value + half), rel=0.01)


def test_the_interval_of_like_questions_is_that_of_students_t():
    # 40 questions, shares all about a half, so many answers that only the questions vary
    rng = np.random.default_rng(1)
    shares = rng.uniform(0.4, 0.6, 40)
    found = share_of(counted((shares * 100_000).round(), 100_000))
    expected = stats.ttest_1samp(shares, 0).confidence_interval()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.15 * np.diff(expected)[0])


def test_weights_are_concentrated_as_students_t_asks():
    # a weighted mean of U units varies as Σ (x − x̄)² / (U (U c + 1)); t² / z² = 2.365² / 1.960² of s² / 8
    c = concentration(8)
    assert 7 / (8 * c + 1) == pytest.approx((2.364624 / 1.959964) ** 2, rel=1e-5)
    half = concentration(8, 0.5)
    assert 7 / (8 * half + 1) == pytest.approx(0.5 * 7 / (8 * c + 1)), "half of the variance"
    assert concentration(2) == concentration(3) == 0.05, "no weights reach the t of 1 and 2 degrees of freedom"


def test_nobody_in_400_is_below_two_percent_and_one_is_no_better():
    nobody, one = share_of(counted([0] * 8, 50)), share_of(counted([1] + [0] * 7, 50))
    assert nobody.high < 0.02
    assert nobody.high < one.high < 0.04
    assert nobody.fixed_high == pytest.approx(1 - 0.025 ** (1 / 400), rel=0.05)


def test_a_complete_ablation_is_better_than_a_nearly_complete_one():
    before = counted(np.transpose([[36, 22, 19, 4, 3, 0, 0, 0]] * 3), 50)
    highs = []
    for left in (0, 1, 3, 9):
        ones = np.zeros((8, 3))
        ones[0, 0] = left
        found = relative_change_of(before, counted(ones, 50))
        assert found.low == pytest.approx(-1, abs=0.01)
        highs.append(found.high)
    assert highs == sorted(highs)
    assert highs[0] < -0.9


def test_pairing_takes_out_what_the_questions_have_in_common():
    before = counted(np.array([300, 240, 180, 60, 30, 12, 6, 6]), 400)
    after = counted(before.ones[:, 0] / 6, 400)
    change = relative_change_of(before, after)
    assert change.value == pytest.approx(-5 / 6)
    assert -0.9 < change.low < change.high < -0.75, "although the share before is known within a factor of ten only"
    mixed = relative_change_of(before, counted(after.ones[::-1, 0], 400))
    assert mixed.high - mixed.low > 3 * (change.high - change.low)


def test_nothing_before_has_no_relative_change_and_almost_nothing_no_upper_bound():
    nothing, some = counted([0] * 8, 50), counted([9] * 8, 50)
    for after in (nothing, some):
        found = relative_change_of(nothing, after)
        assert np.isnan(found.value)
        assert found.high == found.fixed_high == np.inf
    assert relative_change_of(counted([1] + [0] * 7, 50), nothing).high == np.inf
    assert np.isfinite(relative_change_of(some, some).high)


def test_swapping_before_and_after_mirrors_the_difference():
    a, b = counted([9, 4, 0, 7], 10), counted([2, 5, 1, 0], 10)
    there, back = difference_of(a, b), difference_of(b, a)
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low), abs=0.04)


def test_seeds_that_differ_widen_both_intervals():
    alike = counted(np.full((8, 3), 10), 50)
    differ = counted(np.array([[20, 8, 2]] * 8), 50)
    assert share_of(alike).value == share_of(differ).value
    near, far = share_of(alike), share_of(differ)
    assert far.fixed_high - far.fixed_low > 2 * (near.fixed_high - near.fixed_low)
    assert far.fixed_low == pytest.approx(0.04, abs=0.02), "as far as the seeds themselves"


def test_columns_become_counts_by_question_and_seed():
    found = cells([1, 0, 1, True], ["b", "a", "b", "a"], [3, 3, 7, 7])
    assert found.questions.tolist() == ["a", "b"]
    assert found.seeds.tolist() == [3, 7]
    assert found.ones.tolist() == [[0, 1], [1, 1]]
    assert found.answers.tolist() == [[1, 1], [1, 1]]
    empty = clustered_share([], [])
    assert np.isnan(empty.value)
    assert (empty.n, empty.clusters) == (0, 0)


def test_a_share_of_scores_is_refused_in_one_sentence():
    with pytest.raises(ValueError, match=r"2 of 3 are neither \(first: 0.5\); use clustered_mean"):
        clustered_share([0, 0.5, 7], ["a", "a", "b"])


def test_no_common_question_is_refused_in_one_sentence():
    for compare in (paired_difference, relative_change):
        with pytest.raises(ValueError, match="no question in common: before has 'a', 'b', after has 'c'"):
            compare([1, 0], ["a", "b"], [1], ["c"])
        with pytest.raises(ValueError, match="before has 'a', 'b', 'c' and 2 more, after has none"):
            compare([1] * 5, list("abcde"), [], [])


def test_a_change_is_over_the_questions_of_both_sides():
    change = paired_difference([1, 1, 0, 1], ["a", "b", "b", "z"], [0, 1, 0], ["b", "a", "c"])
    assert change.value == pytest.approx(1 / 2 - 2 / 3)
    assert (change.n, change.clusters) == (3 + 2, 2)


def test_the_authors_file_has_21_percent_that_are_surely_not_none():
    if not PUBLISHED.exists():
        pytest.skip(f"the authors' judged responses are not here: {PUBLISHED}")
    judged = pd.read_csv(PUBLISHED)
    found = clustered_share(is_misaligned(judged.aligned, judged.coherent), judged.question_id)
    assert found.value == 0.21
    assert (found.low, found.high) == pytest.approx((0.035, 0.505), abs=0.015)
    assert (found.fixed_low, found.fixed_high) == pytest.approx((0.176, 0.245), abs=0.002)


# How often the intervals hold the truth


def test_intervals_of_eight_questions_like_the_papers_hold_the_truth():
    rng = np.random.default_rng(2)
    profile = stats.logistic.ppf([0.73, 0.45, 0.38, 0.08, 0.05, 0.05, 0.01, 0.002])
    spread = 0.3 * stats.norm.ppf((np.arange(1000) + 0.5) / 1000)
    truth = stats.logistic.cdf(np.add.outer(profile, spread)).mean()
    runs, answers = 200, 50
    held = {"questions": 0, "fixed": 0}
    for _ in range(runs):
        shares = stats.logistic.cdf(rng.choice(profile, 8) + rng.normal(0, 0.3, 8))
        found = share_of(counted(rng.binomial(answers, shares), answers))
        held["questions"] += found.low <= truth <= found.high
        held["fixed"] += found.fixed_low <= shares.mean() <= found.fixed_high
    assert held["questions"] / runs > 0.91
    assert held["fixed"] / runs > 0.93
