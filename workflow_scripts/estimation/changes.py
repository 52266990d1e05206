"""Before and after: differences and relative changes, paired by question."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from workflow_scripts.estimation.columns import (
    FloatArray,
    IntArray,
    checked_rows,
    influence_of,
    is_share,
    listed,
    mean_of,
)
from workflow_scripts.estimation.intervals import POINT, Estimate, clustered_share, t_estimate


def paired_difference(
    before: ArrayLike,
    before_clusters: ArrayLike,
    after: ArrayLike,
    after_clusters: ArrayLike,
    confidence: float = 0.95,
) -> Estimate:
    """Mean after minus mean before, paired by question (Miller 2024).

    Only questions on both sides count. Both means are over responses, so a question weighs as much as it has
    responses on that side, and the value is exactly the difference of the two clustered means; question q
    moves it by u_q = Σ_{after, q} (y − ȳ) / n_after − Σ_{before, q} (x − x̄) / n_before, with t on common
    questions − 1. Where every question has equally many responses, this is the paired t interval of the
    questions' means.

    Values that are all 0 or 1 are shares: the bounds stay within [−1, 1], and where no question differs from
    another in its change (0 of 384 before and after) they come from the two intervals of `clustered_share`,
    squared and added (Newcombe 1998), rather than being a point.

    Args:
        before: one finite number per response, shape [n_before].
        before_clusters: the question of each, shape [n_before].
        after: likewise, in the same unit, shape [n_after].
        after_clusters: likewise, shape [n_after].
        confidence: coverage of the interval.

    Raises:
        ValueError: as `clustered_mean`, or if no question is on both sides.
    """
    pair = _common(before, before_clusters, after, after_clusters)
    value = mean_of(pair.after) - mean_of(pair.before)
    influence = pair.after_influence - pair.before_influence
    estimate = t_estimate(value, influence, pair.n, confidence)
    if not pair.shares or pair.questions < 2:
        return estimate
    low, high = estimate.low, estimate.high
    if high - low <= POINT:
        old = clustered_share(pair.before, pair.before_codes, confidence)
        new = clustered_share(pair.after, pair.after_codes, confidence)
        low = value - float(np.hypot(new.value - new.low, old.high - old.value))
        high = value + float(np.hypot(new.high - new.value, old.value - old.low))
    return replace(estimate, low=max(low, -1.0), high=min(high, 1.0))


def relative_change(
    before: ArrayLike,
    before_clusters: ArrayLike,
    after: ArrayLike,
    after_clusters: ArrayLike,
    confidence: float = 0.95,
) -> Estimate:
    """Change as a fraction of before, ȳ / x̄ − 1, paired by question and linearised (delta method).

    Over the questions on both sides, as `paired_difference`; u_q = (Σ_{after, q} (y − ȳ) / n_after
    − (ȳ / x̄) Σ_{before, q} (x − x̄) / n_before) / x̄. The linearisation wants a mean before that is several
    standard errors away from 0; a mean before of 0 gives NaN, for there is nothing to change relative to.

    Values that are all 0 or 1 are shares: the change is at least −1 (−100 %), and where the linearised
    interval is a point, as when nothing is left after, the bounds are those of the share after
    (`clustered_share`) over the mean before: −100 % then has an upper bound far above 0 for few questions.

    Args:
        before: one finite number per response, shape [n_before].
        before_clusters: the question of each, shape [n_before].
        after: likewise, in the same unit, shape [n_after].
        after_clusters: likewise, shape [n_after].
        confidence: coverage of the interval.

    Raises:
        ValueError: as `paired_difference`.
    """
    pair = _common(before, before_clusters, after, after_clusters)
    base = mean_of(pair.before)
    if base == 0:
        return Estimate(np.nan, np.nan, np.nan, pair.n, pair.questions)
    ratio = mean_of(pair.after) / base
    influence = (pair.after_influence - ratio * pair.before_influence) / base
    estimate = t_estimate(ratio - 1, influence, pair.n, confidence)
    if not pair.shares or pair.questions < 2:
        return estimate
    low, high = estimate.low, estimate.high
    if high - low <= POINT:
        left = clustered_share(pair.after, pair.after_codes, confidence)
        low, high = left.low / base - 1, left.high / base - 1
    return replace(estimate, low=max(low, -1.0), high=high)


@dataclass(frozen=True)
class _Pair:
    """Responses before and after, on the questions that both sides have."""

    before: FloatArray
    before_codes: IntArray
    after: FloatArray
    after_codes: IntArray
    questions: int

    @property
    def before_influence(self) -> FloatArray:
        return influence_of(self.before, self.before_codes, self.questions)

    @property
    def after_influence(self) -> FloatArray:
        return influence_of(self.after, self.after_codes, self.questions)

    @property
    def n(self) -> int:
        return self.before.size + self.after.size

    @property
    def shares(self) -> bool:
        return is_share(self.before) and is_share(self.after)


def _common(before: ArrayLike, before_clusters: ArrayLike, after: ArrayLike, after_clusters: ArrayLike) -> _Pair:
    old, old_labels = checked_rows(before, before_clusters, "before", "before_clusters")
    new, new_labels = checked_rows(after, after_clusters, "after", "after_clusters")
    common = np.intersect1d(old_labels, new_labels)
    if common.size == 0:
        raise ValueError(
            f"before and after have no question in common: before has {listed(np.unique(old_labels))}, "
            f"after has {listed(np.unique(new_labels))}."
        )
    old_kept, new_kept = np.isin(old_labels, common), np.isin(new_labels, common)
    return _Pair(
        old[old_kept],
        np.searchsorted(common, old_labels[old_kept]),
        new[new_kept],
        np.searchsorted(common, new_labels[new_kept]),
        common.size,
    )
