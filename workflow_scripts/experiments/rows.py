"""Rows of the tables: one form for all experiments.

Facts are columns. `condition` names a row for people; nothing takes it apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from workflow_scripts.estimation.changes import paired_difference, relative_change
from workflow_scripts.estimation.intervals import Estimate
from workflow_scripts.estimation.labels import Thresholds, is_misaligned
from workflow_scripts.estimation.rates import coherence_rate, em_rate
from workflow_scripts.store.absence import absent
from workflow_scripts.store.artefacts import read_tensors
from workflow_scripts.store.judgement_tables import read_scores
from workflow_scripts.study.conditions import NOTHING, battery_subjects
from workflow_scripts.study.layout import Layout, organism_of
from workflow_scripts.study.sampling import Battery
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    from torch import Tensor

Row = dict[str, Any]

COLUMNS: dict[str, str] = {
    "experiment": "string",
    "subject": "string",
    "seed": "Int64",
    "quantity": "string",
    "condition": "string",
    "kind": "string",
    "source": "string",
    "layer": "Int64",
    "scale": "float64",
    "draw": "Int64",
    "split": "string",
    "adapter": "string",
    "question_set": "string",
    "question": "string",
    "samples": "Int64",
    "step": "Int64",
    "window": "Int64",
    "relative_dose": "float64",
    "value": "float64",
    "low": "float64",
    "high": "float64",
    "n": "Int64",
    "interval": "string",
    "clusters": "Int64",
    "unit": "string",
}
"""Columns of every table, and their types.

subject, seed: the chat base or an organism; its fine-tuning seed, null where seeds are pooled. kind: what was done, in
the experiment's own words. source: whose direction, or the other side of a comparison. layer: decoder layer. scale: λ
or the factor of an adapter. draw: number of a random draw. split: how probes hold out. adapter: its name. question_set:
what was asked; question: which one of them, where a row is about one. samples: answers drawn to a question. step,
window: of a training. relative_dose: |λ|·‖v‖ over the mean activation norm. value, low, high: in `unit`. n: responses,
or what else was counted. interval: what the interval is taken over (questions, answers, seeds, draws, runs; null where
there is none), and clusters: how many of them there are.
"""


NOT_POSSIBLE = "not_possible"
"""Key of a table's provenance: why parts of it could not be made, as a list of sentences."""


def row(experiment: str, subject: str, quantity: str, condition: str, found: Estimate, unit: str, **facts: Any) -> Row:
    """One row; `facts` are further columns.

    Raises:
        KeyError: for a fact that is no column.
    """
    unknown = facts.keys() - COLUMNS.keys()
    if unknown:
        raise KeyError(f"the tables have no column {', '.join(sorted(unknown))}")
    organism, seed = organism_of(subject)
    bounded = not (pd.isna(found.low) and pd.isna(found.high))
    return {
        **dict.fromkeys(COLUMNS),
        "experiment": experiment,
        "subject": organism,
        "seed": seed,
        "quantity": quantity,
        "condition": condition,
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "n": found.n,
        "interval": found.over if bounded else None,
        "clusters": found.clusters,
        "unit": unit,
        **facts,
    }


def frame_of(rows: Sequence[Row]) -> pd.DataFrame:
    """The table of rows, with the columns and types of `COLUMNS`."""
    return pd.DataFrame(list(rows), columns=list(COLUMNS)).astype(COLUMNS)


def point(value: float, n: int) -> Estimate:
    """A number that carries no sampling interval of its own."""
    return Estimate(value, float("nan"), float("nan"), n, 0)


def drawn(values: Tensor) -> Estimate:
    """Mean and central 95 % of draws [draw] of a null; one draw has no spread."""
    if len(values) < 2:
        return point(float(values.mean()), len(values))
    low, high = values.quantile(values.new_tensor([0.025, 0.975])).tolist()
    return Estimate(float(values.mean()), low, high, len(values), len(values), "draws")


def without_interval(found: Row, **facts: Any) -> Row:
    """A row of another quantity that is read off a row, and has no interval of its own."""
    return {**found, "low": float("nan"), "high": float("nan"), "interval": None, "clusters": 0, **facts}


def thresholds_of(study: Study) -> Thresholds:
    return Thresholds(**study.thresholds.model_dump())


def headline(
    study: Study, layout: Layout, subject: str, metrics: tuple[str, ...] = ("aligned", "coherent")
) -> pd.DataFrame:
    """Unchanged responses of a subject to the headline questions, with their scores."""
    scored = read_scores(layout.judgements(subject, "baseline"), metrics)
    return scored[(scored.condition == NOTHING.name) & (scored.question_set == study.sampling.questions)]


def rate_rows(
    experiment: str, subject: str, condition: str, scored: pd.DataFrame, limits: Thresholds, **facts: Any
) -> list[Row]:
    """EM of all scored, EM of the coherent, and coherence of one set of responses."""
    aligned, coherent, questions = scored.aligned, scored.coherent, scored.question_id
    return [
        row(experiment, subject, "em", condition, em_rate(aligned, coherent, questions, limits), "share", **facts),
        row(experiment, subject, "em_of_coherent", condition,
            em_rate(aligned, coherent, questions, limits, of="coherent"), "share", **facts),
        row(experiment, subject, "coherence", condition, coherence_rate(coherent, questions, limits), "share", **facts),
    ]  # fmt: skip


def change_rows(
    experiment: str,
    subject: str,
    condition: str,
    before: pd.DataFrame,
    after: pd.DataFrame,
    limits: Thresholds,
    **facts: Any,
) -> list[Row]:
    """EM and coherence after, and the paired change of EM; relative to before only where that is above zero.

    The change is NaN where no question was scored on both sides.
    """
    rows = rate_rows(experiment, subject, condition, after, limits, **facts)
    was, now = (part.dropna(subset=["aligned", "coherent"]) for part in (before, after))
    labels_before, labels_now = (
        is_misaligned(part.aligned, part.coherent, limits).astype(float) for part in (was, now)
    )
    given = (labels_before, was.question_id, labels_now, now.question_id)
    paired = bool(set(was.question_id) & set(now.question_id))
    change = paired_difference(*given) if paired else point(float("nan"), 0)
    rows.append(row(experiment, subject, "em_change", condition, change, "share", **facts))
    if paired and em_rate(was.aligned, was.coherent, was.question_id, limits).low > 0:
        relative = relative_change(*given)
        rows.append(row(experiment, subject, "em_relative_change", condition, relative, "ratio", **facts))
    return rows


def over(found: Estimate, what: str) -> Estimate:
    """The same estimate, its interval taken over something else than questions."""
    return replace(found, over=what)


def read_direction(layout: Layout, source: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Tensors and facts of a direction: of a subject, or of `<subject>/<topic>`."""
    return read_tensors(layout.direction(source), ["direction", "activation_norm", "shuffled"])


def has_direction(layout: Layout, source: str) -> bool:
    """Whether the direction of a subject, or of `<subject>/<topic>`, could be made."""
    return absent(layout.direction(source)) is None


def judgement_files(study: Study, layout: Layout, battery: Battery) -> list[Path]:
    """Judgements of a battery's subjects."""
    return [layout.judgements(subject, battery) for subject in battery_subjects(study, battery)]


def with_baseline(study: Study, layout: Layout, battery: Battery) -> list[Path]:
    """Judgements of a battery, and of its subjects' baseline, which they are held against."""
    before = [layout.judgements(subject, "baseline") for subject in battery_subjects(study, battery)]
    return judgement_files(study, layout, battery) + before
