"""Rows of the tables' long form: an experiment, subject, quantity and condition with a value, interval and count."""

from __future__ import annotations

from typing import Any

import pandas as pd

from workflow_scripts.artefacts import read_tensors
from workflow_scripts.conditions import NOTHING
from workflow_scripts.layout import Layout, organism_of
from workflow_scripts.scores import read_scores
from workflow_scripts.statistics import (
    Estimate,
    Thresholds,
    coherence_rate,
    em_rate,
    is_misaligned,
    paired_difference,
    relative_change,
)
from workflow_scripts.study import Study

Row = dict[str, Any]


def thresholds_of(study: Study) -> Thresholds:
    return Thresholds(**study.thresholds.model_dump())


def row(experiment: str, subject: str, quantity: str, condition: str, found: Estimate, unit: str, **more: Any) -> Row:
    """One row of a table. `seed` is null where seeds are pooled; intervals are clustered by question."""
    organism, seed = organism_of(subject)
    return {
        "experiment": experiment,
        "subject": organism,
        "seed": seed,
        "quantity": quantity,
        "condition": condition,
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "n": found.n,
        "clusters": found.clusters,
        "unit": unit,
        **more,
    }


def point(value: float, n: int) -> Estimate:
    """A number that carries no sampling interval of its own."""
    return Estimate(value, float("nan"), float("nan"), n, 0)


def headline(
    study: Study, layout: Layout, subject: str, metrics: tuple[str, ...] = ("aligned", "coherent")
) -> pd.DataFrame:
    """Unchanged responses of a subject to the headline questions, with their scores."""
    scored = read_scores(layout.judgements(subject, "baseline"), metrics)
    return scored[(scored.condition == NOTHING.name) & (scored.question_set == study.sampling.questions)]


def rate_rows(
    experiment: str, subject: str, condition: str, scored: pd.DataFrame, limits: Thresholds, **more: Any
) -> list[Row]:
    """EM of all scored, EM of the coherent, and coherence of one set of responses."""
    aligned, coherent, questions = scored.aligned, scored.coherent, scored.question_id
    return [
        row(experiment, subject, "em", condition, em_rate(aligned, coherent, questions, limits), "share", **more),
        row(experiment, subject, "em_of_coherent", condition,
            em_rate(aligned, coherent, questions, limits, of="coherent"), "share", **more),
        row(experiment, subject, "coherence", condition, coherence_rate(coherent, questions, limits), "share", **more),
    ]  # fmt: skip


def change_rows(
    experiment: str,
    subject: str,
    condition: str,
    before: pd.DataFrame,
    after: pd.DataFrame,
    limits: Thresholds,
    **more: Any,
) -> list[Row]:
    """EM and coherence after, and the paired change of EM; relative to before only where that is above zero."""
    rows = rate_rows(experiment, subject, condition, after, limits, **more)
    was, now = (part.dropna(subset=["aligned", "coherent"]) for part in (before, after))
    labels_before, labels_now = (
        is_misaligned(part.aligned, part.coherent, limits).astype(float) for part in (was, now)
    )
    given = (labels_before, was.question_id, labels_now, now.question_id)
    rows.append(row(experiment, subject, "em_change", condition, paired_difference(*given), "share", **more))
    if em_rate(was.aligned, was.coherent, was.question_id, limits).low > 0:
        relative = relative_change(*given)
        rows.append(row(experiment, subject, "em_relative_change", condition, relative, "ratio", **more))
    return rows


def read_direction(layout: Layout, source: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Tensors and facts of a direction: of a subject, or of `<subject>/<topic>`."""
    return read_tensors(layout.direction(source), ["direction", "activation_norm", "shuffled"])
