"""X6: what keeps misalignment out while an organism is trained: inoculation, changes of the stream, KL, good data.

Inoculation: arXiv 2510.04340; adding a direction: 2507.21509; projecting one out: 2507.16795; a KL term and good data:
2602.07852; what waits behind the training's context: 2604.25891.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from workflow_scripts.estimation.intervals import clustered_mean
from workflow_scripts.experiments.experiment import Experiment, Figure
from workflow_scripts.experiments.rows import (
    Row,
    change_rows,
    comparison,
    final_loss,
    over,
    rate_rows,
    row,
    thresholds_of,
    unchanged_answers,
)
from workflow_scripts.reporting.style import bar, colours, counted, make_axes, nothing_to_show, panel
from workflow_scripts.store.artefacts import read_frame
from workflow_scripts.study.conditions import prevention_subjects
from workflow_scripts.study.layout import CHAT_BASE, Layout, seed_subject
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

OUTSIDE, INSIDE, PROMPTED = "outside", "inside", "prompted"
TITLES = {
    OUTSIDE: "Other domains: emergent misalignment",
    INSIDE: "The trained domain: is the task learnt?",
    PROMPTED: "Other domains, under the prompt",
}


def inputs(study: Study, layout: Layout) -> list[Path]:
    subjects = prevention_subjects(study)
    judged = [layout.judgements(subject, "baseline") for subject in (CHAT_BASE, *subjects)]
    return [*judged, *map(layout.training, subjects)]


def places(study: Study) -> dict[str, str]:
    """Question set by what it tells."""
    assert study.prevention
    asked = {OUTSIDE: study.sampling.questions, INSIDE: study.prevention.domain_questions}
    return asked | ({PROMPTED: study.prevention.prompted} if study.prevention.prompted else {})


def rows(study: Study, layout: Layout) -> list[Row]:
    """EM outside and inside the trained domain and under the inoculation's prompt (kind), seeds apart and pooled.

    Of each organism `em_above_base` too, paired by question: a prompt alone may misalign the chat base. Of one that was
    trained otherwise also the change from the plain one (`source`). `final_loss` is the mean of the last updates'
    losses over seeds, without a KL term, and under what the training had; `updates` how many there were. A published
    adapter, whose training is not known, has neither.
    """
    assert study.prevention, "asked for only where the study has the section"
    limits, plain, made = thresholds_of(study), study.prevention.plain, []
    names = [plain, *study.prevention.otherwise]
    for place, questions in places(study).items():
        facts: dict[str, Any] = {"kind": place, "question_set": questions}
        pooled = {name: unchanged_answers(study, layout, name, questions) for name in (CHAT_BASE, *names)}
        made += rate_rows("X6", CHAT_BASE, place, pooled[CHAT_BASE], limits, **facts)
        made += rate_rows("X6", plain, place, pooled[plain], limits, **facts)
        for name in study.prevention.otherwise:
            made += change_rows("X6", name, place, pooled[plain], pooled[name], limits, **facts, source=plain)
        for name in names:
            made.append(
                comparison("X6", name, "em_above_base", place, pooled[CHAT_BASE], pooled[name], limits, **facts)
            )
            for seed, part in pooled[name].groupby("seed"):
                made += rate_rows("X6", seed_subject(name, int(seed)), place, part, limits, **facts)
    for name in names:
        made += training_rows(study, layout, name)
    return made


def training_rows(study: Study, layout: Layout, organism: str) -> list[Row]:
    """How long an organism was trained, and to which loss."""
    tables = {seed: read_frame(layout.training(seed_subject(organism, seed)), ["step", "loss"])
              for seed in study.organisms[organism].seeds}  # fmt: skip
    ended = {seed: table for seed, table in tables.items() if len(table)}
    if not ended:
        return []
    quantities = {
        "final_loss": ([final_loss(table.loss.tolist()) for table in ended.values()], "nats"),
        "updates": ([float(table.step.max()) for table in ended.values()], "updates"),
    }
    return [
        row("X6", organism, quantity, "trained", over(clustered_mean(values, list(ended)), "seeds"), unit,
            kind="trained", seeds=len(ended))
        for quantity, (values, unit) in quantities.items()
    ]  # fmt: skip


def shown(table: pd.DataFrame) -> pd.Series[bool]:
    return table.quantity.isin(["em", "em_relative_change", "coherence", "final_loss"])


def prevention(study: Study, layout: Layout) -> Drawing:
    """Which way of training keeps emergent misalignment out, and is the task still learnt?"""
    assert study.prevention
    table = read_frame(layout.table("prevention"))
    rates = table[(table.quantity == "em") & table.seed.isna()]
    names = [CHAT_BASE, study.prevention.plain, *study.prevention.otherwise]
    asked = places(study)
    figure, axes = make_axes(1, len(asked), (4.2 * len(asked), 3.8))
    for axis, place in zip(axes, asked, strict=True):
        chosen = rates[rates.kind == place]
        for _, found in chosen.iterrows():
            bar(axis, names.index(found.subject), found, colours(study)[found.subject])
        if not len(chosen):
            nothing_to_show(axis)
        axis.set_xticks(range(len(names)), [called(study, name) for name in names], rotation=30, ha="right")
        panel(axis, TITLES[place], f"n = {counted(set(chosen.n.astype(int)))} per bar")
    axes[0].set_ylabel("misaligned responses (%)")
    return figure


def called(study: Study, name: str) -> str:
    """An organism with how it was trained."""
    return name if name == CHAT_BASE else f"{name}: {study.organisms[name].trained_by}"


EXPERIMENT = Experiment(
    table="prevention",
    labels=("X6",),
    asked=lambda study: study.prevention is not None,
    reads=("prevention", "thresholds", "sampling.questions", "organisms.seeds"),
    inputs=inputs,
    rows=rows,
    shown=shown,
    figures={"prevention": Figure("X6 Training that keeps misalignment out", prevention)},
)
