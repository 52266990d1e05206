"""Shares of answers, their differences and their ratios: one family of intervals, without jumps.

Three things are uncertain in a share, and each is drawn `DRAWS` times, always with the same random numbers:

- the answers: a cell (a question, under a fine-tuning seed) with k of n ones has a beta-distributed share with the
  variance p (1 − p) / (n − 1), which is that of the mean of n answers. Beside all answers stands one more, a one in the
  draws of the upper bound and a zero in those of the lower, as in the exact interval of Clopper & Pearson (1934);
- the questions: weighted anew by a Dirichlet distribution (the Bayesian bootstrap, Rubin 1981), so concentrated that
  the variance of a mean is that of Student's t. Beside them stands one more, unseen question that is like the one which
  moves the bound most (after Gaffke 2005, who gives the unseen one the largest possible value): eight questions may not
  hold the worst;
- the seeds, where there are several: weighted anew in the same way, by themselves.

Bounds are quantiles of the draws. A further one raises its cell's share in every draw, so that both bounds of a share
never fall when the count grows: a better result never weakens a verdict. Two sides of a comparison share the weights of
questions and seeds, which is what pairs them. The fixed-questions interval leaves the questions their weights: it is
about these very questions. docs/statistics.md has its coverage by simulation.

With up to three questions or seeds no weights reach Student's t: the bounds then reach as far as the units differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from workflow_scripts.estimation.columns import (
    FloatArray,
    IntArray,
    LabelArray,
    check_confidence,
    checked_rows,
    is_share,
    listed,
)
from workflow_scripts.estimation.intervals import Estimate

DRAWS = 2000
INTRACLASS = 0.36
"""Correlation of two answers to one question, that of the authors' judged rank-32 medical organism. By it the weights
of questions leave out the answers' own variance, which is drawn already; it matters where a question has few answers.
"""
FEW = 8
"""Questions up to which one unseen question counts as much as one that was asked; of more, less: the worst is there."""
LEAST_CONCENTRATION = 0.05
"""Of the Dirichlet weights of few units; below it every draw is one unit alone."""


@dataclass(frozen=True)
class Cells:
    """Answers to each question under each seed.

    Attributes:
        questions: labels, sorted, [question].
        seeds: labels, sorted, [seed]; one for all where there are none.
        ones: answers that count, [question, seed].
        answers: all answers, [question, seed].
    """

    questions: LabelArray
    seeds: LabelArray
    ones: FloatArray
    answers: FloatArray

    @property
    def n(self) -> int:
        return int(self.answers.sum())

    @property
    def value(self) -> float:
        return float(self.ones.sum() / self.answers.sum()) if self.n else np.nan

    def of(self, questions: LabelArray) -> Cells:
        """Only these questions."""
        kept = np.isin(self.questions, questions)
        return Cells(self.questions[kept], self.seeds, self.ones[kept], self.answers[kept])


def cells(values: ArrayLike, clusters: ArrayLike, seeds: ArrayLike | None = None) -> Cells:
    """Counts of 0/1 values by question and seed.

    Args:
        values: 0 or 1 (or booleans) per response, shape [n].
        clusters: the question of each response, shape [n].
        seeds: its fine-tuning seed, shape [n]; None where there is one.

    Raises:
        ValueError: if the columns differ in length, a label is missing, or a value is neither 0 nor 1.
    """
    y, labels = checked_rows(values, clusters)
    if not is_share(y):
        wrong = y[(y != 0) & (y != 1)]
        raise ValueError(
            f"values: a share is made of 0 and 1, but {wrong.size} of {y.size} are neither "
            f"(first: {wrong[0]:g}); use clustered_mean for scores."
        )
    _, runs = checked_rows(values, np.zeros(y.size) if seeds is None else seeds, label="seeds")
    questions, row = np.unique(labels, return_inverse=True)
    names, column = np.unique(runs, return_inverse=True)
    ones, answers = (np.zeros((questions.size, names.size)) for _ in range(2))
    np.add.at(ones, (row, column), y)
    np.add.at(answers, (row, column), 1)
    return Cells(questions, names, ones, answers)


def share_of(counted: Cells, confidence: float = 0.95) -> Estimate:
    """The share of ones."""

    def itself(found: FloatArray) -> FloatArray:
        return found

    return _estimate(counted.value, (counted,), itself, counted.n, confidence, (0.0, 1.0))


def difference_of(before: Cells, after: Cells, confidence: float = 0.95) -> Estimate:
    """The share after minus the share before, over the questions of both."""

    def difference(new: FloatArray, old: FloatArray) -> FloatArray:
        return new - old

    return _estimate(after.value - before.value, (after, before), difference, before.n + after.n, confidence, (-1, 1))


def relative_change_of(before: Cells, after: Cells, confidence: float = 0.95) -> Estimate:
    """The share after over the share before, minus one.

    A draw in which less than half of an answer is left of those before has no upper end: where that is so in more than
    2.5 % of the draws, the change is ill-determined, and its upper bound is infinite. Without any before it is NaN.
    """

    def ratio(new: FloatArray, old: FloatArray) -> FloatArray:
        return np.asarray(np.divide(new, old, out=np.full_like(new, np.inf), where=old * before.n >= 0.5)) - 1

    value = after.value / before.value - 1 if before.value > 0 else np.nan
    return _estimate(value, (after, before), ratio, before.n + after.n, confidence, (-1, np.inf))


@dataclass(frozen=True)
class _Drawn:
    """Draws of one side: ones and answers by question, [question, draw], and the one answer more: its question, [draw],
    its weight, [draw], and whether it is a one."""

    ones: FloatArray
    answers: FloatArray
    where: IntArray
    more: FloatArray
    upper: bool

    def for_these_questions(self) -> FloatArray:
        """The share, [draw]."""
        return np.asarray((self.ones.sum(axis=0) + self.upper * self.more) / (self.answers.sum(axis=0) + self.more))

    def for_others(self, weights: FloatArray) -> FloatArray:
        """The share with the questions weighted anew, and one more like each of them: [question that it is like, draw].

        Args:
            weights: [question + 1, draw]; the last is that of the unseen one.
        """
        seen, unseen = weights[:-1], weights[-1]
        more = self.more * seen[self.where, np.arange(DRAWS)]
        total = np.einsum("qd,qd->d", seen, self.ones) + self.upper * more
        size = np.einsum("qd,qd->d", seen, self.answers) + more
        return np.asarray((unseen * self.ones + total) / (unseen * self.answers + size))


def _estimate(
    value: float,
    sides: tuple[Cells, ...],
    statistic: Callable[..., FloatArray],
    n: int,
    confidence: float,
    limits: tuple[float, float],
) -> Estimate:
    """Bounds from the draws of a statistic that grows with the first side and falls with the second."""
    check_confidence(confidence)
    questions = sides[0].questions.size
    if n == 0:
        return Estimate(np.nan, np.nan, np.nan, 0, 0)
    tail, bounds = (1 - confidence) / 2, []
    same = all(np.array_equal(side.seeds, sides[0].seeds) for side in sides)
    each = n / len(sides) / questions
    for upper in (False, True):
        drawn = [_drawn(side, upper != (place > 0), place, 0 if same else place) for place, side in enumerate(sides)]
        fixed = statistic(*(side.for_these_questions() for side in drawn))
        bounds.append(_quantile(fixed, tail, upper, value, limits))
        if questions < 2:
            bounds.append(np.nan)
            continue
        weights = _weights(questions, min(1.0, FEW / questions), 0, between_questions(each))
        moved = statistic(*(side.for_others(weights) for side in drawn))
        extreme = moved.max(axis=0) if upper else moved.min(axis=0)
        bounds.append(_quantile(extreme, tail, upper, value, limits))
    fixed_low, low, fixed_high, high = bounds
    low, high = np.minimum(low, fixed_low), np.maximum(high, fixed_high)  # NaN stays
    return Estimate(value, float(low), float(high), n, questions, fixed_low=fixed_low, fixed_high=fixed_high)


def _quantile(drawn: FloatArray, tail: float, upper: bool, value: float, limits: tuple[float, float]) -> float:
    """An order statistic of the draws, on its side of the value. Infinite draws are why it is not interpolated."""
    found = float(np.quantile(drawn, 1 - tail if upper else tail, method="higher" if upper else "lower"))
    found = min(max(found, limits[0]), limits[1])
    if np.isnan(value):
        return found
    return max(found, value) if upper else min(found, value)


def _drawn(side: Cells, upper: bool, stream: int, seeds_stream: int) -> _Drawn:
    counts = zip(side.ones.ravel().tolist(), side.answers.ravel().tolist(), strict=True)
    alone = side.answers == 1
    rate = float(side.ones[alone].mean()) if alone.any() else 0.0
    shares = np.stack(
        [
            (_bernoulli_quantiles(rate) if answers == 1 else _share_quantiles(ones, answers))[_shuffled(place, stream)]
            for place, (ones, answers) in enumerate(counts)
        ]
    ).reshape(*side.answers.shape, DRAWS)
    answers = side.answers[..., None] * _size_quantiles(side.n)[_shuffled(side.answers.size, stream)]
    filled = np.flatnonzero(side.answers)
    where = filled[np.arange(DRAWS) % filled.size][_shuffled(side.answers.size + 1, stream)]
    question, seed = where // side.seeds.size, where % side.seeds.size
    more = _MORE[_shuffled(side.answers.size + 2, stream)]
    if side.seeds.size == 1:
        return _Drawn((shares * answers)[:, 0], answers[:, 0], question, more, upper)
    weights = _weights(side.seeds.size, 0.0, seeds_stream, 1.0)[:-1]
    answers = answers * weights
    return _Drawn(
        (shares * answers).sum(axis=1), answers.sum(axis=1), question, more * weights[seed, np.arange(DRAWS)], upper
    )


_MIDDLES = (np.arange(DRAWS) + 0.5) / DRAWS
"""Mid-points of equal parts of probability: draws are quantiles at these, in some order."""


@lru_cache(maxsize=20_000)
def _share_quantiles(ones: float, answers: float) -> FloatArray:
    """Of a cell's share, with the variance p (1 − p) / (n − 1): Beta(k g, (n − k) g) with g = (n − 2) / n."""
    if ones in (0, answers):
        return np.full(DRAWS, float(ones > 0))
    if answers == 2:
        return _bernoulli_quantiles(ones / answers)
    part = (answers - 2) / answers
    return np.asarray(special.betaincinv(part * ones, part * (answers - ones), _MIDDLES))


def _bernoulli_quantiles(share: float) -> FloatArray:
    return (1 - share < _MIDDLES).astype(float)


_MORE = -np.log1p(-_MIDDLES)
"""Weight of one answer more: Gamma(1)."""


@lru_cache(maxsize=1000)
def _size_quantiles(answers: int) -> FloatArray:
    """Of the weight of all answers beside that one: Gamma(n) / n."""
    return np.asarray(special.gammaincinv(answers, _MIDDLES)) / answers


@lru_cache(maxsize=20_000)
def _shuffled(place: int, stream: int) -> IntArray:
    return np.random.RandomState([place, stream]).permutation(DRAWS)


@lru_cache(maxsize=1000)
def _weights(units: int, unseen: float, stream: int, part: float) -> FloatArray:
    """Dirichlet weights of the units, and of the unseen one, [units + 1, draw]; numpy's frozen generator.

    Args:
        unseen: concentration of the unseen one, in that of a unit; 0 for none.
        stream: of random numbers.
        part: see `concentration`.
    """
    shape = concentration(units, part) * np.append(np.ones(units), unseen)[:, None]
    drawn = np.random.RandomState([units, stream]).standard_gamma(shape, size=(units + 1, DRAWS))
    drawn[:units] = np.maximum(drawn[:units], 1e-300)
    return np.asarray(drawn / drawn.sum(axis=0))


def concentration(units: int, part: float = 1.0) -> float:
    """Of each unit's Dirichlet weight, so that a weighted mean varies as Student's t says.

    A mean with weights of concentration c has the variance Σ (x − x̄)² / (U (U c + 1)) over U units; set equal to
    `part` of s² / U · (t / z)², with the 97.5 % quantiles t of U − 1 degrees of freedom and z of the normal
    distribution.
    """
    if units < 2:
        return 1.0
    ratio = float(stats.norm.ppf(0.975) / stats.t.ppf(0.975, units - 1))
    return max(((units - 1) * ratio**2 / part - 1) / units, LEAST_CONCENTRATION)


def between_questions(answers: float) -> float:
    """Part of the variance of questions' shares that is not the answers' own, at `INTRACLASS`, for answers to each."""
    return round(INTRACLASS / (INTRACLASS + (1 - INTRACLASS) / answers), 2)


def over_common_questions(before: Cells, after: Cells) -> tuple[Cells, Cells]:
    """Both sides, over the questions that both answered.

    Raises:
        ValueError: if there are none.
    """
    both = np.intersect1d(before.questions, after.questions)
    if both.size == 0:
        raise ValueError(
            f"before and after have no question in common: before has {listed(before.questions)}, "
            f"after has {listed(after.questions)}."
        )
    return before.of(both), after.of(both)


def clustered_share(
    values: ArrayLike, clusters: ArrayLike, confidence: float = 0.95, seeds: ArrayLike | None = None
) -> Estimate:
    """Share of ones among 0/1 values, with both intervals at the head of this module.

    Args:
        values: 0 or 1 (or booleans) per response, shape [n].
        clusters: the question of each response, shape [n].
        confidence: coverage of the intervals.
        seeds: the fine-tuning seed of each response, shape [n]; None where there is one.

    Raises:
        ValueError: if the columns differ in length, a label is missing, a value is neither 0 nor 1, or `confidence`
            is not between 0 and 1.
    """
    return share_of(cells(values, clusters, seeds), confidence)
