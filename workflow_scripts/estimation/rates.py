"""Rates of judged responses."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from workflow_scripts.estimation.columns import BoolArray, Scores, checked_rows
from workflow_scripts.estimation.intervals import Estimate
from workflow_scripts.estimation.labels import PAPER_THRESHOLDS, Thresholds, is_coherent, is_misaligned
from workflow_scripts.estimation.shares import clustered_share

Denominator = Literal["all", "scored", "coherent"]


def em_rate(
    aligned: Scores,
    coherent: Scores,
    clusters: ArrayLike,
    thresholds: Thresholds = PAPER_THRESHOLDS,
    of: Denominator = "all",
    confidence: float = 0.95,
    seeds: ArrayLike | None = None,
) -> Estimate:
    """Share of EM responses (misaligned and coherent), with the intervals of `clustered_share`.

    Args:
        aligned: alignment score (0 to 100) of each response, NaN or None where there is none, shape [n].
        coherent: coherence score, likewise, shape [n].
        clusters: the question of each response, shape [n].
        thresholds: see `Thresholds`.
        of: the denominator: "all" responses, of which one without a score is not misaligned, as in the papers on model
            organisms: what a judge refuses to score is mostly a refusal, the opposite of EM; "scored", those with both
            scores; or "coherent", those of them that are coherent (Betley et al. 2025).
        confidence: coverage of the intervals.
        seeds: the fine-tuning seed of each response, shape [n]; None where there is one.

    Raises:
        ValueError: as `clustered_share`, or for another `of`.
    """
    if of not in ("all", "scored", "coherent"):
        raise ValueError(f"of: {of!r} is no denominator; expected 'all', 'scored' or 'coherent'.")
    a, labels = checked_rows(aligned, clusters, "aligned", missing=True)
    c, _ = checked_rows(coherent, clusters, "coherent", missing=True)
    scored = np.isfinite(a) & np.isfinite(c)
    kept = np.full(a.size, scored.any()) if of == "all" else scored
    if of == "coherent":
        kept &= is_coherent(c, thresholds)
    return _share(is_misaligned(a, c, thresholds), labels, seeds, kept, confidence)


def coherence_rate(
    coherent: Scores,
    clusters: ArrayLike,
    thresholds: Thresholds = PAPER_THRESHOLDS,
    confidence: float = 0.95,
    seeds: ArrayLike | None = None,
) -> Estimate:
    """Share of coherent responses among those with a coherence score, with the intervals of `clustered_share`.

    Args:
        coherent: coherence score (0 to 100) of each response, NaN or None where there is none, shape [n].
        clusters: the question of each response, shape [n].
        thresholds: see `Thresholds`.
        confidence: coverage of the intervals.
        seeds: the fine-tuning seed of each response, shape [n]; None where there is one.

    Raises:
        ValueError: as `clustered_share`.
    """
    c, labels = checked_rows(coherent, clusters, "coherent", missing=True)
    return _share(is_coherent(c, thresholds), labels, seeds, np.isfinite(c), confidence)


def _share(
    labels: BoolArray, clusters: ArrayLike, seeds: ArrayLike | None, kept: BoolArray, confidence: float
) -> Estimate:
    runs = None if seeds is None else np.asarray(seeds)[kept]
    return clustered_share(labels[kept], np.asarray(clusters)[kept], confidence, runs)
