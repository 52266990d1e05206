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
STYLE: dict[Any, object] = {
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
    interval(axis, position, 100 * row.low, 100 * row.high)


def interval(axis: Axes, place: float, low: float, high: float, colour: str = "black") -> None:
    """An interval upright at one place, where there is one: none of no width. A halo shows it on any bar."""
    from matplotlib.patheffects import withStroke

    if high > low:
        axis.vlines(place, low, high, color=colour, lw=1, path_effects=[withStroke(linewidth=2.5, foreground="white")])


def line(axis: Axes, rows: pd.DataFrame, colour: str, label: str, along: str = "layer") -> None:
    """Percent along a column, by default the layer, with its intervals; nothing where there are no numbers."""
    rows = rows.dropna(subset=["value"])
    if len(rows):
        axis.plot(rows[along], 100 * rows.value, marker="o", ms=3, color=colour, label=label)
        band(axis, rows[along], 100 * rows.low, 100 * rows.high, color=colour, alpha=0.12)


def band(axis: Axes, places: pd.Series | pd.Index, low: pd.Series, high: pd.Series, **look: Any) -> None:
    """Intervals along an axis, filled, where there are any; a single one, which a band would not show, is narrow."""
    ends = {"place": places.to_numpy(float), "low": low.to_numpy(float), "high": high.to_numpy(float)}
    there = pd.DataFrame(ends).dropna()
    if len(there) > 1:
        axis.fill_between(there.place, there.low, there.high, lw=0, **look)
    elif len(there) and there.high.iloc[0] > there.low.iloc[0]:
        place, bottom, top = there.iloc[0]
        axis.fill_between([place - 0.05, place + 0.05], bottom, top, lw=0, **look)
        axis.update_datalim([(place - 0.5, bottom), (place + 0.5, top)])


def panel(axis: Axes, what: str, behind: str = "") -> None:
    """The title of a panel: what it shows and, in a second line, how much is behind it."""
    axis.set_title(f"{what}\n{behind}".strip(), fontsize=8)


def whole_numbers(axis: Axes, label: str) -> None:
    """An x axis of layers or steps, which are whole numbers; none is named beyond the last."""
    from matplotlib.ticker import MaxNLocator

    axis.set_xlabel(label)
    axis.margins(x=0.02)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def colour_bar(figure: Figure, shades: Any, axis: Axes, label: str, whole: bool = False) -> None:
    """What the colours of a panel stand for; `whole`: only whole numbers are named."""
    from matplotlib.ticker import MaxNLocator

    figure.colorbar(shades, ax=axis, label=label, ticks=MaxNLocator(integer=True) if whole else None)


def nothing_to_show(axis: Axes) -> None:
    """One line in axes whose rows could not be made."""
    told = "nothing to show, see what was not possible"
    axis.text(0.5, 0.5, told, transform=axis.transAxes, ha="center", va="center", fontsize=8)


BELOW: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2), "fontsize": 7}
"""Place of a legend under its panel, where bars and intervals would run through it."""


def legend(axis: Axes, shown: Sized, **look: Any) -> None:
    """A legend, where there is something to name; axes without any rows to be shown say so instead."""
    if not len(shown):
        nothing_to_show(axis)
    elif "handles" in look or axis.get_legend_handles_labels()[1]:
        axis.legend(**look)


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
