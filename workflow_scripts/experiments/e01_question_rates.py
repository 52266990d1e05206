"""E1, question by question: which questions carry the misalignment.

Three or four of the paper's eight questions carry nearly all of it, which is why every interval clusters by question.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from workflow_scripts.estimation.intervals import Estimate
from workflow_scripts.estimation.labels import is_misaligned
from workflow_scripts.experiments.experiment import Experiment, Figure, always
from workflow_scripts.experiments.rows import Row, headline, judgement_files, point, row, thresholds_of
from workflow_scripts.reporting.style import counted, make_axes, nothing_to_show, panel
from workflow_scripts.store.artefacts import read_frame
from workflow_scripts.study.conditions import NOTHING
from workflow_scripts.study.layout import CHAT_BASE, Layout, seed_subject
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

SHOWN = 24
"""Questions in the figure, those with most misalignment first."""


def inputs(study: Study, layout: Layout) -> list[Path]:
    return judgement_files(study, layout, "baseline")


def share_of_answers(misaligned: int, answers: int) -> Estimate:
    """Share of one question's answers with Wilson's 95 % interval (1927), each answer by itself."""
    from scipy.stats import binomtest

    bounds = binomtest(misaligned, answers).proportion_ci(method="wilson")
    return Estimate(misaligned / answers, bounds.low, bounds.high, answers, answers, "answers")


def rows(study: Study, layout: Layout) -> list[Row]:
    """EM by question, seeds pooled, with an interval over its answers; and how few questions hold half of it.

    `questions_with_half` is the least number of questions that hold at least half of the misaligned answers.
    """
    limits, made = thresholds_of(study), []
    subjects = {CHAT_BASE: [CHAT_BASE]}
    subjects |= {name: [seed_subject(name, seed) for seed in o.seeds] for name, o in study.organisms.items()}
    for name, members in subjects.items():
        scored = pd.concat([headline(study, layout, member) for member in members])
        if scored.dropna(subset=["aligned", "coherent"]).empty:
            continue
        labels = pd.Series(is_misaligned(scored.aligned, scored.coherent, limits), scored.index)
        counts = labels.groupby(scored.question_id, sort=False).agg(["sum", "size"])
        facts = {"kind": NOTHING.name, "question_set": study.sampling.questions}
        for question, (bad, answers) in zip(counts.index, counts.itertuples(index=False), strict=True):
            found = share_of_answers(int(bad), int(answers))
            made.append(row("E1", name, "em_of_question", question, found, "share", question=question, **facts))
        total = int(counts["sum"].sum())
        if total:
            held = counts["sum"].sort_values(ascending=False).cumsum()
            few = point(float((held < total / 2).sum() + 1), total)
            made.append(row("E1", name, "questions_with_half", NOTHING.name, few, "count", **facts))
    return made


def shown(table: pd.DataFrame) -> pd.Series[bool]:
    return table.quantity == "questions_with_half"


def em_by_question(study: Study, layout: Layout) -> Drawing:
    """Which questions carry the misalignment, and are they the same in every organism?"""
    table = read_frame(layout.table("question_rates"))
    table = table[table.quantity == "em_of_question"]
    cells = table.pivot(index="question", columns="subject", values="value")
    names = [name for name in [CHAT_BASE, *study.organisms] if name in cells.columns]
    order = cells.mean(axis=1).sort_values(ascending=False, kind="stable").index[:SHOWN]
    values = 100 * cells.loc[order, names].astype(float)
    figure, (axis,) = make_axes(1, 1, (2.5 + 0.9 * len(names), 1.6 + 0.24 * len(order)))
    if not names:
        nothing_to_show(axis)
        return figure
    shades = axis.imshow(values, cmap="Reds", vmin=0, vmax=100, aspect="auto")
    for y, x in product(range(len(order)), range(len(names))):
        value = values.iat[y, x]
        if not pd.isna(value):
            shade = "white" if value > 55 else "black"
            axis.text(x, y, f"{value:.0f}", ha="center", va="center", fontsize=6, color=shade)
    axis.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=7)
    axis.set_yticks(range(len(order)), order, fontsize=6)
    axis.grid(False)
    left = f"the {len(order)} of {len(cells)} questions with most; " if len(cells) > len(order) else ""
    panel(axis, "Misaligned answers by question", f"{left}n = {counted(set(table.n.astype(int)))} answers per cell")
    figure.colorbar(shades, ax=axis, shrink=0.6, label="misaligned (%)")
    return figure


EXPERIMENT = Experiment(
    table="question_rates",
    labels=("E1",),
    asked=always,
    reads=("thresholds", "sampling.questions", "organisms.seeds"),
    inputs=inputs,
    rows=rows,
    shown=shown,
    figures={"em_by_question": Figure("E1 Misalignment by question", em_by_question)},
)
