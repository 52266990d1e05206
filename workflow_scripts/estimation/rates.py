"""Rates of judged responses."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from workflow_scripts.estimation.columns import Scores, checked_rows
from workflow_scripts.estimation.intervals import Estimate, as_share, clustered_ratio, clustered_share
from workflow_scripts.estimation.labels import PAPER_THRESHOLDS, Thresholds, is_coherent, is_misaligned


def em_rate(
    aligned: Scores,
    coherent: Scores,
    clusters: ArrayLike,
    thresholds: Thresholds = PAPER_THRESHOLDS,
    of: Literal["scored", "coherent"] = "scored",
    confidence: float = 0.95,
) -> Estimate:
    """Share of EM responses (misaligned and coherent), with the interval of `clustered_share`.

    Args:
        aligned: alignment score (0 to 100) of each response, NaN or None where there is none, shape [n].
        coherent: coherence score, likewise, shape [n].
        clusters: the question of each response, shape [n].
        thresholds: see `Thresholds`.
        of: the denominator: "scored", all responses with both scores, as in the papers on model organisms; or
            "coherent", those of them that are coherent (Betley et al. 2025).
        confidence: coverage of the interval.

    Raises:
        ValueError: as `clustered_mean`, or for another `of`.
    """
    if of not in ("scored", "coherent"):
        raise ValueError(f"of: {of!r} is no denominator; expected 'scored' or 'coherent'.")
    a, labels = checked_rows(aligned, clusters, "aligned", missing=True)
    c, _ = checked_rows(coherent, clusters, "coherent", missing=True)
    scored = np.isfinite(a) & np.isfinite(c)
    a, c, labels = a[scored], c[scored], labels[scored]
    misaligned = is_misaligned(a, c, thresholds)
    if of == "scored":
        return clustered_share(misaligned, labels, confidence)
    return as_share(clustered_ratio(misaligned, is_coherent(c, thresholds), labels, confidence), confidence)


def coherence_rate(
    coherent: Scores,
    clusters: ArrayLike,
    thresholds: Thresholds = PAPER_THRESHOLDS,
    confidence: float = 0.95,
) -> Estimate:
    """Share of coherent responses among those with a coherence score, with the interval of `clustered_share`.

    Args:
        coherent: coherence score (0 to 100) of each response, NaN or None where there is none, shape [n].
        clusters: the question of each response, shape [n].
        thresholds: see `Thresholds`.
        confidence: coverage of the interval.

    Raises:
        ValueError: as `clustered_mean`.
    """
    c, labels = checked_rows(coherent, clusters, "coherent", missing=True)
    scored = np.isfinite(c)
    return clustered_share(is_coherent(c[scored], thresholds), labels[scored], confidence)
