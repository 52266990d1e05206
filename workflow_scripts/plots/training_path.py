"""X1: an adapter along its training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workflow_scripts.artefacts import read_frame
from workflow_scripts.layout import Layout
from workflow_scripts.plots.style import GREY, PALETTE, counted, make_axes
from workflow_scripts.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def training_path(study: Study, layout: Layout) -> Figure:
    """X1: does the adapter turn at one point of its training, and is that when it becomes misaligned?"""
    table = read_frame(layout.table("training_path"))
    figure, axes = make_axes(1, 3, (12, 3.5))
    cosines = table[table.quantity.isin(["local_cosine_b", "local_cosine_a"])]
    for index, ((quantity, window), part) in enumerate(cosines.groupby(["quantity", "window"], sort=False)):
        letter = quantity[-1].upper()
        axes[0].plot(part.step, part.value, marker="o", ms=3, color=PALETTE[index % len(PALETTE)],
                     ls="-" if letter == "B" else "--", label=f"{letter}, k = {window:g}")  # fmt: skip
    axes[0].set(xlabel="step", ylabel="local cosine (−1: straight on)")
    axes[0].legend(fontsize=7)
    places = table[table.quantity.isin(["pc_1", "pc_2"])].pivot_table(index="step", columns="quantity", values="value")
    shares = table[table.quantity == "pca_share"].set_index("condition").value
    axes[1].plot(places.pc_1, places.pc_2, color=GREY, lw=0.8)
    shades = axes[1].scatter(places.pc_1, places.pc_2, c=places.index, cmap="viridis", s=16)
    axes[1].set(xlabel=f"PC 1 ({shares['pc-1']:.0%} of variance)", ylabel=f"PC 2 ({shares['pc-2']:.0%})")
    axes[1].set_title(f"B at {len(places)} steps", fontsize=8)
    figure.colorbar(shades, ax=axes[1], label="step")
    rates = table[table.quantity == "em"]
    for index, (scale, part) in enumerate(rates.groupby("scale")):
        part = part.sort_values("step")
        colour = PALETTE[index % len(PALETTE)]
        axes[2].plot(part.step, 100 * part.value, marker="o", ms=3, color=colour, label=f"adapter × {scale:g}")
        axes[2].fill_between(part.step.astype(float), 100 * part.low, 100 * part.high, color=colour, alpha=0.12, lw=0)
    axes[2].set(xlabel="step", ylabel="misaligned (%)", ylim=(0, None))
    axes[2].set_title(f"n = {counted(set(rates.n.astype(int)))} per point", fontsize=8)
    axes[2].legend(fontsize=7)
    gradient = table[table.quantity == "gradient_norm"]
    twin = axes[2].twinx()
    twin.plot(gradient.step, gradient.value, color=GREY, lw=0.8, alpha=0.7)
    twin.set_ylabel("gradient norm", color=GREY)
    twin.grid(False)
    return figure
