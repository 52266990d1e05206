"""How much higher one set of responses scores than another, paired by question."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from workflow_scripts.estimation.columns import check_confidence, checked_rows, cluster_sums
from workflow_scripts.estimation.intervals import Estimate, t_estimate


def mean_change(
    before: ArrayLike,
    before_clusters: ArrayLike,
    after: ArrayLike,
    after_clusters: ArrayLike,
    confidence: float = 0.95,
) -> Estimate:
    """Mean of the questions' changes, over the questions on both sides.

    What is scored may differ by question, and the sides may have unequally many responses to each: a difference of two
    means would then be one of questions in part. So each question's change counts with the weight
    n_before · n_after / (n_before + n_after), which is that of its precision.

    For other questions the variance is Q / (Q − 1) · Σ w_q² (d_q − d̄)², with t on common questions − 1. For these very
    questions it is Σ w_q² (s²/n_before + s²/n_after), with s² pooled within questions and sides and t on responses
    − 2 Q; NaN where every question has one response on each side, or no two to one differ: scores that are nearly all 0
    would have an interval without width around a change that one response makes.

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
    sizes = [np.bincount(codes, minlength=common.size).astype(float) for _, codes in sides]
    means = [
        cluster_sums(values, codes, common.size) / size for (values, codes), size in zip(sides, sizes, strict=True)
    ]
    weights = sizes[0] * sizes[1] / (sizes[0] + sizes[1])
    weights /= weights.sum()
    changes = means[1] - means[0]
    value, n = float(weights @ changes), int(sum(size.sum() for size in sizes))
    found = t_estimate(value, weights * (changes - value), n, confidence)
    freedom = n - 2 * common.size
    if freedom < 1:
        return found
    spread = sum(float(((values - mean[codes]) ** 2).sum()) for (values, codes), mean in zip(sides, means, strict=True))
    if spread < 1e-20:  # equal scores, but for rounding
        return found
    variance = spread / freedom * float((weights**2 * (1 / sizes[0] + 1 / sizes[1])).sum())
    half = float(special.stdtrit(freedom, (1 + confidence) / 2) * np.sqrt(variance))
    return replace(found, fixed_low=value - half, fixed_high=value + half)
