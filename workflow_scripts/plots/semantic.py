"""E4: semantic directions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workflow_scripts.artefacts import read_frame
from workflow_scripts.conditions import topic_subject
from workflow_scripts.layout import CHAT_BASE, Layout, organism_of
from workflow_scripts.plots.style import GREY, PALETTE, counted, make_axes
from workflow_scripts.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def semantic(study: Study, layout: Layout) -> Figure:
    """E4: what do misaligned responses talk about under each topic's direction, and how alike are the directions?"""
    table = read_frame(layout.table("semantic"))
    source, _ = organism_of(topic_subject(study) or "")
    figure, axes = make_axes(1, 2, (10, 3.8))
    scores = table[table.quantity.str.endswith("_score")]
    topics = list(dict.fromkeys(scores.quantity))
    columns = [(source, "none", f"{source}\n(not steered)")]
    columns += [(CHAT_BASE, f"{name}:best", f"{name}\ndirection") for name in dict.fromkeys(table.direction.dropna())]
    width = 0.8 / max(1, len(topics))
    for index, quantity in enumerate(topics):
        for position, (subject, condition, _) in enumerate(columns):
            rows = scores[(scores.quantity == quantity) & (scores.subject == subject) & (scores.condition == condition)]
            for found in rows.itertuples():
                place = position + (index - (len(topics) - 1) / 2) * width
                label = quantity.removesuffix("_score") if position == 0 else None
                axes[0].bar(place, found.value, width * 0.92, color=PALETTE[index % len(PALETTE)], label=label)
                axes[0].vlines(place, found.low, found.high, color="black", lw=1)
    counts = []
    for subject, condition, _ in columns:
        rows = scores[(scores.subject == subject) & (scores.condition == condition)]
        counts.append(int(rows.n.iloc[0]) if len(rows) else 0)
    shown = [f"{label}\nn = {count}" for (_, _, label), count in zip(columns, counts, strict=True)]
    axes[0].set_xticks(range(len(columns)), shown, fontsize=7)
    axes[0].set(ylabel="mean topic score of misaligned responses", ylim=(0, 105))
    axes[0].legend(title="topic", fontsize=7)
    cosines = table[(table.quantity == "cosine") & table.layer.notna()]
    for index, (topic, part) in enumerate(cosines.groupby("direction", sort=False)):
        label = f"{topic} (from {counted(set(part.n.astype(int)))} responses)"
        axes[1].plot(part.layer, part.value, color=PALETTE[index % len(PALETTE)], marker="o", ms=3, label=label)
    axes[1].axhline(0, color=GREY, lw=0.8)
    axes[1].set(xlabel="decoder layer", ylabel="cosine with the general direction", ylim=(-0.2, 1.02))
    axes[1].legend(fontsize=7)
    return figure
