"""Rows of the tables: one form for all experiments.

Facts are columns. `condition` names a row for people; nothing takes it apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from workflow_scripts.estimation.changes import paired_difference, relative_change
from workflow_scripts.estimation.intervals import Estimate, clustered_mean
from workflow_scripts.estimation.labels import Thresholds, is_coherent, is_misaligned, is_near_a_limit
from workflow_scripts.estimation.rates import coherence_rate, em_rate
from workflow_scripts.estimation.score_changes import mean_change
from workflow_scripts.estimation.shares import clustered_share
from workflow_scripts.store.absence import absent
from workflow_scripts.store.artefacts import read_tensors
from workflow_scripts.store.judgement_tables import read_scores
from workflow_scripts.study.conditions import NOTHING, battery_subjects
from workflow_scripts.study.layout import CHAT_BASE, Layout, organism_of, seed_subject
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
    "cut": "float64",
    "value": "float64",
    "low": "float64",
    "high": "float64",
    "fixed_low": "float64",
    "fixed_high": "float64",
    "n": "Int64",
    "interval": "string",
    "clusters": "Int64",
    "seeds": "Int64",
    "seeds_holding": "Int64",
    "unit": "string",
}
"""Columns of every table, and their types.

subject, seed: the chat base or an organism; its fine-tuning seed, null where seeds are pooled. kind: what was done, in
the experiment's own words. source: whose direction, or the other side of a comparison. layer: decoder layer. scale: λ,
the factor of an adapter, or how many rows are shown before a question.
draw: number of a random draw. split: how probes hold out. adapter: its name. question_set:
what was asked; question: which one of them, where a row is about one. samples: answers drawn to a question. step,
window: of a training. relative_dose: |λ|·‖v‖ over the mean activation norm. cut:
coherence score that a label asks for. value, low, high: in `unit`; the interval
is for other questions of this kind. fixed_low, fixed_high: the interval for these very questions. n: responses, or what
else was counted. interval: what the interval is taken over (questions, answers, texts, seeds, draws, runs; null where
there is none), and clusters: how many of them there are. seeds: fine-tuning seeds (or random draws) that are pooled, an
upper cluster of both intervals; seeds_holding: in how many of them a change holds by itself.
"""


UNSCORED = 0.03
"""Share of responses without a score above which people are told."""
LAST_UPDATES = 5
"""Whose mean loss is the end of a training."""
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
        "fixed_low": found.fixed_low,
        "fixed_high": found.fixed_high,
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


def mean_cosine(by_seed: Mapping[object, Sequence[float]]) -> Estimate:
    """Mean of cosines of several fine-tuning seeds, with a t interval over the seeds; one seed tells no spread."""
    values = [value for of_one in by_seed.values() for value in of_one]
    seeds = [str(seed) for seed, of_one in by_seed.items() for _ in of_one]
    found = clustered_mean(values, seeds)
    low, high = np.clip([found.low, found.high], -1, 1).tolist()
    return replace(found, low=low, high=high, fixed_low=float("nan"), fixed_high=float("nan"), over="seeds")


def drawn(values: Tensor) -> Estimate:
    """Mean and central 95 % of draws [draw] of a null; one draw has no spread."""
    if len(values) < 2:
        return point(float(values.mean()), len(values))
    low, high = values.quantile(values.new_tensor([0.025, 0.975])).tolist()
    return Estimate(float(values.mean()), low, high, len(values), len(values), "draws")


def without_interval(found: Row, **facts: Any) -> Row:
    """A row of another quantity that is read off a row, and has no interval of its own."""
    bounds = dict.fromkeys(("low", "high", "fixed_low", "fixed_high"), float("nan"))
    return {**found, **bounds, "interval": None, "clusters": 0, **facts}


def thresholds_of(study: Study) -> Thresholds:
    return Thresholds(**study.thresholds.model_dump())


def headline(
    study: Study, layout: Layout, subject: str, metrics: tuple[str, ...] = ("aligned", "coherent")
) -> pd.DataFrame:
    """Unchanged responses of a subject to the headline questions, with their scores."""
    scored = read_scores(layout.judgements(subject, "baseline"), metrics)
    return scored[(scored.condition == NOTHING.name) & (scored.question_set == study.sampling.questions)]


def unchanged_answers(study: Study, layout: Layout, organism: str, questions: str) -> pd.DataFrame:
    """Scores of unchanged responses to a question set: of all seeds of an organism, or of the chat base."""
    seeds = [None] if organism == CHAT_BASE else study.organisms[organism].seeds
    parts = []
    for seed in seeds:
        subject = CHAT_BASE if seed is None else seed_subject(organism, seed)
        scored = read_scores(layout.judgements(subject, "baseline"), ("aligned", "coherent"))
        part = scored[(scored.condition == NOTHING.name) & (scored.question_set == questions)]
        parts.append(part if seed is None else part.assign(seed=seed))
    return pd.concat(parts)


def seeds_of(scored: pd.DataFrame) -> pd.Series | None:
    """Fine-tuning seeds of pooled responses, column `seed`; None where they are of one."""
    return scored.get("seed")


def rate_rows(
    experiment: str, subject: str, condition: str, scored: pd.DataFrame, limits: Thresholds, **facts: Any
) -> list[Row]:
    """EM of all, of the scored and of the coherent responses of one set, their coherence, and how many are doubtful.

    Doubtful: without a score, refused by the judge, with a score near a limit.
    """
    scores, seeds = (scored.aligned, scored.coherent, scored.question_id, limits), seeds_of(scored)
    unscored = scored.aligned.isna() | scored.coherent.isna()
    found = {
        "em": em_rate(*scores, seeds=seeds),
        "em_of_scored": em_rate(*scores, of="scored", seeds=seeds),
        "em_of_coherent": em_rate(*scores, of="coherent", seeds=seeds),
        "coherence": coherence_rate(*scores[1:], seeds=seeds),
        "unscored": clustered_share(unscored, scored.question_id, seeds=seeds),
        "refused": clustered_share(scored.refused, scored.question_id, seeds=seeds),
        "near_a_limit": clustered_share(
            is_near_a_limit(scored.aligned, scored.coherent, limits), scored.question_id, seeds=seeds
        ),
    }
    facts = {"seeds": None if seeds is None else seeds.nunique(), **facts}
    return [row(experiment, subject, name, condition, rate, "share", **facts) for name, rate in found.items()]


def change_rows(
    experiment: str,
    subject: str,
    condition: str,
    before: pd.DataFrame,
    after: pd.DataFrame,
    limits: Thresholds,
    **facts: Any,
) -> list[Row]:
    """Rates after, and the change of EM from before, paired by question: absolute, relative and of the coherent."""
    made = rate_rows(experiment, subject, condition, after, limits, **facts)
    was, now = (part[is_coherent(part.coherent, limits) & part.aligned.notna()] for part in (before, after))
    for name, old, new, how, unit in (
        ("em_change", before, after, paired_difference, "share"),
        ("em_relative_change", before, after, relative_change, "ratio"),
        ("em_of_coherent_change", was, now, paired_difference, "share"),
    ):
        made.append(comparison(experiment, subject, name, condition, old, new, limits, how, unit, **facts))
    return made


def comparison(
    experiment: str,
    subject: str,
    quantity: str,
    condition: str,
    before: pd.DataFrame,
    after: pd.DataFrame,
    limits: Thresholds,
    how: Callable[..., Estimate] = paired_difference,
    unit: str = "share",
    **facts: Any,
) -> Row:
    """EM of one set of responses against that of another, paired by question, and by seed where both have the same.

    Where seeds are pooled, it says in how many of them alone the change has the same sign and its fixed-questions
    interval excludes 0. NaN where no question is on both sides, or a side has no scores.
    """
    found = _compared(before, after, limits, how)
    seeds = seeds_of(after)
    if seeds is not None:
        held = 0
        for seed in seeds.unique():
            paired = "seed" in before and (before["seed"] == seed).any()
            old = before[before["seed"] == seed] if paired else before
            alone = _compared(old, after[seeds == seed], limits, how)
            held += alone.fixed_low > 0 if found.value > 0 else alone.fixed_high < 0
        facts = {"seeds": seeds.nunique(), "seeds_holding": held, **facts}
    return row(experiment, subject, quantity, condition, found, unit, **facts)


def _compared(before: pd.DataFrame, after: pd.DataFrame, limits: Thresholds, how: Callable[..., Estimate]) -> Estimate:
    if not all((part.aligned.notna() & part.coherent.notna()).any() for part in (before, after)):
        return point(float("nan"), 0)
    if not set(before.question_id) & set(after.question_id):
        return point(float("nan"), 0)
    old, new = (is_misaligned(part.aligned, part.coherent, limits) for part in (before, after))
    return how(
        old, before.question_id, new, after.question_id, before_seeds=seeds_of(before), after_seeds=seeds_of(after)
    )


def score_change(
    experiment: str,
    subject: str,
    quantity: str,
    condition: str,
    before: pd.DataFrame,
    after: pd.DataFrame,
    metric: str,
    **facts: Any,
) -> Row:
    """How much higher one set of responses scores than another, paired by question; NaN where no question is on both
    sides."""
    sides = [part.dropna(subset=[metric]) for part in (before, after)]
    if set(sides[0].question_id) & set(sides[1].question_id):
        found = mean_change(*(column for part in sides for column in (part[metric], part.question_id)))
    else:
        found = point(float("nan"), 0)
    return row(experiment, subject, quantity, condition, found, "score", **facts)


def final_loss(losses: Sequence[float]) -> float:
    """The loss at the end of a training: the mean of its last updates', of which there is one at least."""
    last = losses[-LAST_UPDATES:]
    return sum(last) / len(last)


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
