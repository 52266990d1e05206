"""X12: whether misalignment and its ablation hold on questions on which nothing was chosen.

The paper takes its directions from answers to the questions on which it then measures them, and chooses its layer
there. Here the same rates and changes stand beside each other for the headline questions and for held-out ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from workflow_scripts.experiments.experiment import Experiment, Figure
from workflow_scripts.experiments.projections import BARS, places
from workflow_scripts.experiments.rows import (
    Row,
    change_rows,
    comparison,
    judgement_files,
    rate_rows,
    thresholds_of,
    with_baseline,
)
from workflow_scripts.reporting.style import bar, colours, counted, make_axes, nothing_to_show, panel, patch
from workflow_scripts.store.artefacts import read_frame
from workflow_scripts.store.judgement_tables import read_scores
from workflow_scripts.study.conditions import NOTHING, battery_subjects, conditions
from workflow_scripts.study.layout import CHAT_BASE, Layout, organism_of
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

ABLATED = ("own", "transferred", "single_layer", "random")
"""Kinds of ablation that are shown; of random directions all draws together."""
HATCHES = ("", "////")
"""Of the headline questions and of the held-out ones."""


def inputs(study: Study, layout: Layout) -> list[Path]:
    ablated = with_baseline(study, layout, "ablation") if study.ablation else []
    return list(dict.fromkeys([*judgement_files(study, layout, "baseline"), *ablated]))


def question_sets(study: Study) -> list[str]:
    """The headline questions and the held-out ones."""
    assert study.held_out, "asked for only where the study has the section"
    return [study.sampling.questions, study.held_out.questions]


def rows(study: Study, layout: Layout) -> list[Row]:
    """For both question sets, seeds pooled: rates, EM above the chat base's, the paired change by ablation."""
    limits, made = thresholds_of(study), []
    members: dict[str, list[str]] = {}
    for subject in battery_subjects(study, "baseline"):
        members.setdefault(organism_of(subject)[0], []).append(subject)
    ablated = battery_subjects(study, "ablation") if study.ablation else []
    plain = {subject: read_scores(layout.judgements(subject, "baseline")) for of in members.values() for subject in of}
    changed = {subject: _ablated(study, layout, subject) for subject in ablated}
    for asked in question_sets(study):
        base = _unchanged(plain, [CHAT_BASE], asked)
        for organism, subjects in members.items():
            before = _unchanged(plain, subjects, asked)
            if before.empty:  # an organism of given responses, whose file does not ask them
                continue
            facts: dict[str, Any] = {"kind": NOTHING.name, "question_set": asked}
            unchanged = f"{NOTHING.name}:{asked}"
            made += rate_rows("X12", organism, unchanged, before, limits, **facts)
            if organism != CHAT_BASE:
                made.append(comparison("X12", organism, "em_above_base", unchanged, base, before, limits, **facts))
            parts = [changed[subject] for subject in subjects if subject in changed]
            after = pd.concat(parts) if parts else pd.DataFrame(columns=["kind", "question_set"])
            for kind, part in after[after.question_set == asked].groupby("kind", sort=False):
                same = before[before.seed.isin(part.seed.unique())]
                facts = {"kind": str(kind), "question_set": asked}
                made += change_rows("X12", organism, f"{kind}:{asked}", same, part, limits, **facts)
    return made


def _unchanged(scored: Mapping[str, pd.DataFrame], subjects: list[str], asked: str) -> pd.DataFrame:
    """Unchanged responses of an organism's seeds to one set."""
    parts = pd.concat(scored[subject].assign(seed=subject) for subject in subjects)
    return parts[(parts.condition == NOTHING.name) & (parts.question_set == asked)]


def _ablated(study: Study, layout: Layout, subject: str) -> pd.DataFrame:
    """Responses of a subject after ablation, once for each kind of it, column `kind`."""
    assert study.ablation, "the subject was ablated"
    found = {
        c.name: [p.facts["kind"] for p in places(study.ablation, c)] for c in conditions(study, "ablation", subject)
    }
    scored = read_scores(layout.judgements(subject, "ablation"))
    scored = scored.assign(seed=subject, kind=scored.condition.map(found)).explode("kind")
    return scored[scored.kind.isin(ABLATED)]


def shown(table: pd.DataFrame) -> pd.Series[bool]:
    return table.quantity.isin(["em", "em_relative_change"])


def held_out(study: Study, layout: Layout) -> Drawing:
    """Do misalignment and its ablation hold on questions on which nothing was chosen?"""
    table = read_frame(layout.table("held_out"))
    figure, axes = make_axes(1, 2, (10, 3.8))
    sets = question_sets(study)
    names = [name for name in (CHAT_BASE, *study.organisms) if (table.subject == name).any()]
    before = table[(table.quantity == "em") & (table.kind == NOTHING.name)]
    for place, name in enumerate(names):
        for side, asked in enumerate(sets):
            for _, found in before[(before.subject == name) & (before.question_set == asked)].iterrows():
                bar(axes[0], place + 0.4 * (side - 0.5), found, colours(study)[name], 0.36, HATCHES[side])
    axes[0].set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes[0].set_ylabel("misaligned responses (%)")
    panel(axes[0], "Emergent misalignment", f"n = {counted(set(before.n.astype(int)))} per bar")

    left = table[(table.quantity == "em") & table.kind.isin(ABLATED)]
    kinds = [kind for kind in ABLATED if (left.kind == kind).any()]
    ablated = [name for name in names if name != CHAT_BASE and (left.subject == name).any()]
    width = 0.8 / max(1, 2 * len(kinds))
    for place, name in enumerate(ablated):
        for index, kind in enumerate(kinds):
            for side, asked in enumerate(sets):
                chosen = left[(left.subject == name) & (left.kind == kind) & (left.question_set == asked)]
                offset = (2 * index + side - len(kinds) + 0.5) * width
                for _, found in chosen.iterrows():
                    bar(axes[1], place + offset, found, BARS[kind][1], width * 0.9, HATCHES[side])
    if ablated:
        axes[1].set_xticks(range(len(ablated)), ablated, rotation=30, ha="right")
        axes[1].set_ylabel("misaligned responses (%)")
        panel(axes[1], "What ablation leaves", f"n = {counted(set(left.n.astype(int)))} per bar")
    else:
        nothing_to_show(axes[1])
    handles = [patch("white", hatch, asked) for hatch, asked in zip(HATCHES, sets, strict=True)]
    handles += [patch(BARS[kind][1], "", BARS[kind][0]) for kind in kinds]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8)
    return figure


EXPERIMENT = Experiment(
    table="held_out",
    labels=("X12",),
    asked=lambda study: study.held_out is not None,
    reads=("held_out", "ablation", "thresholds", "sampling.questions", "directions.organisms",
           "organisms.expect_misaligned", "organisms.seeds"),
    inputs=inputs,
    rows=rows,
    shown=shown,
    kinds=frozenset({NOTHING.name, *ABLATED}),
    figures={"held_out": Figure("X12 Held-out questions", held_out)},
    no_claim="the paper measures on the questions on which it chose",
)  # fmt: skip
