"""E1: the organisms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from workflow_scripts.artefacts import read_frame
from workflow_scripts.layout import CHAT_BASE, Layout, seed_subject
from workflow_scripts.plots.style import bar, colours, counted, make_axes
from workflow_scripts.scores import read_scores
from workflow_scripts.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def em_by_organism(study: Study, layout: Layout) -> Figure:
    """E1: how misaligned and how coherent is each organism?"""
    table = read_frame(layout.table("em_rates"))
    figure, axes = make_axes(1, 2, (9, 3.6))
    names = [CHAT_BASE, *study.organisms]
    for axis, quantity in zip(axes, ("em", "coherence"), strict=True):
        rows = table[table.quantity == quantity]
        for position, name in enumerate(names):
            pooled = rows[(rows.subject == name) & rows.seed.isna()].iloc[0]
            bar(axis, position, pooled, colours(study)[name])
            seeds = rows[(rows.subject == name) & rows.seed.notna()]
            offsets = [position + 0.12 * (i - (len(seeds) - 1) / 2) for i in range(len(seeds))]
            axis.plot(offsets, 100 * seeds.value, "o", ms=3.5, mfc="white", mec="black", mew=0.7)
            for value in study.paper:
                if (value.experiment, value.subject, value.quantity) == ("E1", name, quantity):
                    axis.plot(position, 100 * value.value, marker="D", ms=5, mfc="none", mec="black")
        counts = {int(rows[(rows.subject == n) & rows.seed.isna()].n.iloc[0]) for n in names}
        axis.set_xticks(range(len(names)), names, rotation=35, ha="right")
        label = "misaligned responses (%)" if quantity == "em" else "coherent responses (%)"
        axis.set_ylabel(f"{label}")
        axis.set_title(f"n = {counted(counts)} per bar", fontsize=8)
    axes[1].set_ylim(0, 105)
    figure.suptitle("Emergent misalignment and coherence; circles: seeds, diamonds: paper", fontsize=9)
    return figure


def alignment_coherence(study: Study, layout: Layout) -> Figure:
    """E1: where do single responses lie between alignment and coherence?"""
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
    figure.supxlabel("alignment score", fontsize=9)
    figure.supylabel("coherence score", fontsize=9)
    return figure
