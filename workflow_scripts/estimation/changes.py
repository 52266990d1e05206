"""Before and after: differences and relative changes, paired by question."""

from __future__ import annotations

from numpy.typing import ArrayLike

from workflow_scripts.estimation.intervals import Estimate
from workflow_scripts.estimation.shares import cells, difference_of, over_common_questions, relative_change_of


def paired_difference(
    before: ArrayLike,
    before_clusters: ArrayLike,
    after: ArrayLike,
    after_clusters: ArrayLike,
    confidence: float = 0.95,
    before_seeds: ArrayLike | None = None,
    after_seeds: ArrayLike | None = None,
) -> Estimate:
    """Share of ones after minus share before, paired by question (Miller 2024), and by seed where both have the same.

    Only questions on both sides count. Both shares are over responses, so a question weighs as much as it has responses
    on that side. The intervals are those of `shares`: both sides under the same weights of questions and seeds.

    Args:
        before: 0 or 1 per response, shape [n_before].
        before_clusters: the question of each, shape [n_before].
        after: likewise, shape [n_after].
        after_clusters: likewise, shape [n_after].
        confidence: coverage of the intervals.
        before_seeds: the fine-tuning seed of each response, shape [n_before]; None where there is one.
        after_seeds: likewise, shape [n_after].

    Raises:
        ValueError: as `clustered_share`, or if no question is on both sides.
    """
    sides = cells(before, before_clusters, before_seeds), cells(after, after_clusters, after_seeds)
    return difference_of(*over_common_questions(*sides), confidence)


def relative_change(
    before: ArrayLike,
    before_clusters: ArrayLike,
    after: ArrayLike,
    after_clusters: ArrayLike,
    confidence: float = 0.95,
    before_seeds: ArrayLike | None = None,
    after_seeds: ArrayLike | None = None,
) -> Estimate:
    """Change as a fraction of the share before, ȳ / x̄ − 1, paired as in `paired_difference`.

    At least −1 (−100 %). Without a one before it is NaN; where so little is left before that nothing bounds the ratio,
    the upper bound is infinite.

    Args and raises: as `paired_difference`.
    """
    sides = cells(before, before_clusters, before_seeds), cells(after, after_clusters, after_seeds)
    return relative_change_of(*over_common_questions(*sides), confidence)
