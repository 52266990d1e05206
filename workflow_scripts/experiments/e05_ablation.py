"""E5: directions projected out, and the transfer matrix from every organism to every other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from workflow_scripts.estimation.labels import Thresholds
from workflow_scripts.experiments.experiment import Experiment, Figure
from workflow_scripts.experiments.projections import BARS, places
from workflow_scripts.experiments.rows import Row, change_rows, comparison, rate_rows, thresholds_of, with_baseline
from workflow_scripts.reporting.style import (
    bar,
    counted,
    make_axes,
    nothing_to_show,
    panel,
    paper_value,
    patch,
)
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import read_frame
from workflow_scripts.store.judgement_tables import read_scores
from workflow_scripts.study.conditions import NOTHING, battery_subjects, conditions, direction_organisms
from workflow_scripts.study.layout import CHAT_BASE, Layout, organism_of
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


def inputs(study: Study, layout: Layout) -> list[Path]:
    return with_baseline(study, layout, "ablation")


def lacks(study: Study) -> list[str]:
    """Organisms that are not ablated, though they have a direction."""
    given = [name for name in direction_organisms(study) if study.organisms[name].responses is not None]
    asked = study.ablation is not None and study.ablation.targets is None
    return [f"{name} is known by its responses only; nothing can be projected out of it." for name in given if asked]


def rows(study: Study, layout: Layout) -> list[Row]:
    """EM and coherence with directions projected out, and the paired change from before, seeds pooled and single.

    Kinds: own, transferred, single_layer, only_layer, mean and mean_single_layer (set to the mean of aligned texts, not
    to zero), random (all draws pooled), random_draw (one), shuffled and
    shuffled_draw likewise for directions of shuffled labels, and `from`, the
    transfer matrix: the directions of the organism in `source`, layer by layer, whether it is the subject itself, the
    study's source or another.
    """
    assert study.ablation, "asked for only where the study has the section"
    limits, made = thresholds_of(study), []
    asked = study.ablation.questions or study.sampling.questions
    subjects = battery_subjects(study, "ablation")
    groups: dict[str, list[str]] = {}
    for subject in subjects:
        groups.setdefault(organism_of(subject)[0], []).append(subject)
    after = {subject: _ablated(study, layout, subject).assign(seed=subject) for subject in subjects}
    before = {subject: headline_for_ablation(study, layout, subject).assign(seed=subject) for subject in subjects}
    for organism, members in groups.items():
        were, are = (pd.concat([part[member] for member in members]) for part in (before, after))
        made += _changes(organism, were, are, limits, asked)
        if len(members) > 1:
            for member in members:
                made += _changes(member, before[member], after[member], limits, asked, matrix=False)
    return made


def headline_for_ablation(study: Study, layout: Layout, subject: str) -> pd.DataFrame:
    """Responses before ablation, to the questions that the ablation asks.

    Raises:
        UserError: if the baseline does not ask them.
    """
    assert study.ablation
    chosen = study.ablation.questions or study.sampling.questions
    scored = read_scores(layout.judgements(subject, "baseline"))
    kept = scored[(scored.condition == NOTHING.name) & (scored.question_set == chosen)]
    if kept.empty:
        raise UserError(
            f"ablation.questions: the baseline of {subject} does not ask questions.{chosen}; ask sampling.questions."
        )
    return kept


def _ablated(study: Study, layout: Layout, subject: str) -> pd.DataFrame:
    """Responses after ablation, with the places of the table that each counts for."""
    assert study.ablation
    scored = read_scores(layout.judgements(subject, "ablation"))
    scored = scored[scored.question_set == (study.ablation.questions or study.sampling.questions)]
    found = {c.name: places(study.ablation, c) for c in conditions(study, "ablation", subject)}
    return scored.assign(place=scored.condition.map(found))


def _changes(
    subject: str, before: pd.DataFrame, after: pd.DataFrame, limits: Thresholds, asked: str, matrix: bool = True
) -> list[Row]:
    """Rows of one organism. Where not all of its seeds were ablated so, only the same ones count before.

    `em_above_random` is EM against that with the random directions of all draws projected out, `em_above_shuffled`
    against that with directions of shuffled labels.
    """
    made = rate_rows("E5", subject, NOTHING.name, before, limits, kind=NOTHING.name, question_set=asked)
    exploded = after.explode("place")
    controls = {kind: exploded[[place.facts["kind"] == kind for place in exploded.place]] for kind in CONTROLS}
    for place in dict.fromkeys(exploded.place):
        part, facts = exploded[exploded.place == place], {"question_set": asked, **place.facts}
        if matrix or facts["kind"] != "from":
            seeds = part.seed.unique()
            made += change_rows("E5", subject, place.name, before[before.seed.isin(seeds)], part, limits, **facts)
            drawn = (*CONTROLS, *(f"{kind}_draw" for kind in CONTROLS))
            for kind, control in controls.items() if facts["kind"] not in ("from", *drawn) else ():
                beside = control[control.seed.isin(seeds)]
                if len(beside):
                    quantity = f"em_above_{kind}"
                    made.append(comparison("E5", subject, quantity, place.name, beside, part, limits, **facts))
    return made


def shown(table: pd.DataFrame) -> pd.Series[bool]:
    return table.quantity.isin(["em", "em_relative_change"]) & ~table.kind.isin(
        ["random_draw", "shuffled_draw", "from"]
    )


CONTROLS = ("random", "shuffled")
"""Kinds that a direction is held against."""
NOT_ALWAYS = ("shuffled", "mean", "mean_single_layer")
"""Kinds that have a bar only where the study asks for them."""


def ablation(study: Study, layout: Layout) -> Drawing:
    """How much misalignment is left when a direction is projected out?"""
    table = read_frame(layout.table("ablation"))
    pooled = table[table.seed.isna()]
    names = [name for name in [CHAT_BASE, *study.organisms] if (pooled.subject == name).any()]
    figure, axes = make_axes(1, 2, (10, 3.8))
    bars = {kind: look for kind, look in BARS.items() if kind not in NOT_ALWAYS or (pooled.kind == kind).any()}
    width = 0.8 / len(bars)
    for axis, quantity in zip(axes, ("em", "coherence"), strict=True):
        chosen = pooled[pooled.quantity == quantity]
        shown = chosen[chosen.kind.isin(BARS)]
        for index, (kind, (_, colour, hatch)) in enumerate(bars.items()):
            for position, name in enumerate(names):
                found = chosen[(chosen.subject == name) & (chosen.kind == kind)]
                if found.empty:
                    continue
                place = position + (index - (len(bars) - 1) / 2) * width
                bar(axis, place, found.iloc[0], colour, width * 0.92, hatch)
                if kind == "random":
                    values = 100 * chosen[(chosen.subject == name) & (chosen.kind == "random_draw")].value
                    axis.plot([place] * len(values), values, "o", ms=2.5, mfc="white", mec="black", mew=0.6)
                paper = paper_value(study, name, quantity, str(found.iloc[0].condition), "E5")
                if paper is not None:
                    axis.plot(place, 100 * paper, "D", ms=4, mfc="none", mec="black")
        axis.set_xticks(range(len(names)), names, rotation=30, ha="right")
        axis.set_ylabel("misaligned responses (%)" if quantity == "em" else "coherent responses (%)")
        what = "Misaligned responses" if quantity == "em" else "Coherent responses"
        panel(axis, what, f"n = {counted(set(shown.n.astype(int)))} per bar")
    axes[1].set_ylim(0, 105)
    marks = ["circles: single random directions"] if (pooled.kind == "random_draw").any() else []
    marks += ["diamonds: paper"] if any(value.experiment == "E5" for value in study.paper) else []
    figure.suptitle(", ".join(marks), fontsize=8)
    kinds = set(pooled.kind)
    handles = [patch(colour, hatch, label) for kind, (label, colour, hatch) in BARS.items() if kind in kinds]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8)
    return figure


def transfer(study: Study, layout: Layout) -> Drawing:
    """Whose direction removes whose misalignment?"""
    table = read_frame(layout.table("ablation"))
    cells = table[(table.kind == "from") & table.seed.isna()]
    cells = cells[cells.subject.isin(list(study.organisms))]  # the chat base has no misalignment to remove
    there = [name for name in study.organisms if (cells.source == name).any() or (cells.subject == name).any()]
    names = there or list(study.organisms)
    chosen = cells[cells.quantity == "em_relative_change"].dropna(subset=["value"])  # not where nothing was misaligned
    figure, (axis,) = make_axes(1, 1, (1.6 + 1.15 * max(2, len(names)), 1.6 + 0.8 * max(2, len(names))))
    if cells.empty:
        nothing_to_show(axis)
        return figure
    values = chosen.pivot_table(index="source", columns="subject", values="value").reindex(index=names, columns=names)
    shades = axis.imshow(100 * values.astype(float), cmap="RdBu", vmin=-100, vmax=100)
    for found in chosen.itertuples():
        place = names.index(found.subject), names.index(found.source)
        text = f"{100 * found.value:+.0f} %"
        if pd.notna(found.low):
            text += f"\n[{100 * found.low:+.0f}, {100 * found.high:+.0f}]".replace("inf", "∞")
        shade = "white" if abs(found.value) > 0.6 else "black"
        axis.text(*place, text, ha="center", va="center", fontsize=7, color=shade)
    axis.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axis.set_yticks(range(len(names)), names)
    axis.set(xlabel="organism that is ablated", ylabel="organism that the directions come from")
    axis.grid(False)
    if not len(chosen):
        axis.text(0.5, 0.5, "no organism is misaligned", transform=axis.transAxes, ha="center", fontsize=8)
    counts = counted(set((chosen if len(chosen) else cells[cells.quantity == "em"]).n.astype(int)))
    panel(axis, "Relative change of EM, paired", f"n = {counts} per cell")
    figure.colorbar(shades, ax=axis, shrink=0.8, label="change of EM (%)")
    return figure


EXPERIMENT = Experiment(
    table="ablation",
    labels=("E5",),
    asked=lambda study: study.ablation is not None,
    reads=(
        "ablation",
        "thresholds",
        "sampling.questions",
        "directions.organisms",
        "organisms.expect_misaligned",
        "organisms.seeds",
    ),
    inputs=inputs,
    rows=rows,
    lacks=lacks,
    shown=shown,
    figures={
        "ablation": Figure("E5 Ablation", ablation),
        "transfer": Figure("E5 Transfer from every organism to every other", transfer),
    },
)
