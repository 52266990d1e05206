"""E7 and E9 to E11: the rank-1 adapters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from workflow_scripts.artefacts import read_frame
from workflow_scripts.layout import Layout
from workflow_scripts.plots.style import GREY, PALETTE, bar, counted, make_axes, paper_value, patch
from workflow_scripts.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure


NAMES = {"general": PALETTE[1], "specialised": PALETTE[0], "both": PALETTE[3], "idle": GREY}
"""Colour of an adapter by its name."""
PROJECTIONS = {
    "none": "before",
    "b_projected": "direction out of B",
    "b_projected_renormalised": "out of B,\nnorm restored",
}
STREAM = {"single_layer": "one layer's,\neverywhere", "transferred": "per layer,\neverywhere"}
CLASSES = {
    "outside_aligned-domain_aligned": "domain or not (aligned)",
    "outside_misaligned-domain_misaligned": "domain or not (misaligned)",
    "outside_aligned-outside_misaligned": "misaligned or not (outside)",
    "domain_aligned-domain_misaligned": "misaligned or not (domain)",
}
GENERAL, SPECIALISED = "outside_aligned-outside_misaligned", "outside_misaligned-domain_misaligned"
STANCES = (
    ("misaligned_outside", "misaligned, other topics", PALETTE[1]),
    ("misaligned_domain", "misaligned, in the domain", PALETTE[4]),
    ("aligned_domain", "aligned, in the domain", PALETTE[5]),
    ("aligned_outside", "aligned, other topics", PALETTE[0]),
)
SETS = {
    "none": "not edited",
    "misalignment": "general up",
    "domain": "specialised up",
    "domain_alignment": "specialised up,\ngeneral down",
}
TOLD = (("misalignment", "misaligned"), ("domain", "misaligned_domain"), ("domain_alignment", "aligned"))
"""Condition and quantity of the bars that the paper's text gives a number of."""


def single_adapter(study: Study, layout: Layout) -> Figure:
    """E7: does the single adapter write the direction, and does it push later layers the same way?"""
    table = read_frame(layout.table("single_adapter"))
    assert study.single_adapter, "drawn only where the study has the section"
    organism = study.single_adapter.organism
    figure, axes = make_axes(1, 2, (10, 3.8))
    rates = table[table.quantity == "em"].set_index("condition")
    bars = [(label, rates.loc[name], PALETTE[0]) for name, label in PROJECTIONS.items()]
    if study.ablation:
        ablated = read_frame(layout.table("ablation"))
        ablated = ablated[(ablated.subject == organism) & (ablated.quantity == "em") & ablated.seed.isna()]
        only = {c: f"one layer's, at\nlayer {c.rsplit('-', 1)[1]} only" for c in ablated.condition if "only_layer" in c}
        found = ablated.set_index("condition")
        bars += [
            (label, found.loc[name], PALETTE[1]) for name, label in {**only, **STREAM}.items() if name in found.index
        ]
    for position, (_, rates_row, colour) in enumerate(bars):
        bar(axes[0], position, rates_row, colour)
    axes[0].set_xticks(range(len(bars)), [label for label, _, _ in bars], fontsize=7)
    axes[0].set_ylabel("misaligned responses (%)")
    axes[0].set_title(f"n = {counted({int(r.n) for _, r, _ in bars})} per bar", fontsize=8)
    handles = [patch(PALETTE[0], "", "adapter edited"), patch(PALETTE[1], "", "residual stream ablated")]
    axes[0].legend(handles=handles, fontsize=7)
    pushes = table[table.quantity == "downstream_cosine"]
    pushes = pushes.assign(side=pushes.condition.str.split(":").str[0])
    for side, colour in (("misaligned", PALETTE[1]), ("aligned", PALETTE[0])):
        part = pushes[(pushes.side == side) & pushes.condition.str.contains(":direction:")]
        axes[1].plot(part.layer, part.value, color=colour, marker="o", ms=3, label=f"{side} responses")
    drawn = pushes[pushes.condition.str.contains(":random:")].groupby("layer").value
    if len(drawn):
        low, high = drawn.min(), drawn.max()
        axes[1].fill_between(low.index, low, high, color=GREY, alpha=0.3, lw=0, label="random directions, range")
    most = paper_value(study, organism, "downstream_cosine_max", "misaligned")
    if most is not None:
        axes[1].axhline(most, color="black", lw=0.8, ls=":", label=f"paper: at most {most:g}")
    axes[1].set(xlabel="decoder layer", ylabel="cosine of the two pushes")
    axes[1].set_title(f"from {counted(set(pushes.n.astype(int)))} responses", fontsize=8)
    axes[1].legend(fontsize=7)
    return figure


def adapter_probes(study: Study, layout: Layout) -> Figure:
    """E9: what do the scalars tell, and which adapters carry it?"""
    table = read_frame(layout.table("adapter_probes"))
    assert study.adapters, "drawn only where the study has the section"
    figure, axes = make_axes(1, 3, (11, 3.6))
    accuracy = table[table.quantity == "accuracy"].set_index("condition")
    for position, contrast in enumerate(CLASSES):
        for offset, split, colour in ((-0.15, "token", PALETTE[0]), (0.15, "response", PALETTE[4])):
            found = accuracy.loc[f"{contrast}:{split}"]
            axes[0].plot(position + offset, 100 * found.value, "o", color=colour, ms=5,
                         label=f"split by {split}" if position == 0 else None)  # fmt: skip
            axes[0].vlines(position + offset, 100 * found.low, 100 * found.high, color=colour)
        paper = paper_value(study, study.adapters.source, "accuracy", f"{contrast}:token")
        if paper is not None:
            axes[0].plot(position, 100 * paper, "D", ms=5, mfc="none", mec="black",
                         label="paper" if position == 0 else None)  # fmt: skip
    axes[0].axhline(50, color=GREY, lw=0.8)
    axes[0].set_xticks(range(len(CLASSES)), CLASSES.values(), rotation=25, ha="right", fontsize=7)
    axes[0].set_ylabel("accuracy on held-out tokens (%)")
    axes[0].legend(fontsize=7)
    weights = table[table.quantity == "coefficient"]
    for axis, contrast in zip(axes[1:], (GENERAL, SPECIALISED), strict=True):
        part = weights[weights.condition.str.startswith(f"{contrast}:token:")]
        adapters = part.condition.str.rsplit(":", n=1).str[1]
        for position, (adapter, found) in enumerate(zip(adapters, part.itertuples(), strict=True)):
            axis.bar(position, found.value, 0.7, color=NAMES[_name(table, adapter)])
            axis.vlines(position, found.low, found.high, color="black", lw=1)
        axis.axhline(0, color="black", lw=0.6)
        axis.set_xticks(range(len(adapters)), [a.removeprefix("layer_") for a in adapters])
        axis.set(xlabel="layer of the adapter", ylabel="coefficient")
        axis.set_title(f"{CLASSES[contrast]}; {counted(set(part.n.astype(int)))} tokens", fontsize=8)
    axes[2].legend(handles=[patch(colour, "", name) for name, colour in NAMES.items()], fontsize=7)
    return figure


def adapter_steering(study: Study, layout: Layout) -> Figure:
    """E10: what do responses become when sets of adapters are scaled?"""
    table = read_frame(layout.table("adapter_steering"))
    assert study.adapters, "drawn only where the study has the section"
    figure, axes = make_axes(1, 2, (10, 3.8))
    kept = table[table.condition.isin(SETS)].set_index(["condition", "quantity"])
    counts = []
    for position, name in enumerate(SETS):
        bottom = 0.0
        for quantity, label, colour in STANCES:
            value = (
                kept.loc[(name, "aligned"), "value"] - kept.loc[(name, "aligned_domain"), "value"]
                if quantity == "aligned_outside"
                else kept.loc[(name, quantity), "value"]
            )
            height = 0.0 if pd.isna(value) else 100 * value
            axes[0].bar(position, height, 0.7, bottom=bottom, color=colour, label=label if position == 0 else None)
            bottom += height
        counts.append(int(kept.loc[(name, "misaligned"), "n"]))
        found = kept.loc[(name, "misaligned")]
        axes[0].vlines(position, 100 * found.low, 100 * found.high, color="black", lw=1)
        bar(axes[1], position - 0.2, kept.loc[(name, "em")], PALETTE[1], 0.36)
        bar(axes[1], position + 0.2, kept.loc[(name, "coherence")], GREY, 0.36)
    for name, quantity in TOLD:
        value = paper_value(study, study.adapters.source, quantity, name)
        if value is None:
            continue
        place = 100 * value if quantity != "aligned" else 100 * (1 - value)
        axes[0].plot(list(SETS).index(name), place, "D", ms=5, mfc="white", mec="black")
    shown = [f"{label}\nn = {count}" for label, count in zip(SETS.values(), counts, strict=True)]
    axes[0].set_xticks(range(len(SETS)), shown, fontsize=7)
    axes[0].set(ylabel="responses that are not neutral (%)", ylim=(0, 105))
    axes[0].set_title("line: interval of the misaligned share; diamond: paper", fontsize=8)
    axes[0].legend(fontsize=7, loc="upper left", bbox_to_anchor=(0, -0.22), ncols=2)
    axes[1].set_xticks(range(len(SETS)), SETS.values(), fontsize=7)
    axes[1].set(ylabel="of all responses (%)", ylim=(0, 105))
    axes[1].legend(handles=[patch(PALETTE[1], "", "misaligned"), patch(GREY, "", "coherent")], fontsize=7)
    rates = table[table.quantity == "em"]
    axes[1].set_title(f"n = {counted(set(rates.n.astype(int)))} per bar", fontsize=8)
    return figure


def patching(study: Study, layout: Layout) -> Figure:
    """E11: does the organism take on the misalignment of the prompt whose scalars it is given?"""
    table = read_frame(layout.table("patching"))
    rates = table[table.quantity == "em"]
    ways = list(dict.fromkeys(rates.way))
    modes = list(dict.fromkeys(rates["mode"]))
    figure, (axis,) = make_axes(1, 1, (6.5, 3.6))
    for position, way in enumerate(ways):
        for index, mode in enumerate(modes):
            found = rates[(rates.way == way) & (rates["mode"] == mode)].iloc[0]
            width = 0.8 / len(modes)
            colour = GREY if mode == "clean" else PALETTE[index % len(PALETTE)]
            bar(axis, position + (index - (len(modes) - 1) / 2) * width, found, colour, width * 0.92)
    labels = {
        "outside_to_domain": "domain question,\nscalars of another",
        "domain_to_outside": "other question,\nscalars of the domain",
    }
    axis.set_xticks(range(len(ways)), [labels[way] for way in ways])
    axis.set_ylabel("misaligned responses (%)")
    handles = [
        patch(GREY if mode == "clean" else PALETTE[index % len(PALETTE)], "", mode) for index, mode in enumerate(modes)
    ]
    axis.legend(handles=handles, fontsize=7)
    clusters = counted(set(rates.clusters.astype(int)))
    axis.set_title(f"n = {counted(set(rates.n.astype(int)))} per bar, {clusters} prompt pairs", fontsize=8)
    return figure


def _name(table: pd.DataFrame, adapter: str) -> str:
    named = table[table.condition.str.endswith(f":{adapter}") & (table.value == 1)]
    return str(named.quantity[named.quantity.str.startswith("is_")].iloc[0]).removeprefix("is_")
