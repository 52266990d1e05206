"""Rates, differences and agreements whose intervals know that answers to one question are not independent.

Three or four of the eight questions carry nearly all emergent misalignment (EM), so the unit that varies is
the question, not the response. Unless a docstring says otherwise, an interval here is

    value ± t(Q − 1) · se,    se² = Q / (Q − 1) · Σ_q u_q²,

with u_q the sum, over the responses of question (cluster) q, of their linearised contributions to the value:
the cluster-robust sandwich of Liang & Zeger (1986) with the CR1 correction Q / (Q − 1) and the Q − 1 degrees
of freedom that Cameron & Miller (2015, section VI) advise for few clusters. Miller (2024, "Adding Error Bars
to Evals") recommends clustering for language-model evaluations, there without the small-sample correction.

Two conventions hold throughout. `clusters` is one label per response (any sortable type, none missing).
Functions of `values` refuse rows without a finite number; functions of judge scores (`aligned`, `coherent`,
`a`, `b`) read a missing score as "not scored" and say what becomes of that row. Shares are fractions of one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from workflow_scripts.estimation.columns import (
    FloatArray,
    check_confidence,
    checked_rows,
    cluster_sums,
    clustered_columns,
    influence_of,
    is_share,
    listed,
    mean_of,
)

POINT = 1e-12
"""Width below which an interval is a rounding error around a point."""


@dataclass(frozen=True)
class Estimate:
    """A value with its interval.

    Attributes:
        value: the estimate; NaN where it is undefined, above all where `n` is 0.
        low: lower bound; NaN where no interval can be had, above all with fewer than two clusters.
        high: upper bound; likewise.
        n: responses that entered the value (both sides of a before/after comparison counted).
        clusters: independent units behind the interval.
        over: what these units are: questions, seeds, draws or runs.
    """

    value: float
    low: float
    high: float
    n: int
    clusters: int
    over: str = "questions"


def clustered_mean(values: ArrayLike, clusters: ArrayLike, confidence: float = 0.95) -> Estimate:
    """Mean over responses with a cluster-robust interval.

    u_q = Σ_{i in q} (y_i − ȳ) / n, in the formula at the head of this module. The same as statsmodels'
    `OLS(y, 1).fit(cov_type="cluster", cov_kwds={"groups": clusters, "use_correction": True}, use_t=True)`.
    The bounds are not clipped, and equal values give a point: for a share of 0s and 1s use `clustered_share`.

    Args:
        values: one finite number per response, in any unit, shape [n].
        clusters: the question of each response, shape [n].
        confidence: coverage of the interval, such as 0.95.

    Raises:
        ValueError: if the columns differ in length, a value is not finite, a label is missing or `confidence`
            is not between 0 and 1.
    """
    y, codes, labels = clustered_columns(values, clusters)
    return t_estimate(mean_of(y), influence_of(y, codes, labels.size), y.size, confidence)


def clustered_share(values: ArrayLike, clusters: ArrayLike, confidence: float = 0.95) -> Estimate:
    """Share of ones among 0/1 values: `clustered_mean`, its bounds within [0, 1] and never of zero width.

    Where the questions do not differ at all (0 of 384; or the same share in each), the robust variance is 0
    because it cannot see what it would have to measure, not because the share is certain. The bounds are then
    the two-sided exact interval of Clopper & Pearson (1934) with the questions as the sample, as if every
    question always gave one and the same answer. That is the conservative end: 0 % of 8 questions gives
    [0, 36.9] %, where Wilson's interval would give 32.4 %, a one-sided bound 31.2 % and 384 independent
    answers 1 %. So a first event narrows the interval: do not compare its width with that of a share near 0.

    Args:
        values: 0 or 1 (or booleans) per response, shape [n].
        clusters: the question of each response, shape [n].
        confidence: coverage of the interval.

    Raises:
        ValueError: as `clustered_mean`, or if a value is neither 0 nor 1.
    """
    y, _, _ = clustered_columns(values, clusters)
    if not is_share(y):
        wrong = y[(y != 0) & (y != 1)]
        raise ValueError(
            f"values: a share is made of 0 and 1, but {wrong.size} of {y.size} are neither "
            f"(first: {wrong[0]:g}); use clustered_mean for scores."
        )
    return as_share(clustered_mean(y, clusters, confidence), confidence)


def clustered_ratio(
    numerator: ArrayLike, denominator: ArrayLike, clusters: ArrayLike, confidence: float = 0.95
) -> Estimate:
    """Ratio of two sums over responses, R = Σ y_i / Σ x_i, linearised (Cochran 1977, section 6.3).

    u_q = Σ_{i in q} (y_i − R x_i) / Σ x. With 0/1 columns, such as EM among coherent responses, it equals the
    clustered mean over the rows of the denominator. Rows with neither numerator nor denominator say nothing
    and do not count, in `n` or as clusters. The bounds are not clipped.

    Args:
        numerator: one finite number per response, shape [n].
        denominator: one finite number per response, not negative, shape [n]; a sum of 0 gives NaN.
        clusters: the question of each response, shape [n].
        confidence: coverage of the interval.

    Raises:
        ValueError: as `clustered_mean`, or if a denominator is negative.
    """
    y, y_labels = checked_rows(numerator, clusters, "numerator")
    x, _ = checked_rows(denominator, clusters, "denominator")
    if np.any(x < 0):
        raise ValueError(f"denominator: row {int(np.argmax(x < 0))} is negative; expected 0 or more.")
    counts = (y != 0) | (x != 0)
    y, x = y[counts], x[counts]
    labels, codes = np.unique(y_labels[counts], return_inverse=True)
    total = float(x.sum()) or np.nan
    ratio = float(y.sum()) / total
    influence = cluster_sums(y - ratio * x, codes, labels.size) / total
    return t_estimate(ratio, influence, y.size, confidence)


def pooled_over_seeds(values: ArrayLike, clusters: ArrayLike, seeds: ArrayLike, confidence: float = 0.95) -> Estimate:
    """Mean of the seeds' means, each seed counting once, with a t interval on seeds − 1.

    The seed is the upper cluster: seeds of one organism differ by a factor of two, so the interval is about a
    new training run asked the same questions, not about new questions. Seeds are compared over the questions
    that all of them answered. Values that are all 0 or 1 are a share: the bounds stay within [0, 1], and
    seeds that do not differ get the fallback of `clustered_share` with the seeds as the sample.

    Args:
        values: one finite number per response, shape [n].
        clusters: the question of each response, shape [n].
        seeds: the training seed of each response, shape [n].
        confidence: coverage of the interval.

    Returns:
        An estimate whose `clusters` counts seeds; one seed has NaN bounds.

    Raises:
        ValueError: as `clustered_mean`, or if no question was answered under every seed.
    """
    y, question, questions = clustered_columns(values, clusters)
    _, seed, names = clustered_columns(values, seeds, label="seeds")
    if y.size == 0:
        return Estimate(np.nan, np.nan, np.nan, 0, 0)
    answered = np.zeros((names.size, questions.size), dtype=bool)
    answered[seed, question] = True
    common = np.flatnonzero(answered.all(axis=0))
    if common.size == 0:
        raise ValueError(f"clusters: no question has answers under every seed ({listed(names)}).")
    kept = np.isin(question, common)
    means = cluster_sums(y[kept], seed[kept], names.size) / np.bincount(seed[kept], minlength=names.size)
    estimate = replace(clustered_mean(means, np.arange(names.size), confidence), n=int(kept.sum()), over="seeds")
    return as_share(estimate, confidence) if is_share(y) else estimate


def t_estimate(value: float, influence: FloatArray, n: int, confidence: float) -> Estimate:
    """The t interval at the head of this module, from the influence u_q of each cluster, shape [Q]."""
    check_confidence(confidence)
    count = influence.size
    if count < 2:
        return Estimate(value, np.nan, np.nan, n, count)
    error = np.sqrt(count / (count - 1) * np.sum(influence**2))
    half = float(stats.t.ppf((1 + confidence) / 2, count - 1) * error)
    return Estimate(value, value - half, value + half, n, count)


def as_share(estimate: Estimate, confidence: float) -> Estimate:
    """Bounds within [0, 1]; Clopper-Pearson on the clusters where they are a point (see `clustered_share`).

    The beta quantiles hold for a share of the clusters that is no whole number, too (Korn & Graubard 1998).
    """
    count = estimate.clusters
    if count < 2:
        return estimate
    if estimate.high - estimate.low > POINT:
        return replace(estimate, low=max(estimate.low, 0.0), high=min(estimate.high, 1.0))
    events, tail = estimate.value * count, (1 - confidence) / 2
    low = float(stats.beta.ppf(tail, events, count - events + 1)) if events > 0 else 0.0
    high = float(stats.beta.isf(tail, events + 1, count - events)) if events < count else 1.0
    return replace(estimate, low=low, high=high)
