"""Shares of answers, their differences and their ratios: one family of intervals, without jumps.

Three things are uncertain in a share, and each is drawn `DRAWS` times, always with the same random numbers:

- the answers: a cell (a question, under a fine-tuning seed) with k of n ones has a beta-distributed share with the
  variance p (1 − p) / (n − 1), which is that of the mean of n answers. Beside all answers stands one more, a one in the
  draws of the upper bound and a zero in those of the lower, as in the exact interval of Clopper & Pearson (1934);
- the questions: weighted anew by a Dirichlet distribution (the Bayesian bootstrap, Rubin 1981), so concentrated that
  the variance of a mean is that of Student's t. Beside up to eight stands one more, unseen question, like the one which
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
from scipy import special

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
"""Questions up to which an unseen one stands beside them; among more, the worst is likely to be."""
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
    """Draws of one side, and of the one answer more that stands beside it.

    Attributes:
        all_ones, all_answers: of all questions together, [draw].
        ones, answers: of each question, [question, draw]; empty where there are more than `FEW`.
        more: weight of the one answer more, [draw].
        unseen: weight of the unseen question, [draw]. The rest is of the questions weighted anew, [draw] each:
        ones_anew, answers_anew: of all questions that were asked.
        more_anew: of the one answer more, which is to one of them.
    """

    all_ones: FloatArray
    all_answers: FloatArray
    ones: FloatArray
    answers: FloatArray
    more: FloatArray
    unseen: FloatArray
    ones_anew: FloatArray
    answers_anew: FloatArray
    more_anew: FloatArray

    def for_these_questions(self, upper: bool) -> FloatArray:
        """The share, [draw]; the one answer more is a one for the upper bound."""
        return np.asarray((self.all_ones + upper * self.more) / (self.all_answers + self.more))

    def for_others(self, upper: bool) -> FloatArray:
        """The share with the questions weighted anew, [draw]; of few, with one more like each, [its like, draw]."""
        ones, answers = self.ones_anew + upper * self.more_anew, self.answers_anew + self.more_anew
        if not len(self.ones):
            return np.asarray((ones / answers)[None])
        return np.asarray((self.unseen * self.ones + ones) / (self.unseen * self.answers + answers))


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
    part = between_questions(n / len(sides) / questions)
    drawn = [
        _drawn(side.ones.tobytes(), side.answers.tobytes(), side.ones.shape, place, 0 if same else place, part)
        for place, side in enumerate(sides)
    ]
    for upper in (False, True):
        towards = [upper != (place > 0) for place in range(len(sides))]
        fixed = statistic(*(side.for_these_questions(up) for side, up in zip(drawn, towards, strict=True)))
        bounds.append(_quantile(fixed, tail, upper, value, limits))
        if questions < 2:
            bounds.append(np.nan)
            continue
        moved = statistic(*(side.for_others(up) for side, up in zip(drawn, towards, strict=True)))
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


@lru_cache(maxsize=1000)
def _drawn(
    ones_bytes: bytes, answers_bytes: bytes, shape: tuple[int, int], stream: int, seeds_stream: int, part: float
) -> _Drawn:
    """Draws of a side; the same responses are one side of several comparisons, which is what the cache is for.

    A side takes some 100 kB, with few questions up to 400 kB.

    Args:
        ones_bytes, answers_bytes: of `Cells`, of this shape, [question, seed].
        stream, seeds_stream: of random numbers, of the answers and of the seeds' weights.
        part: see `concentration`, of the questions.
    """
    ones, answers = (np.frombuffer(raw).reshape(shape) for raw in (ones_bytes, answers_bytes))
    alone = answers == 1
    rate = float(ones[alone].mean()) if alone.any() else 0.0
    size = _size_quantiles(int(answers.sum()))[_shuffled(answers.size, stream)]
    weights = _weights(shape[1], 0.0, seeds_stream, 1.0)[:-1] if shape[1] > 1 else np.ones((1, DRAWS))
    of_ones, of_answers = (np.zeros((shape[0], DRAWS)) for _ in range(2))
    for place, (k, n) in enumerate(zip(ones.ravel().tolist(), answers.ravel().tolist(), strict=True)):
        quantiles = _bernoulli_quantiles(rate) if n == 1 else _share_quantiles(k, n)
        weight = n * size * weights[place % shape[1]]
        of_answers[place // shape[1]] += weight
        of_ones[place // shape[1]] += weight * quantiles[_shuffled(place, stream)]
    filled = np.flatnonzero(answers)
    where = filled[np.arange(DRAWS) % filled.size][_shuffled(answers.size + 1, stream)]
    more = _MORE[_shuffled(answers.size + 2, stream)] * weights[where % shape[1], np.arange(DRAWS)]
    questions, each = _weights(shape[0], float(shape[0] <= FEW), 0, part), slice(shape[0] if shape[0] <= FEW else 0)
    return _Drawn(
        of_ones.sum(axis=0),
        of_answers.sum(axis=0),
        of_ones[each].copy(),  # a view would keep the rest
        of_answers[each].copy(),
        more,
        questions[-1],
        np.einsum("qd,qd->d", questions[:-1], of_ones),
        np.einsum("qd,qd->d", questions[:-1], of_answers),
        more * questions[where // shape[1], np.arange(DRAWS)],
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
        unseen: 1 with an unseen one, 0 without.
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
    ratio = float(special.ndtri(0.975) / special.stdtrit(units - 1, 0.975))
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
