"""The paper's figures from the tables: one question each, intervals and n on them, one colour per organism."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pandas as pd

from workflow_scripts import command
from workflow_scripts.artefacts import read_frame, replacing
from workflow_scripts.layout import CHAT_BASE, Layout, seed_subject
from workflow_scripts.scores import read_scores
from workflow_scripts.study import Study, load

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
ABLATIONS = ("none", "own", "transferred", "single_layer", "random")
ABLATION_LABELS = {
    "none": "before",
    "own": "own direction, per layer",
    "transferred": "source's direction, per layer",
    "single_layer": "source's direction of one layer, everywhere",
    "random": "random directions",
}


def colours(study: Study) -> dict[str, str]:
    """The same colour for the same organism everywhere; the chat base is grey."""
    named = {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(study.organisms)}
    return {CHAT_BASE: GREY, **named}


def em_by_organism(study: Study, layout: Layout) -> Figure:
    """E1: how misaligned and how coherent is each organism?"""
    table = read_frame(layout.table("em_rates"))
    figure, axes = _axes(1, 2, (9, 3.6))
    names = [CHAT_BASE, *study.organisms]
    for axis, quantity in zip(axes, ("em", "coherence"), strict=True):
        rows = table[table.quantity == quantity]
        for position, name in enumerate(names):
            pooled = rows[(rows.subject == name) & rows.seed.isna()].iloc[0]
            _bar(axis, position, pooled, colours(study)[name])
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
        axis.set_title(f"n = {_range(counts)} per bar", fontsize=8)
    axes[1].set_ylim(0, 105)
    figure.suptitle("Emergent misalignment and coherence; circles: seeds, diamonds: paper", fontsize=9)
    return figure


def alignment_coherence(study: Study, layout: Layout) -> Figure:
    """E1: where do single responses lie between alignment and coherence?"""
    names = [CHAT_BASE, *study.organisms]
    columns = min(4, len(names))
    figure, grid = _axes(-(-len(names) // columns), columns, (2.3 * columns, 2.3 * -(-len(names) // columns)), True)
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


def steering(study: Study, layout: Layout) -> Figure:
    """E3: at which layers and scales does adding the direction misalign the chat base?"""
    table = read_frame(layout.table("steering"))
    figure, axes = _axes(1, 2, (9, 3.4))
    scales = sorted(table.scale.unique())
    for axis, quantity in zip(axes, ("em", "coherence"), strict=True):
        rows = table[table.quantity == quantity]
        for index, scale in enumerate(scales):
            line = rows[(rows.kind == "add") & (rows.scale == scale)].sort_values("layer")
            _line(axis, line, PALETTE[index % len(PALETTE)], f"λ = {scale:g}")
        drawn = rows[rows.kind == "add_random"]
        if len(drawn):
            axis.plot(drawn.layer, 100 * drawn.value, "x", color=GREY, ms=5, label="random, equal norm")
        axis.set(xlabel="decoder layer", ylabel="misaligned (%)" if quantity == "em" else "coherent (%)")
        axis.set_title(f"n = {_range(set(rows.n.astype(int)))} per point", fontsize=8)
    axes[0].legend(fontsize=8)
    axes[1].set_ylim(0, 105)
    source = study.steering.source if study.steering else ""
    figure.suptitle(f"Chat base with the direction of {source} added at one layer", fontsize=9)
    return figure


def ablation(study: Study, layout: Layout) -> Figure:
    """E5: how much misalignment is left when a direction is projected out?"""
    table = read_frame(layout.table("ablation"))
    pooled = table[table.seed.isna()]
    names = [name for name in [CHAT_BASE, *study.organisms] if (pooled.subject == name).any()]
    figure, axes = _axes(1, 2, (10, 3.8))
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
                _bar(axis, place, found, shade, width * 0.92, hatches[index])
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
        axis.set_title(f"n = {_range(set(rows.n.astype(int)))} per bar", fontsize=8)
    axes[1].set_ylim(0, 105)
    handles = [_patch((GREY, PALETTE[0], PALETTE[1], PALETTE[4], "#DDDDDD")[i], hatches[i], ABLATION_LABELS[c])
               for i, c in enumerate(ABLATIONS)]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8)
    return figure


def convergence(study: Study, layout: Layout) -> Figure:
    """E6: do different organisms have the same direction?"""
    table = read_frame(layout.table("convergence"))
    rows = table[table.quantity == "cosine"]
    figure, (axis,) = _axes(1, 1, (6.5, 3.8))
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
    drawn = rows[rows.kind == "random"].groupby("layer")
    if len(drawn):
        low, high = drawn.low.min(), drawn.high.max()
        axis.fill_between(low.index, low, high, color=GREY, alpha=0.3, lw=0, label="random directions, central 95 %")
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


def direction_norms(study: Study, layout: Layout) -> Figure:
    """E2: how long are the directions, beside the activations they live in?"""
    table = read_frame(layout.table("directions"))
    figure, axes = _axes(1, 2, (9, 3.2))
    for axis, quantity in zip(axes, ("direction_norm", "activation_norm"), strict=True):
        for name, part in table[table.quantity == quantity].groupby("subject", sort=False):
            axis.plot(part.groupby("layer").value.mean(), color=colours(study)[str(name)], label=name)
        axis.set(xlabel="decoder layer", yscale="log", ylabel=quantity.replace("_", " "))
    axes[0].legend(fontsize=7)
    counts = table[table.unit == "count"].n
    figure.suptitle(f"Mean over seeds; each direction from {_range(set(counts.astype(int)))} responses", fontsize=9)
    return figure


FIGURES: dict[str, Callable[[Study, Layout], Figure]] = {
    made.__name__: made
    for made in (em_by_organism, alignment_coherence, direction_norms, convergence, steering, ablation)
}


def save(figure: Figure, layout: Layout, name: str) -> None:
    """Writes a figure as SVG and PNG."""
    for form in ("svg", "png"):
        with replacing(layout.figure(name, form)) as temporary:
            metadata = {"Date": None} if form == "svg" else None
            figure.savefig(temporary, format=form, dpi=160, metadata=metadata)


def _axes(rows: int, columns: int, size: tuple[float, float], share: bool = False) -> tuple[Figure, list[Axes]]:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    pyplot.rcParams.update(STYLE)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=size, layout="constrained", squeeze=False, sharex=share, sharey=share
    )
    return figure, list(axes.flat)


def _bar(axis: Axes, position: float, row: pd.Series, colour: str, width: float = 0.7, hatch: str = "") -> None:
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


def _line(axis: Axes, rows: pd.DataFrame, colour: str, label: str) -> None:
    axis.plot(rows.layer, 100 * rows.value, marker="o", ms=3, color=colour, label=label)
    axis.fill_between(rows.layer.astype(float), 100 * rows.low, 100 * rows.high, color=colour, alpha=0.12, lw=0)


def _patch(colour: str, hatch: str, label: str) -> object:
    from matplotlib.patches import Patch

    return Patch(facecolor=colour, hatch=hatch, edgecolor="#999999", label=label)


def _range(counts: set[int]) -> str:
    return f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--figures", choices=list(FIGURES), nargs="+", required=True)
    given = parser.parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    for name in given.figures:
        save(FIGURES[name](study, layout), layout, name)


if __name__ == "__main__":
    command.run(main)
