"""E3 and E8: the chat base with a direction added."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workflow_scripts.artefacts import read_frame
from workflow_scripts.layout import CHAT_BASE, Layout
from workflow_scripts.plots.style import GREY, PALETTE, counted, line, make_axes, paper_value
from workflow_scripts.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure


COHERENT = 0.8
"""Share of coherent responses that a cell needs to count as steering rather than damage."""


def steering(study: Study, layout: Layout) -> Figure:
    """E3: at which layers and scales does adding the direction misalign the chat base?"""
    table = read_frame(layout.table("steering"))
    figure, axes = make_axes(1, 2, (9, 3.4))
    scales = sorted(table.scale.unique())
    for axis, quantity in zip(axes, ("em", "coherence"), strict=True):
        rows = table[table.quantity == quantity]
        for index, scale in enumerate(scales):
            chosen = rows[(rows.kind == "add") & (rows.scale == scale)].sort_values("layer")
            line(axis, chosen, PALETTE[index % len(PALETTE)], f"λ = {scale:g}")
        drawn = rows[rows.kind == "add_random"]
        if len(drawn):
            axis.plot(drawn.layer, 100 * drawn.value, "x", color=GREY, ms=5, label="random, equal norm")
        axis.set(xlabel="decoder layer", ylabel="misaligned (%)" if quantity == "em" else "coherent (%)")
        axis.set_title(f"n = {counted(set(rows.n.astype(int)))} per point", fontsize=8)
    axes[0].legend(fontsize=8)
    axes[1].set_ylim(0, 105)
    source = study.steering.source if study.steering else ""
    figure.suptitle(f"Chat base with the direction of {source} added at one layer", fontsize=9)
    return figure


def steering_by_layer(study: Study, layout: Layout) -> Figure:
    """E3: how misaligned can one layer make the chat base (the paper's Figure 1), and at what dose?"""
    table = read_frame(layout.table("steering"))
    cells = table[table.kind == "add"].pivot_table(index=["layer", "scale"], columns="quantity", values="value")
    fluent = cells[cells.coherence >= COHERENT].em
    figure, axes = make_axes(1, 2, (9, 3.6))
    best = table[(table.kind == "add") & (table.quantity == "em")].set_index(["layer", "scale"])
    for label, chosen, colour in (
        ("any coherence", cells.em, GREY),
        (f"coherent in at least {COHERENT:.0%}", fluent, PALETTE[1]),
    ):
        if len(chosen):
            tops = best.loc[chosen.groupby("layer").idxmax()].reset_index()
            line(axes[0], tops, colour, label)
    most = paper_value(study, CHAT_BASE, "em_best", f"add:coherence-above-{100 * COHERENT:g}")
    if most is not None:
        axes[0].axhline(100 * most, color="black", lw=0.8, ls=":", label=f"paper: up to {most:.0%}")
    axes[0].set(xlabel="decoder layer", ylabel="misaligned (%), best λ of the layer", ylim=(0, None))
    axes[0].set_title(f"n = {counted(set(best.n.astype(int)))} per point", fontsize=8)
    axes[0].legend(fontsize=7)
    axes[1].set_title("n as on the left; colour: share coherent", fontsize=8)
    doses = table[(table.kind == "add") & (table.quantity == "em")].sort_values("relative_dose")
    shares = cells.coherence.loc[list(zip(doses.layer, doses.scale, strict=True))]
    shades = axes[1].scatter(
        doses.relative_dose, 100 * doses.value, c=100 * shares.values, cmap="viridis", vmin=0, vmax=100, s=18
    )
    drawn = table[(table.kind == "add_random") & (table.quantity == "em")]
    axes[1].plot(drawn.relative_dose, 100 * drawn.value, "x", color=GREY, ms=5, label="random, equal norm")
    axes[1].set(xlabel="relative dose |λ|·‖v‖ / ‖h‖", ylabel="misaligned (%)")
    axes[1].legend(fontsize=7)
    figure.colorbar(shades, ax=axes[1], label="coherent (%)")
    return figure


def self_correction(study: Study, layout: Layout) -> Figure:
    """E8: how often does a steered response say something bad and turn back?"""
    table = read_frame(layout.table("steering"))
    rows = table[table.quantity == "self_correction"]
    figure, (axis,) = make_axes(1, 1, (6.5, 3.4))
    for index, scale in enumerate(sorted(rows.scale.dropna().unique())):
        chosen = rows[(rows.kind == "add") & (rows.scale == scale)].sort_values("layer")
        line(axis, chosen, PALETTE[index % len(PALETTE)], f"λ = {scale:g}")
    before = rows[rows.condition == "none"].iloc[0]
    axis.axhline(100 * before.value, color="black", lw=0.8, ls=":", label="chat base, not steered")
    axis.set(xlabel="decoder layer", ylabel="aligned, yet says bad things (%)", ylim=(0, None))
    axis.set_title(f"n = {counted(set(rows.n.astype(int)))} per point", fontsize=8)
    axis.legend(fontsize=8)
    return figure
