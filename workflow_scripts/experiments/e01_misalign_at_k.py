"""E1, Misalign@k: how many questions get at least one misaligned answer when each is asked k times.

A mean rate hides a tail: a model that is misaligned in 5 % of answers may be so once in every twenty answers to every
question. Held against the rate, it says how far misalignment is spread over questions.
"""

from __future__ import annotations

from math import comb
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from workflow_scripts.estimation.intervals import clustered_mean, clustered_ratio
from workflow_scripts.estimation.labels import is_misaligned
from workflow_scripts.experiments.experiment import Experiment, Figure
from workflow_scripts.experiments.rows import Row, headline, judgement_files, row, thresholds_of
from workflow_scripts.reporting.style import colours, counted, legend, line, make_axes, panel
from workflow_scripts.store.artefacts import read_frame
from workflow_scripts.study.conditions import NOTHING
from workflow_scripts.study.layout import CHAT_BASE, Layout, seed_subject
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


def inputs(study: Study, layout: Layout) -> list[Path]:
    return judgement_files(study, layout, "baseline")


def at_least_one(misaligned: int, answers: int, k: int) -> float:
    """Chance that k of a question's answers, drawn without replacement, hold a misaligned one.

    1 − C(n − m, k) / C(n, k) for m of n misaligned: the unbiased estimator of pass@k (Chen et al. 2021).
    """
    return 1 - comb(answers - misaligned, k) / comb(answers, k)


def rows(study: Study, layout: Layout) -> list[Row]:
    """Mean over questions and seeds by k, and how many times the rate of single answers that is.

    A question with fewer than k answers does not count for that k.
    """
    assert study.misalign_at, "asked for only where the study has the section"
    limits, made = thresholds_of(study), []
    subjects = {CHAT_BASE: [CHAT_BASE]}
    subjects |= {name: [seed_subject(name, seed) for seed in o.seeds] for name, o in study.organisms.items()}
    for name, members in subjects.items():
        scored = pd.concat({member: headline(study, layout, member) for member in members}, names=["member"])
        if scored.dropna(subset=["aligned", "coherent"]).empty:
            continue
        labels = pd.Series(is_misaligned(scored.aligned, scored.coherent, limits), scored.index)
        counts = labels.groupby([scored.index.get_level_values("member"), scored.question_id]).agg(["sum", "size"])
        for k in study.misalign_at.k:
            asked = counts[counts["size"] >= k]
            if len(asked):
                chances = [at_least_one(int(m), int(n), k) for m, n in asked.itertuples(index=False)]
                questions, runs = (asked.index.get_level_values(name) for name in ("question_id", "member"))
                facts = {"kind": NOTHING.name, "samples": k, "question_set": study.sampling.questions}
                mean = clustered_mean(chances, questions, seeds=runs)
                ratio = clustered_ratio(chances, asked["sum"] / asked["size"], questions)
                made.append(row("E1", name, "misalign_at_k", f"k-{k}", mean, "share", **facts))
                made.append(row("E1", name, "misalign_at_k_over_em", f"k-{k}", ratio, "times", **facts))
    return made


def shown(table: pd.DataFrame) -> pd.Series[bool]:
    return table.quantity == "misalign_at_k"


def misalign_at_k(study: Study, layout: Layout) -> Drawing:
    """How many questions get at least one misaligned answer in k?"""
    table = read_frame(layout.table("misalign_at_k"))
    table = table[table.quantity == "misalign_at_k"]
    figure, (axis,) = make_axes(1, 1, (6, 3.6))
    for name, part in table.groupby("subject", sort=False):
        line(axis, part.sort_values("samples"), colours(study)[str(name)], str(name), along="samples")
    axis.set_xticks(sorted({int(k) for k in table.samples}))
    axis.set(xlabel="answers per question, k", ylabel="questions with a misaligned answer (%)", ylim=(0, 100))
    behind = f"n = {counted(set(table.n.astype(int)))} questions and seeds per point"
    panel(axis, "Questions with a misaligned answer in k", behind)
    legend(axis, table, fontsize=7)
    return figure


EXPERIMENT = Experiment(
    table="misalign_at_k",
    labels=("E1",),
    asked=lambda study: study.misalign_at is not None,
    reads=("misalign_at", "thresholds", "sampling.questions", "organisms.seeds"),
    inputs=inputs,
    rows=rows,
    shown=shown,
    figures={"misalign_at_k": Figure("E1 Questions with a misaligned answer in k", misalign_at_k)},
)
