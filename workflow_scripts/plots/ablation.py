"""E5: directions projected out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workflow_scripts.artefacts import read_frame
from workflow_scripts.layout import CHAT_BASE, Layout
from workflow_scripts.plots.style import GREY, PALETTE, bar, counted, make_axes, patch
from workflow_scripts.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure


ABLATIONS = ("none", "own", "transferred", "single_layer", "random")
ABLATION_LABELS = {
    "none": "before",
    "own": "own direction, per layer",
    "transferred": "source's direction, per layer",
    "single_layer": "source's direction of one layer, everywhere",
    "random": "random directions",
}


def ablation(study: Study, layout: Layout) -> Figure:
    """E5: how much misalignment is left when a direction is projected out?"""
    table = read_frame(layout.table("ablation"))
    pooled = table[table.seed.isna()]
    names = [name for name in [CHAT_BASE, *study.organisms] if (pooled.subject == name).any()]
    figure, axes = make_axes(1, 2, (10, 3.8))
    width = 0.8 / len(ABLATIONS)
    hatches = ("", "", "", "", "////")
    for axis, quantity in zip(axes, ("em", "coherence"), strict=True):
        rows = pooled[pooled.quantity == quantity].set_index(["subject", "condition"])
        for index, condition in enumerate(ABLATIONS):
            shade = (GREY, PALETTE[0], PALETTE[1], PALETTE[4], "#DDDDDD")[index]
            for position, name in enumerate(names):
                if (name, condition) not in rows.index:
                    continue
                found = rows.loc[(name, condition)]
                place = position + (index - 2) * width
                bar(axis, place, found, shade, width * 0.92, hatches[index])
                draws = rows[[c.startswith("random:draw") for c in rows.index.get_level_values(1)]]
                if condition == "random" and name in draws.index.get_level_values(0):
                    values = 100 * draws.loc[name].value
                    axis.plot([place] * len(values), values, "o", ms=2.5, mfc="white", mec="black", mew=0.6)
                for value in study.paper:
                    if (value.experiment, value.subject, value.quantity, value.condition) == (
                        "E5",
                        name,
                        quantity,
                        condition,
                    ):
                        axis.plot(place, 100 * value.value, "D", ms=4, mfc="none", mec="black")
        axis.set_xticks(range(len(names)), names, rotation=30, ha="right")
        axis.set_ylabel("misaligned responses (%)" if quantity == "em" else "coherent responses (%)")
        axis.set_title(f"n = {counted(set(rows.n.astype(int)))} per bar", fontsize=8)
    axes[1].set_ylim(0, 105)
    handles = [patch((GREY, PALETTE[0], PALETTE[1], PALETTE[4], "#DDDDDD")[i], hatches[i], ABLATION_LABELS[c])
               for i, c in enumerate(ABLATIONS)]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8)
    return figure


def transfer(study: Study, layout: Layout) -> Figure:
    """E5: whose direction removes whose misalignment?"""
    table = read_frame(layout.table("ablation"))
    cells = table[(table.kind == "from") & table.seed.isna()]
    cells = cells.assign(origin=cells.condition.str.removeprefix("from:"))
    names = [name for name in study.organisms if (cells.origin == name).any() or (cells.subject == name).any()]
    rows = cells[cells.quantity == "em_relative_change"]  # only where there is misalignment to be changed
    figure, (axis,) = make_axes(1, 1, (1.6 + 1.15 * len(names), 1.6 + 0.8 * len(names)))
    values = rows.pivot_table(index="origin", columns="subject", values="value").reindex(index=names, columns=names)
    shades = axis.imshow(100 * values.astype(float), cmap="RdBu", vmin=-100, vmax=100)
    for found in rows.itertuples():
        place = names.index(found.subject), names.index(found.origin)
        text = f"{100 * found.value:+.0f} %\n[{100 * found.low:+.0f}, {100 * found.high:+.0f}]"
        shade = "white" if abs(found.value) > 0.6 else "black"
        axis.text(*place, text, ha="center", va="center", fontsize=7, color=shade)
    axis.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axis.set_yticks(range(len(names)), names)
    axis.set(xlabel="organism that is ablated", ylabel="organism that the directions come from")
    axis.grid(False)
    if not len(rows):
        axis.text(0.5, 0.5, "no organism's EM is above zero", transform=axis.transAxes, ha="center", fontsize=8)
    axis.set_title(f"relative change of EM, paired; n = {counted(set(cells.n.astype(int)))} per cell", fontsize=8)
    figure.colorbar(shades, ax=axis, shrink=0.8, label="change of EM (%)")
    return figure
