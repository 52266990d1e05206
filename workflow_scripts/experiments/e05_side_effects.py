"""E5: what projecting directions out takes from a model beside its misalignment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from workflow_scripts.estimation.intervals import clustered_mean
from workflow_scripts.experiments.experiment import Experiment, Figure
from workflow_scripts.experiments.projections import BARS, places
from workflow_scripts.experiments.rows import Row, point, row
from workflow_scripts.reporting.style import counted, interval, legend, make_axes, panel, patch, whole_numbers
from workflow_scripts.store.artefacts import read_frame
from workflow_scripts.study.conditions import battery_subjects, conditions
from workflow_scripts.study.inputs import side_effects
from workflow_scripts.study.layout import CHAT_BASE, Layout, organism_of
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


def rows(study: Study, layout: Layout) -> list[Row]:
    """By kind of projection (see `e05_ablation.rows`), seeds pooled: what it takes of the stream and of next tokens.

    `kl`: KL(unchanged ‖ projected) of the next token in nats, mean over answers of the chat base. `loss_rise`: how much
    the loss on the answers of `ablation.loss_dataset` rises, nats per token, paired by row. `variance_share` and
    `norm_share`: by layer, and the mean over the layers that it changes, in a row without a layer.
    """
    assert study.ablation
    found = read_frame(layout.side_effects)
    at = {
        (subject, condition.name): places(study.ablation, condition)[0]
        for subject in battery_subjects(study, "ablation")
        for condition in conditions(study, "ablation", subject)
    }
    names = [at[key].name for key in zip(found.subject, found.condition, strict=True)]
    found = found.assign(place=names, organism=[organism_of(s)[0] for s in found.subject])
    made: list[Row] = []
    for (organism, place), part in found.groupby(["organism", "place"], sort=False):
        own = at[part.subject.iloc[0], part.condition.iloc[0]].facts
        moved = part[part.quantity == "kl"]
        told = {**own, "question_set": study.sampling.questions, "seeds": moved.subject.nunique()}
        mean = clustered_mean(moved.value, moved.question_id, seeds=moved.subject)
        made.append(row("E5", organism, "kl", place, mean, "nats", **told))
        rises = part[part.quantity == "loss_rise"]
        if len(rises):
            told = {**own, "seeds": rises.subject.nunique()}
            mean = clustered_mean(rises.value, rises.question_id, seeds=rises.subject)
            made.append(row("E5", organism, "loss_rise", place, mean, "nats", **told))
        for quantity in ("variance_share", "norm_share"):
            shares = part[part.quantity == quantity].dropna(subset=["value"])
            if shares.empty:
                continue
            drawn = shares.groupby(["subject", "condition"]).ngroups
            facts_of = {name: value for name, value in own.items() if name != "layer"}
            mean_share = point(float(shares.value.mean()), drawn)
            made.append(row("E5", organism, quantity, place, mean_share, "share", **facts_of))
            for layer, value in shares.groupby("layer").value.mean().items():
                at_layer = {**facts_of, "layer": int(str(layer))}
                name = f"{place}:at-layer-{layer}"
                made.append(row("E5", organism, quantity, name, point(float(value), drawn), "share", **at_layer))
    return made


def shown(table: pd.DataFrame) -> pd.Series[bool]:
    return table.quantity.isin(["kl", "loss_rise"]) & table.kind.isin(["own", "single_layer", "random", "shuffled"])


def drawing(study: Study, layout: Layout) -> Drawing:
    """How much does a projection take, beside random ones?"""
    assert study.ablation
    table = read_frame(layout.table("side_effects"))
    table = table[table.kind.isin(BARS)]
    names = [name for name in [CHAT_BASE, *study.organisms] if (table.subject == name).any()]
    kinds = [kind for kind in BARS if (table.kind == kind).any()]
    figure, (left, right) = make_axes(1, 2, (10, 3.8))
    moved = table[table.quantity == "kl"]
    width = 0.8 / max(1, len(kinds))
    for index, kind in enumerate(kinds):
        _, colour, hatch = BARS[kind]
        for position, name in enumerate(names):
            one = moved[(moved.subject == name) & (moved.kind == kind)]
            place = position + (index - (len(kinds) - 1) / 2) * width
            for found in one.itertuples():
                left.bar(place, found.value, width * 0.92, color=colour, hatch=hatch, edgecolor="white", lw=0.5)
                interval(left, place, found.low, found.high)
        shares = table[(table.quantity == "variance_share") & (table.kind == kind) & table.layer.notna()]
        if len(shares):
            by_layer = 100 * shares.groupby("layer").value.mean()
            colour = colour if not hatch else "black"
            right.plot(by_layer, color=colour, ls=":" if hatch else "-", marker="o", ms=2, lw=1.2, label=BARS[kind][0])
    left.set_xticks(range(len(names)), names, rotation=30, ha="right")
    left.set_ylabel("KL of next tokens on ordinary text (nats)")
    panel(left, "What a projection does to ordinary text", f"n = {counted(set(moved.n.astype(int)))} answers per bar")
    right.set(ylabel="share of the stream's variance (%)", yscale="log" if len(table) else "linear")
    panel(right, "What it takes of the stream", "mean over organisms")
    whole_numbers(right, "decoder layer")
    legend(right, table, fontsize=7)
    handles = [patch(BARS[kind][1], BARS[kind][2], BARS[kind][0]) for kind in kinds]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8)
    return figure


EXPERIMENT = Experiment(
    table="side_effects",
    labels=("E5",),
    asked=lambda study: study.ablation is not None and study.ablation.side_effects is not None,
    reads=(
        "ablation",
        "sampling.questions",
        "directions.organisms",
        "organisms.expect_misaligned",
        "organisms.seeds",
    ),
    inputs=side_effects,
    rows=rows,
    shown=shown,
    figures={"side_effects": Figure("E5 What a projection takes besides", drawing)},
)
