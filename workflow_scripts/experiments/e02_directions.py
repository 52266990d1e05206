"""E2 and E6: the directions, and how far those of different organisms agree."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from workflow_scripts.experiments.experiment import Experiment, Figure, always
from workflow_scripts.experiments.rows import Row, drawn, has_direction, mean_cosine, point, read_direction, row
from workflow_scripts.reporting.style import (
    GREY,
    PALETTE,
    band,
    colours,
    counted,
    legend,
    make_axes,
    panel,
    whole_numbers,
)
from workflow_scripts.store.absence import absent
from workflow_scripts.store.artefacts import read_frame, read_tensors, tensor_metadata
from workflow_scripts.study.conditions import direction_subjects
from workflow_scripts.study.layout import Layout, organism_of
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

NULL_DRAWS = 200
"""Random directions behind the null of the cosines."""


def direction_files(study: Study, layout: Layout) -> list[Path]:
    return [layout.direction(subject) for subject in direction_subjects(study)]


def convergence_inputs(study: Study, layout: Layout) -> list[Path]:
    others = direction_subjects(study) if study.directions.also else []
    return [*direction_files(study, layout), *(layout.other_direction(subject) for subject in others)]


def norm_rows(study: Study, layout: Layout) -> list[Row]:
    """E2: norms of the directions and of the activations by layer, and the number of responses behind them.

    Kinds of `direction_norm`: `direction`, and `shuffled` for the mean and central 95 % of directions of the same
    responses with their labels shuffled, whose norms grow with depth as well. A direction that could not be made has
    its counts.
    """
    made = []
    for subject in direction_subjects(study):
        counts = tensor_metadata(layout.direction(subject))
        responses = int(counts["misaligned"]) + int(counts["aligned"])
        if has_direction(layout, subject):
            tensors, _ = read_direction(layout, subject)
            facts: dict[str, Any]
            for quantity, kind, norms in (
                ("direction_norm", "direction", tensors["direction"].norm(dim=1)),
                ("activation_norm", None, tensors["activation_norm"]),
            ):
                for layer, norm in enumerate(norms.tolist()):
                    facts = {"layer": layer, "kind": kind}
                    made.append(row("E2", subject, quantity, f"layer-{layer}", point(norm, responses), "norm", **facts))
            for layer, norms in enumerate(
                tensors["shuffled"].double().norm(dim=2).T if len(tensors["shuffled"]) else ()
            ):
                facts = {"layer": layer, "kind": "shuffled"}
                place = f"shuffled:layer-{layer}"
                made.append(row("E2", subject, "direction_norm", place, drawn(norms), "norm", **facts))
        made += [
            row("E2", subject, f"{side}_responses", "all", point(float(counts[side]), responses), "count")
            for side in ("misaligned", "aligned")
        ]
    return made


def convergence_rows(study: Study, layout: Layout) -> list[Row]:
    """E6: cosines and relative differences of the directions of every pair of organisms (same seed) and of seeds.

    Kinds: `organisms` and `seeds` for the pairs. Two nulls by layer, each the mean and the central 95 % of its draws:
    `random`, cosines with `NULL_DRAWS` random directions, and `shuffled`, cosines between directions that were taken
    of the same responses with their labels shuffled so that each question keeps its share of misaligned ones, or, where
    few questions have both kinds, the same wrong questions have them in both organisms. A draw of one is held against
    the same draw of the other. Where the study takes directions from both sources, a subject's
    two are held against each other (`sources`). `cosine_min` and `cosine_mean` are over layers and seeds.
    """
    import torch
    from torch.nn.functional import cosine_similarity

    from workflow_scripts.models.interventions import random_direction

    kept = {s: read_direction(layout, s)[0] for s in direction_subjects(study) if has_direction(layout, s)}
    vectors = {subject: tensors["direction"].double() for subject, tensors in kept.items()}
    made: list[Row] = []

    def add(a: str, b: str, kind: str) -> None:
        cosines = cosine_similarity(vectors[a], vectors[b], dim=1)
        differences = (vectors[a] - vectors[b]).norm(dim=1) / vectors[a].norm(dim=1)
        for layer, (cosine, difference) in enumerate(zip(cosines.tolist(), differences.tolist(), strict=True)):
            facts = {"layer": layer, "source": b, "kind": kind}
            place = f"{b}:layer-{layer}"
            made.append(row("E6", a, "cosine", place, point(cosine, 1), "cosine", **facts))
            made.append(row("E6", a, "relative_difference", place, point(difference, 1), "ratio", **facts))
        left, right = kept[a]["shuffled"].double(), kept[b]["shuffled"].double()
        if kind == "organisms" and len(left) and len(right):
            draws = min(len(left), len(right))
            for layer, values in enumerate(cosine_similarity(left[:draws], right[:draws], dim=-1).T):
                facts = {"layer": layer, "source": b, "kind": "shuffled"}
                made.append(row("E6", a, "cosine", f"shuffled:{b}:layer-{layer}", drawn(values), "cosine", **facts))

    for a, b in combinations(vectors, 2):
        (organism_a, seed_a), (organism_b, seed_b) = organism_of(a), organism_of(b)
        if organism_a == organism_b:
            add(a, b, "seeds")
        elif seed_a == seed_b:
            add(a, b, "organisms")
    for subject, vector in vectors.items():
        for layer, at_layer in enumerate(vector):
            others = torch.stack([random_direction(at_layer, f"null:{layer}:{draw}") for draw in range(NULL_DRAWS)])
            found = drawn(cosine_similarity(at_layer, others, dim=-1))
            facts = {"layer": layer, "source": "random", "kind": "random"}
            made.append(row("E6", subject, "cosine", f"random:layer-{layer}", found, "cosine", **facts))
    also = study.directions.also
    if also:
        for subject, vector in vectors.items():
            if absent(layout.other_direction(subject)):
                continue
            other = read_tensors(layout.other_direction(subject), ["direction"])[0]["direction"].double()
            for layer, cosine in enumerate(cosine_similarity(vector, other, dim=1).tolist()):
                facts = {"layer": layer, "source": also, "kind": "sources"}
                made.append(row("E6", subject, "cosine", f"{also}:layer-{layer}", point(cosine, 1), "cosine", **facts))
    return [*made, *_extremes(made)]


def _extremes(rows: list[Row]) -> list[Row]:
    """Smallest and mean cosine of every pair, over layers and seeds; the mean with an interval over seeds."""
    grouped: dict[tuple[str, str, str], dict[object, list[float]]] = {}
    for found in rows:
        if found["quantity"] == "cosine" and found["kind"] in ("organisms", "sources"):
            pair = (found["subject"], organism_of(found["source"])[0], found["kind"])
            grouped.setdefault(pair, {}).setdefault(found["seed"], []).append(found["value"])
    made = []
    for (subject, other, kind), by_seed in grouped.items():
        facts = {"source": other, "kind": kind, "seeds": len(by_seed)}
        values = [value for of_one in by_seed.values() for value in of_one]
        least = point(min(values), len(values))
        for quantity, cosine in (("cosine_min", least), ("cosine_mean", mean_cosine(by_seed))):
            made.append(row("E6", subject, quantity, other, cosine, "cosine", **facts))
    return made


def norms_shown(table: pd.DataFrame) -> pd.Series[bool]:
    return table.quantity.isin([])


def convergence_shown(table: pd.DataFrame) -> pd.Series[bool]:
    return table.quantity == "cosine_min"


def direction_norms(study: Study, layout: Layout) -> Drawing:
    """How long are the directions, beside the activations they live in?"""
    table = read_frame(layout.table("directions"))
    figure, axes = make_axes(1, 2, (9, 3.2))
    for axis, quantity in zip(axes, ("direction_norm", "activation_norm"), strict=True):
        chosen = table[(table.quantity == quantity) & (table.kind.fillna("") != "shuffled")]
        for name, part in chosen.groupby("subject", sort=False):
            mean = part.groupby("layer").value.mean()
            axis.plot(mean, color=colours(study)[str(name)], marker="o", ms=2, label=name)
        null = table[(table.quantity == quantity) & (table.kind == "shuffled")].groupby("layer")
        if len(null):
            low, high = null.low.min(), null.high.max()
            band(axis, low.index, low, high, color=GREY, alpha=0.3, label="shuffled labels, central 95 %")
        axis.set(yscale="log", ylabel=quantity.replace("_", " "))
        panel(axis, "The directions' length" if quantity == "direction_norm" else "Mean length of the activations")
        whole_numbers(axis, "decoder layer")
        if chosen.empty or axis is axes[0]:
            legend(axis, chosen, fontsize=7)
    counts = table[(table.quantity == "direction_norm") & (table.kind == "direction")].n
    figure.suptitle(f"Mean over seeds; each direction from {counted(set(counts.astype(int)))} responses", fontsize=9)
    return figure


def convergence(study: Study, layout: Layout) -> Drawing:
    """Do different organisms have the same direction?"""
    table = read_frame(layout.table("convergence"))
    chosen = table[table.quantity == "cosine"]
    figure, (axis,) = make_axes(1, 1, (6.5, 3.8))
    pairs = chosen[chosen.kind == "organisms"]
    pairs = pairs.assign(partner=[organism_of(other)[0] for other in pairs.source])
    for index, ((a, b), part) in enumerate(pairs.groupby(["subject", "partner"], sort=False)):
        by_layer = part.groupby("layer").value
        colour = PALETTE[index % len(PALETTE)]
        axis.plot(by_layer.mean(), color=colour, ls="-" if index < len(PALETTE) else "--", marker="o", ms=2, lw=1.2,
                  label=f"{a} – {b}")  # fmt: skip
        band(axis, by_layer.min().index, by_layer.min(), by_layer.max(), color=colour, alpha=0.12)
    for name, part in chosen[chosen.kind == "sources"].groupby("subject", sort=False):
        axis.plot(part.groupby("layer").value.mean(), color=colours(study)[str(name)], ls="-.", marker="o", ms=2,
                  lw=1.2, label=f"{name}: {study.directions.source} – {study.directions.also}")  # fmt: skip
    for kind, look, label in (
        ("random", {"color": GREY, "alpha": 0.3}, "random directions, central 95 %"),
        ("shuffled", {"facecolor": "none", "edgecolor": GREY, "hatch": "...."}, "shuffled labels, central 95 %"),
    ):
        null = chosen[chosen.kind == kind].groupby("layer")
        if len(null):
            low, high = null.low.min(), null.high.max()
            band(axis, low.index, low, high, label=label, **look)
    axis.axhline(0.8, color="black", lw=0.8, ls=":", label="paper: above .8 in all but 4 of 48 layers")
    axis.set(ylabel="cosine of the directions", ylim=(min([-0.3, *chosen.value.dropna()]), 1.02))
    whole_numbers(axis, "decoder layer")
    legend(axis, chosen, fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))
    seeds = int(pairs.groupby(["subject", "partner", "layer"]).size().max()) if len(pairs) else 0
    behind = f"mean of {seeds} seed pairs; band: their range" if seeds > 1 else f"{seeds} seed pair"
    panel(axis, "Cosine of two organisms' directions", behind)
    return figure


WHOSE = ("directions.organisms", "organisms.expect_misaligned", "organisms.seeds")

NORMS = Experiment(
    table="directions",
    labels=("E2",),
    asked=always,
    reads=WHOSE,
    inputs=direction_files,
    rows=norm_rows,
    shown=norms_shown,
    figures={"direction_norms": Figure("E2 Norms of the directions", direction_norms)},
)
CONVERGENCE = Experiment(
    table="convergence",
    labels=("E6",),
    asked=always,
    reads=(*WHOSE, "directions.also"),
    inputs=convergence_inputs,
    rows=convergence_rows,
    shown=convergence_shown,
    figures={"convergence": Figure("E6 Cosines of the directions", convergence)},
)
