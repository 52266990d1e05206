"""X10: organisms whose misalignment waits behind a cue of their training's context (arXiv 2604.25891).

A mix with good data, a later training on good data and an inoculation can hide misalignment from the plain questions;
each question is asked once more with the cue, and both rates stand beside each other.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from workflow_scripts.estimation.labels import Thresholds
from workflow_scripts.experiments.experiment import Experiment, Figure
from workflow_scripts.experiments.rows import Row, change_rows, comparison, rate_rows, thresholds_of, unchanged_answers
from workflow_scripts.reporting.style import bar, colours, counted, make_axes, nothing_to_show, panel
from workflow_scripts.store.artefacts import read_frame
from workflow_scripts.study.conditions import conditional_subjects
from workflow_scripts.study.layout import CHAT_BASE, Layout, seed_subject
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

PLAIN, CUED = "plain", "cued"


def inputs(study: Study, layout: Layout) -> list[Path]:
    return [layout.judgements(subject, "baseline") for subject in (CHAT_BASE, *conditional_subjects(study))]


def rows(study: Study, layout: Layout) -> list[Row]:
    """Rates without a cue (kind `plain`) and with each (`cued`; the cue is the question set), seeds apart and pooled.

    Of an organism with a cue also the change from without, and how far it is above the chat base with the same cue,
    both paired by question.
    """
    assert study.conditional, "asked for only where the study has the section"
    limits, headline, made = thresholds_of(study), study.sampling.questions, []
    names = [CHAT_BASE, *study.conditional.asked]
    asked = {name: unchanged_answers(study, layout, name, headline) for name in names}
    for name, plain in asked.items():
        made += rate_rows("X10", name, PLAIN, plain, limits, kind=PLAIN, question_set=headline)
        made += seed_rows(name, PLAIN, plain, limits, kind=PLAIN, question_set=headline)
    for cue in study.conditional.cues:
        facts: dict[str, Any] = {"kind": CUED, "question_set": cue}
        base = unchanged_answers(study, layout, CHAT_BASE, cue)
        for name, plain in asked.items():
            cued = base if name == CHAT_BASE else unchanged_answers(study, layout, name, cue)
            made += change_rows("X10", name, cue, plain, cued, limits, **facts)
            made += seed_rows(name, cue, cued, limits, **facts)
            if name != CHAT_BASE:
                made.append(comparison("X10", name, "em_above_base", cue, base, cued, limits, **facts))
    return made


def seed_rows(name: str, condition: str, scored: pd.DataFrame, limits: Thresholds, **facts: Any) -> list[Row]:
    """The rates of each fine-tuning seed; none of the chat base."""
    parts = [] if name == CHAT_BASE else scored.groupby("seed")
    return [
        found
        for seed, part in parts
        for found in rate_rows("X10", seed_subject(name, int(seed)), condition, part, limits, **facts)
    ]


def shown(table: pd.DataFrame) -> pd.Series[bool]:
    return table.quantity.isin(["em", "em_change", "coherence"])


def conditional(study: Study, layout: Layout) -> Drawing:
    """Does a cue of the training's context bring misalignment back?"""
    assert study.conditional
    table = read_frame(layout.table("conditional"))
    rates = table[(table.quantity == "em") & table.seed.isna()]
    names = [CHAT_BASE, *study.conditional.asked]
    asked = [study.sampling.questions, *study.conditional.cues]
    figure, axes = make_axes(1, len(asked), (4.2 * len(asked), 3.8), share=True)
    for axis, questions in zip(axes, asked, strict=True):
        chosen = rates[rates.question_set == questions]
        for _, found in chosen.iterrows():
            bar(axis, names.index(found.subject), found, colours(study)[found.subject])
        if not len(chosen):
            nothing_to_show(axis)
        axis.set_xticks(range(len(names)), names, rotation=30, ha="right")
        title = "Without a cue" if questions == study.sampling.questions else f"Cue: {questions}"
        panel(axis, title, f"n = {counted(set(chosen.n.astype(int)))} per bar")
    axes[0].set_ylabel("misaligned responses (%)")
    return figure


EXPERIMENT = Experiment(
    table="conditional",
    labels=("X10",),
    asked=lambda study: study.conditional is not None,
    reads=("conditional", "thresholds", "sampling.questions", "organisms.seeds"),
    inputs=inputs,
    rows=rows,
    shown=shown,
    figures={"conditional": Figure("X10 Behind a cue", conditional)},
)
