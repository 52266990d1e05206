"""X5: whether responses come to their end and how much they repeat themselves, under each condition.

A text that breaks holds no bad advice either. Where a change lowers misalignment, these say at what price.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from workflow_scripts.estimation.intervals import Estimate, clustered_mean
from workflow_scripts.estimation.repetition import repeated_trigrams
from workflow_scripts.estimation.shares import clustered_share
from workflow_scripts.experiments.experiment import Experiment, Figure
from workflow_scripts.experiments.rows import Row, row
from workflow_scripts.reporting.style import colours, counted, interval, legend, make_axes, panel
from workflow_scripts.store.artefacts import read_frame
from workflow_scripts.study.conditions import battery_subjects, conditions
from workflow_scripts.study.layout import CHAT_BASE, Layout, organism_of
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

COLUMNS = ["condition", "question_set", "question_id", "response", "finish_reason"]
FINISHED = "stop"


def inputs(study: Study, layout: Layout) -> list[Path]:
    assert study.texts
    return [
        layout.responses(subject, battery)
        for battery in study.texts.batteries
        for subject in battery_subjects(study, battery)
    ]


def responses(study: Study, layout: Layout) -> pd.DataFrame:
    """Responses to the headline questions with their organism, seed and kind of condition."""
    assert study.texts
    parts = []
    for battery in study.texts.batteries:
        for subject in battery_subjects(study, battery):
            kinds = {condition.name: condition.kind for condition in conditions(study, battery, subject)}
            table = read_frame(layout.responses(subject, battery), COLUMNS, only=True)
            organism, seed = organism_of(subject)
            parts.append(table.assign(organism=organism, seed=seed or 0, kind=table.condition.map(kinds)))
    whole = pd.concat(parts, ignore_index=True)
    return whole[whole.question_set == study.sampling.questions]


def rows(study: Study, layout: Layout) -> list[Row]:
    """By organism and kind of condition, seeds and draws pooled: the share that ended by itself, repeated trigrams."""
    whole = responses(study, layout)
    whole = whole.assign(repeated=whole.response.map(repeated_trigrams), finished=whole.finish_reason == FINISHED)
    made = []
    for (organism, kind), part in whole.groupby(["organism", "kind"], sort=False):
        facts = {"kind": kind, "question_set": study.sampling.questions, "seeds": part.seed.nunique()}
        finished = clustered_share(part.finished, part.question_id, seeds=part.seed)
        repeated = within_one(clustered_mean(part.repeated, part.question_id, seeds=part.seed))
        made.append(row("X5", str(organism), "finished", str(kind), finished, "share", **facts))
        made.append(row("X5", str(organism), "repeated_trigrams", str(kind), repeated, "share", **facts))
    return made


def within_one(found: Estimate) -> Estimate:
    """A mean of shares, its t intervals cut where no share can be."""
    low, high, fixed_low, fixed_high = np.clip(
        [found.low, found.high, found.fixed_low, found.fixed_high], 0, 1
    ).tolist()
    return replace(found, low=low, high=high, fixed_low=fixed_low, fixed_high=fixed_high)


def texts(study: Study, layout: Layout) -> Drawing:
    """Under which conditions do texts break?"""
    table = read_frame(layout.table("texts")).dropna(subset=["value"])
    figure, axes = make_axes(1, 2, (10, 3.6))
    kinds = list(dict.fromkeys(table.kind))
    names = [name for name in (CHAT_BASE, *study.organisms) if (table.subject == name).any()]
    for axis, quantity in zip(axes, ("finished", "repeated_trigrams"), strict=True):
        chosen = table[table.quantity == quantity].set_index(["subject", "kind"])
        for place, name in enumerate(names):
            drawn = [
                (position, chosen.loc[(name, kind)])
                for position, kind in enumerate(kinds)
                if (name, kind) in chosen.index
            ]
            places = [position + 0.1 * (place - (len(names) - 1) / 2) for position, _ in drawn]
            if drawn:
                axis.plot(
                    places, [100 * found.value for _, found in drawn], "o", ms=4, color=colours(study)[name], label=name
                )
            for at, (_, found) in zip(places, drawn, strict=True):
                interval(axis, at, 100 * found.low, 100 * found.high, colours(study)[name])
        axis.set_xticks(range(len(kinds)), kinds, rotation=30, ha="right")
        behind = f"n = {counted(set(table.n.astype(int)))} per point"
        panel(axis, "Finished responses" if quantity == "finished" else "Repetition within responses", behind)
        axis.set_ylabel(f"{'finished responses' if quantity == 'finished' else 'repeated word trigrams'} (%)")
    legend(axes[0], table, fontsize=7)
    return figure


EXPERIMENT = Experiment(
    table="texts",
    labels=("X5",),
    asked=lambda study: study.texts is not None,
    reads=("texts", "sampling.questions", "organisms.seeds"),
    inputs=inputs,
    rows=rows,
    shown=lambda table: table.quantity.isin(["finished", "repeated_trigrams"]),
    figures={"texts": Figure("X5 Finished responses and repetition", texts)},
    no_claim="the paper has no such number",
)
