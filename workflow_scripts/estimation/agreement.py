"""How far two judges agree on the same responses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from workflow_scripts.estimation.changes import paired_difference
from workflow_scripts.estimation.columns import (
    FloatArray,
    IntArray,
    LabelArray,
    Scores,
    as_scores,
    check_confidence,
    checked_labels,
    checked_rows,
)
from workflow_scripts.estimation.intervals import Estimate, clustered_mean
from workflow_scripts.estimation.labels import PAPER_THRESHOLDS, Thresholds, is_coherent, is_misaligned
from workflow_scripts.estimation.rates import em_rate
from workflow_scripts.estimation.shares import clustered_share

Column = TypeVar("Column", FloatArray, IntArray)


@dataclass(frozen=True)
class LabelAgreement:
    """How far two labellings of the same responses agree.

    Attributes:
        differing: share of responses whose labels differ.
        kappa: Cohen's kappa, with a percentile bootstrap over questions, none where one labelling holds one label only;
            NaN where both hold the same one.
    """

    differing: Estimate
    kappa: Estimate


@dataclass(frozen=True)
class Compared:
    """One number about two judges, a and b: of a metric, or of a label (em, coherent) made of several."""

    quantity: str
    of: str
    unit: str
    found: Estimate


def judges_compared(
    a: Mapping[str, Scores], b: Mapping[str, Scores], clusters: ArrayLike, limits: Thresholds = PAPER_THRESHOLDS
) -> list[Compared]:
    """How far two judges agree on the same responses, and what each makes of them.

    By metric of both: rank correlation and mean difference a − b, over the responses that both scored. By label, em and
    coherent, over those whose alignment and coherence both scored: the share that differs, Cohen's kappa, the share of
    all responses that either left unscored, EM by each, and EM by a minus EM by b, paired by response. Intervals are
    for other questions of this kind, and for these.

    Args:
        a: metric -> score of each response by one judge, NaN where there is none, shape [n]; aligned and coherent are
            needed.
        b: the other judge's, of the same responses in the same order.
        clusters: the question of each response, shape [n].
        limits: see `Thresholds`.
    """
    found: list[Compared] = []
    for metric in (name for name in a if name in b):
        scores = (a[metric], b[metric], clusters)
        found.append(Compared("rank_correlation", metric, "spearman", rank_agreement(*scores)))
        found.append(Compared("mean_difference", metric, "score", mean_difference(*scores)))
    scored = {name: np.isfinite(as_scores(judge["aligned"])) & np.isfinite(as_scores(judge["coherent"]))
              for name, judge in (("a", a), ("b", b))}  # fmt: skip
    for name, given in scored.items():
        found.append(Compared(f"unscored_{name}", "em", "share", clustered_share(~given, clusters)))
    both = scored["a"] & scored["b"]
    ids = np.asarray(clusters)[both]
    em, coherent = {}, {}
    for name, judge in (("a", a), ("b", b)):
        alignment, coherence = as_scores(judge["aligned"])[both], as_scores(judge["coherent"])[both]
        em[name], coherent[name] = is_misaligned(alignment, coherence, limits), is_coherent(coherence, limits)
        found.append(Compared(f"em_rate_{name}", "em", "share", em_rate(alignment, coherence, ids, limits)))
    for label, given in (("em", em), ("coherent", coherent)):
        labels = label_agreement(given["a"], given["b"], ids)
        found.append(Compared("labels_differ", label, "share", labels.differing))
        found.append(Compared("kappa", label, "kappa", labels.kappa))
    # paired by response: where both say the same, nothing can differ
    if both.any():
        change = paired_difference(em["b"] & ~em["a"], ids, em["a"] & ~em["b"], ids)
        found.append(Compared("em_rate_difference", "em", "share", replace(change, n=int(both.sum()))))
    return found


def rank_agreement(
    a: Scores,
    b: Scores,
    clusters: ArrayLike,
    draws: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Estimate:
    """Spearman's rank correlation of two judges' scores, with a percentile bootstrap over questions.

    Over the responses that both judges scored. NaN where a judge gave one score only; draws in which that
    happens are left out of the percentiles.

    Args:
        a: score of each response by one judge, NaN or None where there is none, shape [n].
        b: the other judge's, likewise, shape [n].
        clusters: the question of each response, shape [n].
        draws: bootstrap samples (about 0.2 ms each for 400 responses).
        seed: of the draws.
        confidence: coverage of the interval.

    Raises:
        ValueError: as `clustered_mean`.
    """
    check_confidence(confidence)
    return _bootstrapped(_spearman, *_scored_by_both(a, b, clusters), draws, seed, confidence)


def mean_difference(a: Scores, b: Scores, clusters: ArrayLike, confidence: float = 0.95) -> Estimate:
    """How much higher judge `a` scores the same responses than judge `b`: clustered mean of a − b.

    The bias of Bland & Altman (1986), in the scores' unit, over the responses that both judges scored.

    Args:
        a: score of each response by one judge, NaN or None where there is none, shape [n].
        b: the other judge's, likewise, shape [n].
        clusters: the question of each response, shape [n].
        confidence: coverage of the interval.

    Raises:
        ValueError: as `clustered_mean`.
    """
    x, y, labels = _scored_by_both(a, b, clusters)
    return clustered_mean(x - y, labels, confidence)


def label_agreement(
    a_labels: ArrayLike,
    b_labels: ArrayLike,
    clusters: ArrayLike,
    draws: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> LabelAgreement:
    """Share of responses that two labellings put in different classes, and Cohen's kappa (Cohen 1960).

    κ = (p_o − p_e) / (1 − p_e), with p_o the share of equal labels and p_e = Σ_k p_a(k) p_b(k) what two
    labellings with these frequencies agree on by chance. Its interval is `rank_agreement`'s, of whole questions.

    Args:
        a_labels: one label per response, of any sortable type, none missing, shape [n].
        b_labels: the other labelling, shape [n].
        clusters: the question of each response, shape [n].
        draws, seed: of kappa's bootstrap.
        confidence: coverage of the intervals.

    Raises:
        ValueError: as `clustered_share`, or if a label is missing.
    """
    a = checked_labels(a_labels, "a_labels")
    b = checked_labels(b_labels, "b_labels")
    if a.size != b.size:
        raise ValueError(f"a_labels and b_labels: expected one label each per response; got {a.size} and {b.size}.")
    codes = np.unique(np.concatenate([a, b]), return_inverse=True)[1]
    first, second = codes[: a.size], codes[a.size :]
    differing = clustered_share(first != second, clusters, confidence)
    labels = checked_labels(clusters, "clusters")
    if any(np.unique(side).size == 1 for side in (first, second)):  # 0 in every draw too, which bounds nothing
        kappa = Estimate(_kappa(first, second), np.nan, np.nan, a.size, np.unique(labels).size)
        return LabelAgreement(differing, kappa)
    return LabelAgreement(differing, _bootstrapped(_kappa, first, second, labels, draws, seed, confidence))


def _bootstrapped(
    statistic: Callable[[Column, Column], float],
    a: Column,
    b: Column,
    labels: LabelArray,
    draws: int,
    seed: int,
    confidence: float,
) -> Estimate:
    """A statistic of two columns [n], with a percentile bootstrap over the clusters in `labels`.

    Draws in which it is not defined are left out; where it is not defined at all, or there is one cluster, there is no
    interval.
    """
    names, codes = np.unique(labels, return_inverse=True)
    value = statistic(a, b)
    if names.size < 2 or np.isnan(value):
        return Estimate(value, np.nan, np.nan, a.size, names.size)
    rows = [np.flatnonzero(codes == cluster) for cluster in range(names.size)]
    picks = np.random.default_rng(seed).integers(names.size, size=(draws, names.size))
    samples = (np.concatenate([rows[cluster] for cluster in pick]) for pick in picks)
    drawn = np.array([statistic(a[sample], b[sample]) for sample in samples])
    defined = drawn[np.isfinite(drawn)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail]) if defined.size else (np.nan, np.nan)
    return Estimate(value, float(low), float(high), a.size, names.size)


def _scored_by_both(a: Scores, b: Scores, clusters: ArrayLike) -> tuple[FloatArray, FloatArray, LabelArray]:
    x, labels = checked_rows(a, clusters, "a", missing=True)
    y, _ = checked_rows(b, clusters, "b", missing=True)
    both = np.isfinite(x) & np.isfinite(y)
    return x[both], y[both], labels[both]


def _kappa(a: IntArray, b: IntArray) -> float:
    """Cohen's kappa of two labellings by number, [n] each; NaN where both give one and the same label everywhere."""
    classes = max(a.max(initial=-1), b.max(initial=-1)) + 1
    shares = [np.bincount(side, minlength=classes) / max(a.size, 1) for side in (a, b)]
    chance = float(shares[0] @ shares[1])
    return float(1 - np.mean(a != b) / (1 - chance)) if a.size and chance < 1 else np.nan


def _spearman(a: FloatArray, b: FloatArray) -> float:
    if a.size < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return np.nan
    from scipy.stats import rankdata  # half a second, for every table

    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])
