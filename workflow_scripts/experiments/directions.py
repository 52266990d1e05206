"""E2 and E6: the directions, and how far those of different organisms agree."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from workflow_scripts.artefacts import read_tensors
from workflow_scripts.conditions import direction_organisms
from workflow_scripts.experiments.rows import Row, point, read_direction, row
from workflow_scripts.interventions import random_direction
from workflow_scripts.layout import Layout, organism_of, seed_subject
from workflow_scripts.statistics import Estimate
from workflow_scripts.study import Study

if TYPE_CHECKING:
    from torch import Tensor

NULL_DRAWS = 200
"""Random directions behind the null of the cosines."""


def directions(study: Study, layout: Layout) -> list[Row]:
    """E2: norms of the directions and of the activations by layer, and the number of responses behind them."""
    rows = []
    for organism in direction_organisms(study):
        for seed in study.organisms[organism].seeds:
            subject = seed_subject(organism, seed)
            tensors, facts = read_direction(layout, subject)
            responses = int(facts["misaligned"]) + int(facts["aligned"])
            norms = tensors["direction"].norm(dim=1).tolist()
            for layer, (norm, activation) in enumerate(zip(norms, tensors["activation_norm"].tolist(), strict=True)):
                place = f"layer-{layer}"
                rows.append(row("E2", subject, "direction_norm", place, point(norm, responses), "norm", layer=layer))
                rows.append(
                    row(
                        "E2",
                        subject,
                        "activation_norm",
                        place,
                        point(activation, responses),
                        "norm",
                        layer=layer,
                    )
                )
            for side in ("misaligned", "aligned"):
                rows.append(
                    row(
                        "E2",
                        subject,
                        f"{side}_responses",
                        "all",
                        point(float(facts[side]), responses),
                        "count",
                        layer=None,
                    )
                )
    return rows


def convergence(study: Study, layout: Layout) -> list[Row]:
    """E6: cosines and relative differences of the directions of every pair of organisms (same seed) and of seeds.

    Two nulls by layer, each the mean and the central 95 % of its draws: cosines with `NULL_DRAWS` random directions,
    and cosines between directions that were taken of the same responses with their labels shuffled. Where the study
    takes directions from both sources, a subject's two are held against each other (kind `source`).
    """
    import torch
    from torch.nn.functional import cosine_similarity

    kept = {
        seed_subject(organism, seed): read_direction(layout, seed_subject(organism, seed))[0]
        for organism in direction_organisms(study)
        for seed in study.organisms[organism].seeds
    }
    vectors = {subject: tensors["direction"].double() for subject, tensors in kept.items()}
    rows: list[Row] = []

    def add(a: str, b: str, kind: str) -> None:
        cosines = cosine_similarity(vectors[a], vectors[b], dim=1)
        differences = (vectors[a] - vectors[b]).norm(dim=1) / vectors[a].norm(dim=1)
        for layer, (cosine, difference) in enumerate(zip(cosines.tolist(), differences.tolist(), strict=True)):
            more = {"layer": layer, "other": b, "kind": kind}
            place = f"{b}:layer-{layer}"
            rows.append(row("E6", a, "cosine", place, point(cosine, 1), "cosine", **more))
            rows.append(row("E6", a, "relative_difference", place, point(difference, 1), "ratio", **more))
        left, right = kept[a]["shuffled"].double(), kept[b]["shuffled"].double()
        if kind == "organisms" and len(left) and len(right):
            crossed = cosine_similarity(left[:, None], right[None], dim=-1).flatten(0, 1)
            for layer, cosines in enumerate(crossed.T):
                more = {"layer": layer, "other": b, "kind": "shuffled"}
                rows.append(row("E6", a, "cosine", f"shuffled:{b}:layer-{layer}", drawn(cosines), "cosine", **more))

    for a, b in combinations(vectors, 2):
        (organism_a, seed_a), (organism_b, seed_b) = organism_of(a), organism_of(b)
        if organism_a == organism_b:
            add(a, b, "seeds")
        elif seed_a == seed_b:
            add(a, b, "organisms")
    for subject, vector in vectors.items():
        for layer, at_layer in enumerate(vector):
            others = torch.stack([random_direction(at_layer, f"null:{layer}:{draw}") for draw in range(NULL_DRAWS)])
            more = {"layer": layer, "other": "random", "kind": "random"}
            found = drawn(cosine_similarity(at_layer, others, dim=-1))
            rows.append(row("E6", subject, "cosine", f"random:layer-{layer}", found, "cosine", **more))
    if study.directions.also:
        for subject, vector in vectors.items():
            other = read_tensors(layout.other_direction(subject), ["direction"])[0]["direction"].double()
            for layer, cosine in enumerate(cosine_similarity(vector, other, dim=1).tolist()):
                more = {"layer": layer, "other": study.directions.also, "kind": "source"}
                place = f"{study.directions.also}:layer-{layer}"
                rows.append(row("E6", subject, "cosine", place, point(cosine, 1), "cosine", **more))
    return rows


def drawn(values: Tensor) -> Estimate:
    """Mean and central 95 % of draws [draw] of a null."""
    low, high = values.quantile(values.new_tensor([0.025, 0.975])).tolist()
    return Estimate(float(values.mean()), low, high, len(values), len(values))
