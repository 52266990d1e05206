"""X2: narrow organisms against broad twins of the same data: why training finds the broad one (arXiv 2602.07852)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from workflow_scripts.estimation.changes import relative_change
from workflow_scripts.estimation.intervals import Estimate, clustered_mean
from workflow_scripts.experiments.experiment import Experiment, Figure
from workflow_scripts.experiments.rows import (
    Row,
    comparison,
    over,
    point,
    rate_rows,
    row,
    thresholds_of,
    unchanged_answers,
)
from workflow_scripts.reporting.style import (
    GREY,
    bar,
    colours,
    counted,
    interval,
    legend,
    make_axes,
    nothing_to_show,
    panel,
    patch,
)
from workflow_scripts.store.artefacts import read_frame
from workflow_scripts.study.conditions import narrow_subjects
from workflow_scripts.study.layout import CHAT_BASE, Layout, organism_of, seed_subject
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

OUTSIDE, INSIDE = "outside", "inside"
BASE, OWN = 0.0, 1.0
"""Factors of an adapter: none of it, and as it was trained."""
ABOVE_TWIN = ("loss_above_twin", "loss_drop_per_norm_above_twin", "noise_rise_above_twin")


def inputs(study: Study, layout: Layout) -> list[Path]:
    subjects = narrow_subjects(study)
    judged = [layout.judgements(subject, "baseline") for subject in (CHAT_BASE, *subjects)]
    return [*judged, *map(layout.adapter_losses, subjects)]


def places(study: Study) -> dict[str, str]:
    """Question set outside the trained domain, and inside it."""
    assert study.narrow
    return {OUTSIDE: study.sampling.questions, INSIDE: study.narrow.domain_questions}


def losses(study: Study, layout: Layout, organism: str) -> pd.DataFrame:
    """Losses of an organism's variants, a row per seed, variant and text, with the loss as it was trained beside."""
    parts = []
    for seed in study.organisms[organism].seeds:
        part = read_frame(layout.adapter_losses(seed_subject(organism, seed)))
        own = part[(part.kind == "scaled") & (part.scale == OWN)].set_index("row").loss
        parts.append(part.assign(seed=seed, rise=part.loss - part.row.map(own)))
    return pd.concat(parts, ignore_index=True)


def rows(study: Study, layout: Layout) -> list[Row]:
    """EM outside and inside the trained domain, and what narrow and broad adapters cost.

    Of the chat base, each narrow organism and its broad twin: rates by place (kind), seeds apart and pooled, and the
    relative change from the broad twin (source) to the narrow one. Of each adapter: `loss` and `update_norm` by factor
    (kind `scaled`, scale), `loss_drop_per_norm` (the loss of the base less that of the organism, over the norm of its
    update), and `noise_rise`, how much noise orthogonal to the adapter raises the loss, by its share (kind `noise`,
    scale) and over all shares (kind `noise_mean`). Of each narrow organism less its own twin (source):
    `loss_above_twin`, what narrowness costs, `loss_drop_per_norm_above_twin` and `noise_rise_above_twin`.
    """
    assert study.narrow, "asked for only where the study has the section"
    limits, twins = thresholds_of(study), study.narrow.twins
    names = list(dict.fromkeys(name for pair in twins.items() for name in pair))
    made: list[Row] = []
    for place, questions in places(study).items():
        pooled = {name: unchanged_answers(study, layout, name, questions) for name in (CHAT_BASE, *names)}
        for name, scored in pooled.items():
            made += rate_rows("X2", name, place, scored, limits, kind=place, question_set=questions)
            for seed, part in scored.groupby("seed") if name != CHAT_BASE else ():
                subject = seed_subject(name, int(seed))
                made += rate_rows("X2", subject, place, part, limits, kind=place, question_set=questions)
        for narrow, broad in twins.items():
            made.append(comparison(
                "X2", narrow, "em_relative_change", place, pooled[broad], pooled[narrow], limits, relative_change,
                "ratio", kind=place, source=broad, question_set=questions,
            ))  # fmt: skip
    measured = {name: losses(study, layout, name) for name in names}
    for name, found in measured.items():
        made += loss_rows(name, found)
    for narrow, broad in twins.items():
        made += above_twin(narrow, broad, measured[narrow], measured[broad])
    return made


def loss_rows(organism: str, found: pd.DataFrame) -> list[Row]:
    """Loss and norm by factor, loss gained per norm, and how noise raises the loss."""
    made, seeds = [], found.seed.nunique()
    scaled, noise = found[found.kind == "scaled"], found[found.kind == "noise"]
    for factor, part in scaled.groupby("scale"):
        facts = {"kind": "scaled", "scale": factor, "seeds": seeds}
        loss = over(clustered_mean(part.loss, part.row, seeds=part.seed), "texts")
        norms = part.groupby("seed").norm.first()
        made.append(row("X2", organism, "loss", f"scaled:{factor:g}", loss, "nats", **facts))
        made.append(row("X2", organism, "update_norm", f"scaled:{factor:g}", of_seeds(norms), "norm", **facts))
    gained = drop_per_norm(scaled)
    facts = {"kind": "scaled", "scale": OWN, "seeds": seeds}
    made.append(row("X2", organism, "loss_drop_per_norm", "trained", of_seeds(gained), "nats", **facts))
    for share, part in [*noise.groupby("scale"), (None, noise)]:
        kind = "noise_mean" if share is None else "noise"
        facts = {"kind": kind, "scale": share, "seeds": seeds}
        condition = kind if share is None else f"noise:{share:g}"
        rises = part.groupby(["seed", "draw"]).rise.mean()
        label = [f"{seed}:{draw}" for seed, draw in rises.index]
        made.append(row("X2", organism, "noise_rise", condition, without_fixed(rises, label, "draws"), "nats", **facts))
    return made


def drop_per_norm(scaled: pd.DataFrame) -> pd.Series:
    """The loss of the base less that of the organism, over the norm of its update, by seed."""
    by_seed = scaled.groupby(["seed", "scale"]).loss.mean().unstack("scale")
    return (by_seed[BASE] - by_seed[OWN]) / scaled[scaled.scale == OWN].groupby("seed").norm.first()


def above_twin(narrow: str, broad: str, of_narrow: pd.DataFrame, of_broad: pd.DataFrame) -> list[Row]:
    """How far the narrow organism is above its own twin: its loss, paired by text; the rest paired by seed."""

    def by_text(found: pd.DataFrame) -> pd.Series:
        return found[(found.kind == "scaled") & (found.scale == OWN)].groupby("row").loss.mean()

    def gained(found: pd.DataFrame) -> pd.Series:
        return drop_per_norm(found[found.kind == "scaled"])

    def raised(found: pd.DataFrame) -> pd.Series:
        return found[found.kind == "noise"].groupby("seed").rise.mean()

    made = []
    of_trained: dict[str, Any] = {"kind": "scaled", "scale": OWN}
    for quantity, of, over_what, facts in zip(
        ABOVE_TWIN,
        (by_text, gained, raised),
        ("texts", "seeds", "seeds"),
        (of_trained, of_trained, {"kind": "noise_mean"}),
        strict=True,
    ):
        above = (of(of_narrow) - of(of_broad)).dropna()
        found = without_fixed(above, [str(one) for one in above.index], over_what) if len(above) else point(math.nan, 0)
        made.append(row("X2", narrow, quantity, "trained", found, "nats", source=broad, **facts))
    return made


def of_seeds(values: pd.Series) -> Estimate:
    """Mean of one value per seed, with a t interval over them."""
    return without_fixed(values, [str(seed) for seed in values.index], "seeds")


def without_fixed(values: pd.Series, clusters: Sequence[str], what: str) -> Estimate:
    """Mean of values with an interval over their clusters, and none for fixed questions."""
    found = clustered_mean(values, clusters)
    return replace(found, over=what, fixed_low=float("nan"), fixed_high=float("nan"))


def shown(table: pd.DataFrame) -> pd.Series[bool]:
    rates = (table.quantity == "em") & table.kind.isin([OUTSIDE, INSIDE])
    return rates | table.quantity.isin(["em_relative_change", "loss_drop_per_norm", *ABOVE_TWIN]) | (
        table.kind == "noise_mean"
    )  # fmt: skip


def narrow(study: Study, layout: Layout) -> Drawing:
    """Is the narrow organism bad in its domain only, and is the broad one the cheaper and steadier solution?"""
    table = read_frame(layout.table("narrow"))
    assert study.narrow
    names = [CHAT_BASE, *dict.fromkeys(organism_of(subject)[0] for subject in narrow_subjects(study))]
    figure, axes = make_axes(1, 3, (12, 3.6))
    rates = table[(table.quantity == "em") & table.seed.isna()]
    for position, name in enumerate(names):
        for side, place, hatch in ((-0.2, OUTSIDE, ""), (0.2, INSIDE, "///")):
            for _, found in rates[(rates.subject == name) & (rates.kind == place)].iterrows():
                bar(axes[0], position + side, found, colours(study)[name], 0.38, hatch)
    axes[0].set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes[0].set_ylabel("misaligned responses (%)")
    handles = [patch("white", "", "other domains"), patch("white", "///", "the trained domain")]
    legend(axes[0], rates, handles=handles, fontsize=7)
    panel(axes[0], "Misalignment outside and inside the domain", f"n = {counted(set(rates.n.astype(int)))} per bar")
    for name in names[1:]:
        own = table[(table.subject == name) & table.seed.isna()]
        along = own[own.quantity.isin(["loss", "update_norm"])].pivot(index="scale", columns="quantity", values="value")
        along = along.reindex(columns=["update_norm", "loss"]).dropna()
        if len(along):
            axes[1].plot(along.update_norm, along.loss, marker="o", ms=3, color=colours(study)[name], label=name)
        for _, trained in along[along.index == OWN].iterrows():
            axes[1].plot(trained.update_norm, trained.loss, "o", ms=8, mfc="none", color=colours(study)[name])
        noise = own[(own.quantity == "noise_rise") & (own.kind == "noise")]
        axes[2].plot(noise.scale, noise.value, marker="o", ms=3, color=colours(study)[name])
        for line in noise.itertuples():
            interval(axes[2], line.scale, line.low, line.high, colours(study)[name])
    axes[1].set(xlabel="norm of the update (ring: as trained)", ylabel="loss (nats per token)")
    panel(axes[1], "What a norm buys")
    legend(axes[1], table[table.kind == "scaled"], fontsize=7)
    axes[2].axhline(0, color=GREY, lw=0.6)
    axes[2].set(xlabel="share of noise orthogonal to the adapter", ylabel="rise of the loss (nats per token)")
    panel(axes[2], "What noise costs", f"{study.narrow.draws} draws per seed")
    if not (table.kind == "noise").any():
        nothing_to_show(axes[2])
    return figure


EXPERIMENT = Experiment(
    table="narrow",
    labels=("X2",),
    asked=lambda study: study.narrow is not None,
    reads=("narrow", "thresholds", "sampling.questions", "organisms.seeds"),
    inputs=inputs,
    rows=rows,
    shown=shown,
    figures={"narrow": Figure("X2 Narrow organisms and their broad twins", narrow)},
)
