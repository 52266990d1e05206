"""How much higher one set of responses scores than another, paired by question."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from workflow_scripts.estimation.columns import (
    FloatArray,
    IntArray,
    check_confidence,
    checked_rows,
    cluster_sums,
    influence_of,
    mean_of,
)
from workflow_scripts.estimation.intervals import Estimate, t_estimate


def mean_change(
    before: ArrayLike,
    before_clusters: ArrayLike,
    after: ArrayLike,
    after_clusters: ArrayLike,
    confidence: float = 0.95,
) -> Estimate:
    """Mean after minus mean before over the questions on both sides, paired by question (Miller 2024).

    Both means are over responses; question q moves the change by u_q = Σ_{after, q} (y − ȳ) / n_after
    − Σ_{before, q} (x − x̄) / n_before, with t on common questions − 1. For fixed questions the variance is that of two
    stratified samples, with t on responses − questions; NaN where a question has one response on a side.

    Args:
        before: one finite score per response, shape [n_before].
        before_clusters: the question of each, shape [n_before].
        after: likewise, in the same unit, shape [n_after].
        after_clusters: likewise, shape [n_after].
        confidence: coverage of the intervals.

    Raises:
        ValueError: as `clustered_mean`, or if no question is on both sides.
    """
    check_confidence(confidence)
    x, x_labels = checked_rows(before, before_clusters, "before", "before_clusters")
    y, y_labels = checked_rows(after, after_clusters, "after", "after_clusters")
    common = np.intersect1d(x_labels, y_labels)
    if common.size == 0:
        raise ValueError("before and after have no question in common.")
    sides = []
    for values, labels in ((x, x_labels), (y, y_labels)):
        kept = np.isin(labels, common)
        sides.append((values[kept], np.searchsorted(common, labels[kept])))
    (old, old_codes), (new, new_codes) = sides
    influence = influence_of(new, new_codes, common.size) - influence_of(old, old_codes, common.size)
    found = t_estimate(mean_of(new) - mean_of(old), influence, old.size + new.size, confidence)
    variance = _within(old, old_codes, common.size) + _within(new, new_codes, common.size)
    if np.isnan(variance):
        return found
    freedom = old.size + new.size - 2 * common.size
    half = float(stats.t.ppf((1 + confidence) / 2, freedom) * np.sqrt(variance))
    return replace(found, fixed_low=found.value - half, fixed_high=found.value + half)


def _within(values: FloatArray, codes: IntArray, count: int) -> float:
    """Variance of a mean over responses to these very questions; NaN where one has a single response."""
    sizes = np.bincount(codes, minlength=count).astype(float)
    if sizes.min() < 2:
        return np.nan
    means = cluster_sums(values, codes, count) / sizes
    spread = cluster_sums((values - means[codes]) ** 2, codes, count)
    return float((spread * sizes / (sizes - 1)).sum()) / values.size**2
