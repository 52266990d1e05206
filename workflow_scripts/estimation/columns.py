"""Columns of responses as arrays: checked, by question."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.intp]
LabelArray = NDArray[np.generic]
Scores = ArrayLike | Sequence[float | None]
"""Judge scores, 0 to 100, one per response; NaN or None where there is none."""


def influence_of(values: FloatArray, codes: IntArray, count: int) -> FloatArray:
    """u_q = Σ_{i in q} (y_i − ȳ) / n of a mean, shape [Q]."""
    return cluster_sums(values - mean_of(values), codes, count) / max(values.size, 1)


def cluster_sums(values: FloatArray, codes: IntArray, count: int) -> FloatArray:
    return np.bincount(codes, weights=values, minlength=count).astype(np.float64)


def mean_of(values: FloatArray) -> float:
    return float(values.mean()) if values.size else np.nan


def is_share(values: FloatArray) -> bool:
    return bool(np.all((values == 0) | (values == 1)))


def clustered_columns(
    values: ArrayLike, clusters: ArrayLike, label: str = "clusters"
) -> tuple[FloatArray, IntArray, LabelArray]:
    """Values [n], the number of each one's cluster [n], and the clusters' labels [Q]."""
    y, labels = checked_rows(values, clusters, label=label)
    names, codes = np.unique(labels, return_inverse=True)
    return y, codes, names


def checked_rows(
    values: Scores,
    clusters: ArrayLike,
    name: str = "values",
    label: str = "clusters",
    missing: bool = False,
) -> tuple[FloatArray, LabelArray]:
    y = as_scores(values)
    labels = checked_labels(clusters, label)
    if y.ndim != 1 or y.size != labels.size:
        raise ValueError(
            f"{name} and {label}: expected one of each per response; got shapes {y.shape} and {labels.shape}."
        )
    bad = ~np.isfinite(y)
    if not missing and bad.any():
        raise ValueError(
            f"{name}: {int(bad.sum())} of {y.size} rows hold no finite number "
            f"(first: row {int(np.argmax(bad))}); leave unscored responses out."
        )
    return y, labels


def as_scores(values: Scores) -> FloatArray:
    return np.asarray(values, dtype=np.float64)


def checked_labels(labels: ArrayLike, name: str) -> LabelArray:
    array = np.asarray(labels)
    if array.ndim != 1:
        raise ValueError(f"{name}: expected one label per response; got shape {array.shape}.")
    try:
        missing = sum(item is None or bool(item != item) for item in array.tolist())
        np.unique(array)
    except TypeError:
        raise ValueError(f"{name}: labels are missing or of several types; expected one type.") from None
    if missing:
        raise ValueError(f"{name}: {missing} of {array.size} labels are missing; every response needs one.")
    return array


def check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: {confidence:g} is not between 0 and 1; expected a coverage like 0.95.")


def listed(labels: LabelArray) -> str:
    """The first few labels for an error: 'a', 'b', 'c' and 5 more."""
    names = [repr(item) for item in labels.tolist()]
    shown = ", ".join(names[:3]) or "none"
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
