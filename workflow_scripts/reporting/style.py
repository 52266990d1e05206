"""One style for all figures: colours told apart by the colour-blind, bars and lines with intervals."""

from __future__ import annotations

from collections.abc import Sized
from typing import TYPE_CHECKING, Any

import pandas as pd

from workflow_scripts.study.layout import CHAT_BASE
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito: told apart by the colour-blind, in print and on screen.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
GREY = "#7F7F7F"
STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "figures",
    "figure.dpi": 110,
}


def colours(study: Study) -> dict[str, str]:
    """The same colour for the same organism everywhere; the chat base is grey."""
    named = {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(study.organisms)}
    return {CHAT_BASE: GREY, **named}


def make_axes(rows: int, columns: int, size: tuple[float, float], share: bool = False) -> tuple[Figure, list[Axes]]:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    pyplot.rcParams.update(STYLE)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=size, layout="constrained", squeeze=False, sharex=share, sharey=share
    )
    return figure, list(axes.flat)


def bar(axis: Axes, position: float, row: pd.Series, colour: str, width: float = 0.7, hatch: str = "") -> None:
    """A bar in percent with its interval."""
    value = 100 * row.value
    axis.bar(
        position,
        value,
        width,
        color=colour,
        hatch=hatch,
        edgecolor="white" if not hatch else "#999999",
        lw=0.5,
    )
    if pd.notna(row.low):
        axis.vlines(position, 100 * row.low, 100 * row.high, color="black", lw=1)


def line(axis: Axes, rows: pd.DataFrame, colour: str, label: str) -> None:
    axis.plot(rows.layer, 100 * rows.value, marker="o", ms=3, color=colour, label=label)
    axis.fill_between(rows.layer.astype(float), 100 * rows.low, 100 * rows.high, color=colour, alpha=0.12, lw=0)


def nothing_to_show(axis: Axes) -> None:
    """One line in axes whose rows could not be made."""
    told = "nothing to show, see what was not possible"
    axis.text(0.5, 0.5, told, transform=axis.transAxes, ha="center", va="center", fontsize=8)
    axis.set(xticks=[], yticks=[])


def legend(axis: Axes, shown: Sized, **look: Any) -> None:
    """The axes' legend; where there are no rows to be shown, they say so instead."""
    if len(shown):
        axis.legend(**look)
    else:
        nothing_to_show(axis)


def patch(colour: str, hatch: str, label: str) -> object:
    from matplotlib.patches import Patch

    return Patch(facecolor=colour, hatch=hatch, edgecolor="#999999", label=label)


def paper_value(
    study: Study, subject: str, quantity: str, condition: str, experiment: str | None = None
) -> float | None:
    """The paper's number for a row of the tables; None where the study names none."""
    for value in study.paper:
        named = (value.subject, value.quantity, value.condition) == (subject, quantity, condition)
        if named and experiment in (None, value.experiment):
            return value.value
    return None


def counted(counts: set[int]) -> str:
    """A range of counts; 0 where there is nothing to count."""
    if not counts:
        return "0"
    return f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
