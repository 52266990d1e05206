"""E2 and E6: the directions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workflow_scripts.artefacts import read_frame
from workflow_scripts.layout import Layout
from workflow_scripts.plots.style import GREY, PALETTE, colours, counted, make_axes
from workflow_scripts.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def direction_norms(study: Study, layout: Layout) -> Figure:
    """E2: how long are the directions, beside the activations they live in?"""
    table = read_frame(layout.table("directions"))
    figure, axes = make_axes(1, 2, (9, 3.2))
    for axis, quantity in zip(axes, ("direction_norm", "activation_norm"), strict=True):
        for name, part in table[table.quantity == quantity].groupby("subject", sort=False):
            axis.plot(part.groupby("layer").value.mean(), color=colours(study)[str(name)], label=name)
        axis.set(xlabel="decoder layer", yscale="log", ylabel=quantity.replace("_", " "))
    axes[0].legend(fontsize=7)
    counts = table[table.unit == "count"].n
    figure.suptitle(f"Mean over seeds; each direction from {counted(set(counts.astype(int)))} responses", fontsize=9)
    return figure


def convergence(study: Study, layout: Layout) -> Figure:
    """E6: do different organisms have the same direction?"""
    table = read_frame(layout.table("convergence"))
    rows = table[table.quantity == "cosine"]
    figure, (axis,) = make_axes(1, 1, (6.5, 3.8))
    pairs = rows[rows.kind == "organisms"].assign(partner=lambda t: t.other.str.split("/").str[0])
    for index, ((a, b), part) in enumerate(pairs.groupby(["subject", "partner"], sort=False)):
        by_layer = part.groupby("layer").value
        axis.plot(by_layer.mean(), color=PALETTE[index % len(PALETTE)], ls="-" if index < len(PALETTE) else "--",
                  lw=1.2, label=f"{a} – {b}")  # fmt: skip
        axis.fill_between(
            by_layer.min().index,
            by_layer.min(),
            by_layer.max(),
            color=PALETTE[index % len(PALETTE)],
            alpha=0.12,
            lw=0,
        )
    for name, part in rows[rows.kind == "source"].groupby("subject", sort=False):
        axis.plot(part.groupby("layer").value.mean(), color=colours(study)[str(name)], ls="-.", lw=1.2,
                  label=f"{name}: {study.directions.source} – {study.directions.also}")  # fmt: skip
    drawn = rows[rows.kind == "random"].groupby("layer")
    if len(drawn):
        low, high = drawn.low.min(), drawn.high.max()
        axis.fill_between(low.index, low, high, color=GREY, alpha=0.3, lw=0, label="random directions, central 95 %")
    shuffled = rows[rows.kind == "shuffled"].groupby("layer")
    if len(shuffled):
        low, high = shuffled.low.min(), shuffled.high.max()
        axis.fill_between(low.index, low, high, facecolor="none", edgecolor=GREY, hatch="....", lw=0,
                          label="shuffled labels, central 95 %")  # fmt: skip
    axis.axhline(0.8, color="black", lw=0.8, ls=":", label="paper: above .8 in all but 4 of 48 layers")
    axis.set(xlabel="decoder layer", ylabel="cosine of the directions", ylim=(min(-0.3, rows.value.min()), 1.02))
    axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))
    seeds = (
        pairs.groupby(["subject", "partner"]).subject.count().max() // max(1, pairs.layer.nunique())
        if len(pairs)
        else 0
    )
    axis.set_title(f"line: mean of {seeds} seed pair(s); band: their range", fontsize=8)
    return figure
