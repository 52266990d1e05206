"""Means and ratios whose intervals know that answers to one question are not independent; for shares, see `shares`.

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
from scipy import special

from workflow_scripts.estimation.columns import (
    FloatArray,
    check_confidence,
    checked_rows,
    cluster_sums,
    clustered_columns,
    influence_of,
    mean_of,
)


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
        fixed_low: lower bound for these very questions; NaN where there is none.
        fixed_high: upper bound; likewise.
    """

    value: float
    low: float
    high: float
    n: int
    clusters: int
    over: str = "questions"
    fixed_low: float = np.nan
    fixed_high: float = np.nan


def clustered_mean(
    values: ArrayLike, clusters: ArrayLike, confidence: float = 0.95, seeds: ArrayLike | None = None
) -> Estimate:
    """Mean over responses with a cluster-robust interval, and one for these very questions.

    u_q = Σ_{i in q} (y_i − ȳ) / n, in the formula at the head of this module. The same as statsmodels'
    `OLS(y, 1).fit(cov_type="cluster", cov_kwds={"groups": clusters, "use_correction": True}, use_t=True)`.
    With seeds, both cluster: the variance is that by question plus that by seed minus that by question and seed
    (Cameron, Gelbach & Miller 2011), and at least the one by question. For fixed questions it is that of a stratified
    sample, Σ_q Σ_i (y_i − ȳ_q)² n_q / (n_q − 1) / n² with t on n − Q, or the one by seed if that is larger.
    The bounds are not clipped, and equal values give a point: for a share of 0s and 1s use `clustered_share`.

    Args:
        values: one finite number per response, in any unit, shape [n].
        clusters: the question of each response, shape [n].
        confidence: coverage of the interval, such as 0.95.
        seeds: the fine-tuning seed of each response, shape [n]; None where there is one.

    Raises:
        ValueError: if the columns differ in length, a value is not finite, a label is missing or `confidence`
            is not between 0 and 1.
    """
    y, codes, labels = clustered_columns(values, clusters)
    found = t_estimate(mean_of(y), influence_of(y, codes, labels.size), y.size, confidence)
    tail = (1 + confidence) / 2
    sizes = np.bincount(codes, minlength=labels.size).astype(float)
    within = np.nan
    if y.size and sizes.min() > 1:
        of_question = cluster_sums(y, codes, labels.size) / sizes
        spread = cluster_sums((y - of_question[codes]) ** 2, codes, labels.size)
        within = float((spread * sizes / (sizes - 1)).sum()) / y.size**2
    if seeds is not None and np.unique(np.asarray(seeds)).size > 1 and labels.size > 1:
        _, runs, names = clustered_columns(values, seeds, label="seeds")
        by_question = _variance(influence_of(y, codes, labels.size))
        by_seed = _variance(influence_of(y, runs, names.size))
        _, crossed = np.unique(codes * names.size + runs, return_inverse=True)
        both = by_question + by_seed - _variance(influence_of(y, crossed, int(crossed.max()) + 1))
        half = float(special.stdtrit(labels.size - 1, tail) * np.sqrt(max(by_question, both)))
        found = replace(found, low=found.value - half, high=found.value + half)
        within = max(within, by_seed)
    if np.isnan(within):
        return found
    half = float(special.stdtrit(y.size - labels.size, tail) * np.sqrt(within))
    return replace(found, fixed_low=found.value - half, fixed_high=found.value + half)


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


def t_estimate(value: float, influence: FloatArray, n: int, confidence: float) -> Estimate:
    """The t interval at the head of this module, from the influence u_q of each cluster, shape [Q]."""
    check_confidence(confidence)
    count = influence.size
    if count < 2:
        return Estimate(value, np.nan, np.nan, n, count)
    half = float(special.stdtrit(count - 1, (1 + confidence) / 2) * np.sqrt(_variance(influence)))
    return Estimate(value, value - half, value + half, n, count)


def _variance(influence: FloatArray) -> float:
    return float(influence.size / (influence.size - 1) * np.sum(influence**2))
