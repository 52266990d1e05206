"""X3: what each judge of a panel makes of the same responses, and how far they agree."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from workflow_scripts.estimation.agreement import judges_compared
from workflow_scripts.experiments.experiment import Experiment, Figure
from workflow_scripts.experiments.rows import Row, headline, judgement_files, rate_rows, row, thresholds_of
from workflow_scripts.reporting.style import PALETTE, counted, interval, legend, make_axes, nothing_to_show, panel
from workflow_scripts.store.artefacts import read_frame
from workflow_scripts.store.judgement_tables import KEYS
from workflow_scripts.study.conditions import NOTHING
from workflow_scripts.study.layout import CHAT_BASE, PRIMARY, Layout, seed_subject
from workflow_scripts.study.panel import judge_names
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

ALL = "all"
"""Subject of the rows that pool the chat base and all organisms."""
METRICS = ("aligned", "coherent")
AGREEMENT = ("rank_correlation", "mean_difference", "labels_differ", "kappa", "em_rate_difference")
"""Differences are a further judge's minus the first's."""
RATES = ("em", "em_of_scored", "em_of_coherent", "coherence", "unscored", "refused")


def inputs(study: Study, layout: Layout) -> list[Path]:
    return [path for name in judge_names(study) for path in judgement_files(study, layout.read_by(name), "baseline")]


def answers(study: Study, layout: Layout) -> dict[str, pd.DataFrame]:
    """Unchanged responses to the headline questions by subject, seeds pooled, with one judge's scores."""
    subjects = {CHAT_BASE: headline(study, layout, CHAT_BASE)}
    for organism, settings in study.organisms.items():
        parts = [headline(study, layout, seed_subject(organism, seed)).assign(seed=seed) for seed in settings.seeds]
        subjects[organism] = pd.concat(parts, ignore_index=True)
    return subjects


def rows(study: Study, layout: Layout) -> list[Row]:
    """Rates by each judge, and the agreement of every further judge with the first, paired by response."""
    facts: dict[str, Any] = {"kind": NOTHING.name, "question_set": study.sampling.questions}
    limits, made, scored = thresholds_of(study), list[Row](), {}
    for name in judge_names(study):
        scored[name] = answers(study, layout.read_by(name))
        for subject, given in scored[name].items():
            rates = rate_rows("X3", subject, name, given, limits, **facts, source=name)
            made += [found for found in rates if found["quantity"] in RATES]
    for name in study.judges:
        of = {**facts, "source": name}
        for subject, by_it, by_first in paired(scored[name], scored[PRIMARY]):
            it, first = ({metric: part[metric] for metric in METRICS} for part in (by_it, by_first))
            for told in judges_compared(it, first, by_it.question_id, limits):
                if told.quantity in AGREEMENT:
                    quantity = f"{told.quantity}_{told.of}"
                    made.append(row("X3", subject, quantity, name, told.found, told.unit, **of))
    return made


def paired(
    by_it: dict[str, pd.DataFrame], by_first: dict[str, pd.DataFrame]
) -> list[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """Subject, and its responses as both judges scored them, in one order; first of all subjects together."""
    found = []
    for subject, first in by_first.items():
        keys = [*KEYS, "seed"] if "seed" in first else KEYS
        both = first[keys].merge(by_it[subject], on=keys, validate="one_to_one")
        found.append((subject, both, both[keys].merge(first, on=keys, validate="one_to_one")))
    whole = [pd.concat([part[place] for part in found], ignore_index=True) for place in (1, 2)]
    return [(ALL, *whole), *found]


def shown(table: pd.DataFrame) -> pd.Series[bool]:
    return table.quantity.isin(["em", "kappa_em"])


def judges(study: Study, layout: Layout) -> Drawing:
    """Does every judge see the same misalignment?"""
    table = read_frame(layout.table("judges"))
    figure, (axis,) = make_axes(1, 1, (7, 3.6))
    rates = table[(table.quantity == "em") & table.seed.isna() & table.value.notna()]
    if rates.empty:
        panel(axis, "Misaligned responses by each judge")
        nothing_to_show(axis)
        return figure
    subjects, names = list(dict.fromkeys(rates.subject)), judge_names(study)
    for place, name in enumerate(names):
        colour = PALETTE[place % len(PALETTE)]
        part = rates[rates.source == name].set_index("subject")
        drawn = [(position, part.loc[subject]) for position, subject in enumerate(subjects) if subject in part.index]
        places = [position + 0.14 * (place - (len(names) - 1) / 2) for position, _ in drawn]
        if drawn:
            axis.plot(places, [100 * found.value for _, found in drawn], "o", ms=5, color=colour, label=name)
        for at, (_, found) in zip(places, drawn, strict=True):
            interval(axis, at, 100 * found.low, 100 * found.high, colour)
    axis.set_xticks(range(len(subjects)), subjects, rotation=30, ha="right")
    axis.set(ylabel="misaligned responses (%)")
    agreed = table[(table.quantity == "kappa_em") & (table.subject == ALL)]
    told = [f"{f.source} κ = {f.value:.2f} (n = {f.n})" for f in agreed.itertuples() if pd.notna(f.value)]
    behind = [
        f"n = {counted(set(rates.n.astype(int)))} per point",
        *([f"with {PRIMARY}: {', '.join(told)}"] if told else []),
    ]
    panel(axis, "Misaligned responses by each judge", "; ".join(behind))
    legend(axis, rates, fontsize=7)
    return figure


EXPERIMENT = Experiment(
    table="judges",
    labels=("X3",),
    asked=lambda study: bool(study.judges),
    reads=("judges.metrics", "thresholds", "sampling.questions", "organisms.seeds"),
    inputs=inputs,
    rows=rows,
    shown=shown,
    figures={"judges": Figure("X3 Misalignment by each judge", judges)},
    no_claim="it is about the judges; panel.json says which claims depend on them",
)
