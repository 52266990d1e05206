"""E1: how misaligned and how coherent the chat base and every organism are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from workflow_scripts.estimation.intervals import clustered_mean
from workflow_scripts.experiments.experiment import Experiment, Figure, always
from workflow_scripts.experiments.rows import (
    Row,
    comparison,
    headline,
    judgement_files,
    point,
    rate_rows,
    row,
    thresholds_of,
)
from workflow_scripts.reporting.style import bar, colours, counted, make_axes, panel
from workflow_scripts.store.artefacts import read_frame
from workflow_scripts.store.judgement_tables import read_scores
from workflow_scripts.study.conditions import NOTHING
from workflow_scripts.study.layout import CHAT_BASE, Layout, seed_subject
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


def inputs(study: Study, layout: Layout) -> list[Path]:
    return judgement_files(study, layout, "baseline")


def rows(study: Study, layout: Layout) -> list[Row]:
    """EM and coherence by seed and pooled, EM above that of the chat base by question, and mean scores."""
    limits, made = thresholds_of(study), []
    facts: dict[str, Any] = {"kind": NOTHING.name, "question_set": study.sampling.questions}
    base = headline(study, layout, CHAT_BASE)
    made += rate_rows("E1", CHAT_BASE, NOTHING.name, base, limits, **facts)
    for organism, settings in study.organisms.items():
        parts = {
            seed: headline(study, layout, seed_subject(organism, seed)).assign(seed=seed) for seed in settings.seeds
        }
        pooled = pd.concat(parts.values())
        made += rate_rows("E1", organism, NOTHING.name, pooled, limits, **facts)
        made.append(comparison("E1", organism, "em_above_base", NOTHING.name, base, pooled, limits, **facts))
        for score in ("aligned", "coherent"):
            kept = pooled.dropna(subset=[score])
            found = (
                clustered_mean(kept[score], kept.question_id, seeds=kept.seed) if len(kept) else point(float("nan"), 0)
            )
            made.append(row("E1", organism, f"mean_{score}", NOTHING.name, found, "score", **facts))
        for seed, part in parts.items():
            subject = seed_subject(organism, seed)
            made += rate_rows("E1", subject, NOTHING.name, part, limits, **facts)
            made.append(comparison("E1", subject, "em_above_base", NOTHING.name, base, part, limits, **facts))
    return made


def shown(table: pd.DataFrame) -> pd.Series[bool]:
    return table.quantity.isin(["em", "coherence"])


def em_by_organism(study: Study, layout: Layout) -> Drawing:
    """How misaligned and how coherent is each organism?"""
    table = read_frame(layout.table("em_rates"))
    figure, axes = make_axes(1, 2, (9, 3.6))
    names = [name for name in (CHAT_BASE, *study.organisms) if (table.subject == name).any()]
    told = [value for value in study.paper if value.experiment == "E1" and value.quantity in ("em", "coherence")]
    for axis, quantity in zip(axes, ("em", "coherence"), strict=True):
        chosen = table[table.quantity == quantity]
        for position, name in enumerate(names):
            pooled = chosen[(chosen.subject == name) & chosen.seed.isna()].iloc[0]
            bar(axis, position, pooled, colours(study)[name])
            seeds = chosen[(chosen.subject == name) & chosen.seed.notna()]
            offsets = [position + 0.12 * (i - (len(seeds) - 1) / 2) for i in range(len(seeds))]
            axis.plot(offsets, 100 * seeds.value, "o", ms=3.5, mfc="white", mec="black", mew=0.7)
            for value in told:
                if (value.subject, value.quantity) == (name, quantity):
                    axis.plot(position, 100 * value.value, marker="D", ms=5, mfc="none", mec="black")
        counts = {int(chosen[(chosen.subject == n) & chosen.seed.isna()].n.iloc[0]) for n in names}
        axis.set_xticks(range(len(names)), names, rotation=30, ha="right")
        axis.set_ylabel("misaligned responses (%)" if quantity == "em" else "coherent responses (%)")
        what = "Emergent misalignment" if quantity == "em" else "Coherence"
        panel(axis, what, f"n = {counted(counts)} per bar")
    axes[1].set_ylim(0, 105)
    figure.suptitle("circles: seeds" + (", diamonds: paper" if told else ""), fontsize=8)
    return figure


def alignment_coherence(study: Study, layout: Layout) -> Drawing:
    """Where do single responses lie between alignment and coherence?"""
    names = [CHAT_BASE, *study.organisms]
    columns = min(4, len(names))
    figure, grid = make_axes(-(-len(names) // columns), columns, (2.3 * columns, 2.3 * -(-len(names) // columns)), True)
    limits = study.thresholds
    for axis, name in zip(grid, names, strict=False):
        subjects = [CHAT_BASE] if name == CHAT_BASE else [seed_subject(name, s) for s in study.organisms[name].seeds]
        scored = pd.concat([read_scores(layout.judgements(subject, "baseline")) for subject in subjects])
        scored = scored[scored.question_set == study.sampling.questions].dropna()
        axis.axvspan(0, limits.misaligned_below, ymin=0.5, color="#D55E00", alpha=0.08, lw=0)
        jitter = (pd.util.hash_pandas_object(scored.response_key, index=False) % 1000) / 250 - 2
        axis.scatter(scored.aligned + jitter.values, scored.coherent + jitter.values[::-1], s=5, alpha=0.35,
                     color=colours(study)[name], lw=0)  # fmt: skip
        axis.axvline(limits.misaligned_below, color="black", lw=0.6)
        axis.axhline(limits.coherent_above, color="black", lw=0.6)
        axis.set(title=f"{name} (n = {len(scored)})", xlim=(-4, 104), ylim=(-4, 104))
        axis.title.set_fontsize(8)
    for axis in grid[len(names) :]:
        axis.set_visible(False)
    for axis in grid[: len(names)][-columns:]:  # the lowest of each column that is there
        axis.tick_params(labelbottom=True)
    figure.supxlabel("alignment score", fontsize=9)
    figure.supylabel("coherence score", fontsize=9)
    return figure


EXPERIMENT = Experiment(
    table="em_rates",
    labels=("E1",),
    asked=always,
    reads=("thresholds", "sampling.questions", "organisms.seeds"),
    inputs=inputs,
    rows=rows,
    shown=shown,
    figures={
        "em_by_organism": Figure("E1 Misalignment and coherence by organism", em_by_organism),
        "alignment_coherence": Figure("E1 Alignment and coherence of responses", alignment_coherence),
    },
)
