"""X7: which part of a direction carries misalignment, and whether other changes that take as much take it off too.

Directions of several organisms are taken apart into what they share and what each has beside that (Geometry of emergent
misalignment, LessWrong 2025), and held against a control orthogonal to the direction that takes as much of the stream's
mean (arXiv 2606.20225: across models such controls do as well), against setting the stream to the chat base's mean, not
to zero, and against a cap (arXiv 2601.10387).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from workflow_scripts.estimation.labels import Thresholds, is_aligned
from workflow_scripts.experiments.experiment import Experiment, Figure
from workflow_scripts.experiments.projections import Place
from workflow_scripts.experiments.rows import (
    Row,
    change_rows,
    comparison,
    has_direction,
    headline,
    mean_cosine,
    point,
    rate_rows,
    read_direction,
    row,
    score_change,
    thresholds_of,
    with_baseline,
)
from workflow_scripts.reporting.style import (
    GREY,
    PALETTE,
    bar,
    colours,
    counted,
    legend,
    make_axes,
    panel,
    patch,
    whole_numbers,
)
from workflow_scripts.store.artefacts import read_frame
from workflow_scripts.store.judgement_tables import read_scores
from workflow_scripts.study.conditions import (
    NOTHING,
    Condition,
    conditions,
    source_for,
    specificity_subjects,
)
from workflow_scripts.study.layout import Layout, organism_of, seed_subject
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing
    from torch import Tensor

BARS = {
    "none": ("before", GREY, ""),
    "own": ("own direction", PALETTE[0], ""),
    "shared": ("what the organisms' directions share", PALETTE[1], ""),
    "specific": ("what the own one has beside that", PALETTE[4], ""),
    "base_mean": ("own direction, set to the chat base's mean", PALETTE[2], ""),
    "cap": ("own direction, capped (the first range)", PALETTE[5], ""),
    "orthogonal": ("orthogonal to the own one, as much of the mean", "#DDDDDD", "////"),
}
"""Kind -> label, colour and hatch."""
NO_TOPICS = ("aligned", "coherent", "bad_stuff")
"""Metrics that tell no topic."""
CELLS = ("whole_from", "specific_from")
"""Kinds of the transfer from every organism, itself too, to every other."""


def inputs(study: Study, layout: Layout) -> list[Path]:
    return [*with_baseline(study, layout, "specificity"), *map(layout.direction, specificity_subjects(study))]


def rows(study: Study, layout: Layout) -> list[Row]:
    """Directions beside each other, and EM with their parts projected out, seeds pooled and single.

    Geometry: `shared_share`, the squared cosine of an organism's direction with what the organisms' directions share at
    a layer, and its mean over layers and seeds; `least_angle` and `largest_angle`, the principal angles in degrees
    between the subspaces that two organisms' directions span over their seeds; `specific_cosine` of what two
    organisms have beside the shared part, over layers and seeds.

    Kinds of the rates and changes: own, shared, specific, orthogonal (all draws pooled), orthogonal_draw (one),
    base_mean, cap; whole_from and specific_from, the transfer of what the organism in `source` has.
    `em_above_orthogonal` and `em_above_own` are EM against that under the controls, and under the own direction.
    `<metric>_of_aligned_change`, seeds pooled, is what a change does to a topic's score among the aligned responses.
    """
    limits, made = thresholds_of(study), _geometry(study, layout)
    topics = [name for name in study.judge.metrics if name not in NO_TOPICS]
    groups: dict[str, list[str]] = {}
    for subject in specificity_subjects(study):
        groups.setdefault(organism_of(subject)[0], []).append(subject)
    for organism, members in groups.items():
        before, after = {}, {}
        plain, changed = [], []
        for member in members:
            found = {c.name: places(study, member, c) for c in conditions(study, "specificity", member)}
            scored = read_scores(layout.judgements(member, "specificity"))
            before[member] = headline(study, layout, member).assign(seed=member)
            after[member] = scored.assign(place=scored.condition.map(found), seed=member)
            metrics = ("aligned", "coherent", *topics)
            scored = read_scores(layout.judgements(member, "specificity"), metrics)
            plain.append(headline(study, layout, member, metrics).assign(seed=member))
            changed.append(scored.assign(place=scored.condition.map(found), seed=member))
        were, are = pd.concat(before.values()), pd.concat(after.values())
        made += _changes(organism, were, are, limits, study.sampling.questions)
        made += _topics(organism, pd.concat(plain), pd.concat(changed), topics, limits, study.sampling.questions)
        if len(members) > 1:
            for member in members:
                made += _changes(member, before[member], after[member], limits, study.sampling.questions, cells=False)
    return made


def places(study: Study, subject: str, condition: Condition) -> list[Place]:
    """Groups of rows that a condition counts for."""
    change = condition.intervention
    assert change
    assert study.specificity
    source, kind = organism_of(change.source)[0], condition.kind
    own = source == organism_of(subject)[0]
    if kind in ("whole", "specific"):
        cell = Place(f"{kind}_from:{source}", {"kind": f"{kind}_from", "source": source})
        name = {"whole": "own"}.get(kind, kind)
        return [Place(name, {"kind": name, "source": source}), cell] if own else [cell]
    if kind == "shared":
        return [Place(kind, {"kind": kind})]
    facts = {"kind": kind, "source": source}
    if kind == "cap":
        name = condition.name.replace(f":{change.source}", "")
        return [Place(name, {**facts, "scale": change.scale})]
    if change.draw is None or study.specificity.orthogonal_draws < 2:
        return [Place(kind, facts)]
    single = {**facts, "kind": f"{kind}_draw", "draw": change.draw}
    return [Place(kind, facts), Place(f"{kind}:draw-{change.draw}", single)]


def _changes(
    subject: str, before: pd.DataFrame, after: pd.DataFrame, limits: Thresholds, asked: str, cells: bool = True
) -> list[Row]:
    """Rows of one organism; where not all of its seeds were changed so, only the same ones count before."""
    made = rate_rows("X7", subject, NOTHING.name, before, limits, kind=NOTHING.name, question_set=asked)
    exploded = after.explode("place")
    kinds = pd.Series([place.facts["kind"] for place in exploded.place], index=exploded.index, dtype="string")
    beside = {kind: exploded[(kinds == kind).to_numpy()] for kind in ("orthogonal", "own")}
    for place in dict.fromkeys(exploded.place):
        part, facts = exploded[exploded.place == place], {"question_set": asked, **place.facts}
        if facts["kind"] in CELLS and not cells:
            continue
        seeds = part.seed.unique()
        made += change_rows("X7", subject, place.name, before[before.seed.isin(seeds)], part, limits, **facts)
        for kind, control in beside.items() if facts["kind"] not in (*CELLS, "orthogonal_draw") else ():
            same = control[control.seed.isin(seeds)]
            if facts["kind"] != kind and len(same):
                made.append(comparison("X7", subject, f"em_above_{kind}", place.name, same, part, limits, **facts))
    return made


def _topics(
    subject: str, before: pd.DataFrame, after: pd.DataFrame, topics: list[str], limits: Thresholds, asked: str
) -> list[Row]:
    """What each change does to topics of the aligned responses: whether it takes more than misalignment."""
    made, exploded = list[Row](), after.explode("place")
    for place in dict.fromkeys(exploded.place):
        if place.facts["kind"] in (*CELLS, "orthogonal_draw"):
            continue
        part = exploded[exploded.place == place]
        same = before[before.seed.isin(part.seed.unique())]
        was, now = (side[is_aligned(side.aligned, side.coherent, limits)] for side in (same, part))
        for topic in topics:
            quantity, facts = f"{topic}_of_aligned_change", {"question_set": asked, **place.facts}
            made.append(score_change("X7", subject, quantity, place.name, was, now, topic, **facts))
    return made


def _geometry(study: Study, layout: Layout) -> list[Row]:
    from torch.nn.functional import cosine_similarity

    from workflow_scripts.models.direction_parts import shared_axes, without

    assert study.specificity
    names, made = study.specificity.organisms, list[Row]()
    there = {
        subject: read_direction(layout, subject)[0]["direction"].double()
        for subject in specificity_subjects(study)
        if has_direction(layout, subject)
    }
    shares: dict[str, dict[object, list[float]]] = {}
    cosines: dict[tuple[str, str], dict[object, list[float]]] = {}
    for subject, vectors in there.items():
        organism, seed = organism_of(subject)
        beside = [source_for(study, name, subject) for name in names]
        if not all(other in there for other in beside):
            continue
        axes = shared_axes([there[other] for other in beside])
        found = cosine_similarity(vectors, axes, dim=1).square().tolist()
        shares.setdefault(organism, {})[seed] = found
        for layer, share in enumerate(found):
            facts = {"layer": layer, "kind": "geometry"}
            made.append(row("X7", subject, "shared_share", f"layer-{layer}", point(share, 1), "share", **facts))
        for other in beside[names.index(organism) + 1 :]:
            one, two = (without(there[part], axes) for part in (subject, other))
            pair = organism, organism_of(other)[0]
            cosines.setdefault(pair, {})[seed] = cosine_similarity(one, two, dim=1).tolist()
    for organism, by_seed in shares.items():
        facts = {"kind": "geometry", "seeds": len(by_seed)}
        made.append(row("X7", organism, "shared_share_mean", "all layers", mean_cosine(by_seed), "share", **facts))
    for (organism, other), by_seed in cosines.items():
        facts = {"kind": "geometry", "source": other, "seeds": len(by_seed)}
        made.append(row("X7", organism, "specific_cosine", other, mean_cosine(by_seed), "cosine", **facts))
    return made + _angles(study, there)


def _angles(study: Study, there: Mapping[str, Tensor]) -> list[Row]:
    """Principal angles between the subspaces that the seeds of two organisms span, by layer and their mean."""
    from scipy.linalg import subspace_angles

    assert study.specificity
    spans = {
        name: [there[s] for s in (seed_subject(name, seed) for seed in study.organisms[name].seeds) if s in there]
        for name in study.specificity.organisms
    }
    made: list[Row] = []
    for one, other in combinations([name for name, vectors in spans.items() if vectors], 2):
        sides = [np.stack([vectors.numpy() for vectors in spans[name]], axis=-1) for name in (one, other)]
        degrees = np.degrees([subspace_angles(a, b) for a, b in zip(*sides, strict=True)])  # largest first
        for quantity, place in (("least_angle", -1), ("largest_angle", 0)):
            facts: dict[str, Any] = {"source": other, "kind": "geometry"}
            by_layer = degrees[:, place].tolist()
            for layer, angle in enumerate(by_layer):
                at = {**facts, "layer": layer}
                name = f"{other}:layer-{layer}"
                made.append(row("X7", one, quantity, name, point(angle, degrees.shape[1]), "degrees", **at))
            mean = point(float(np.mean(by_layer)), len(by_layer))
            made.append(row("X7", one, f"{quantity}_mean", other, mean, "degrees", **facts))
    return made


def shown(table: pd.DataFrame) -> pd.Series[bool]:
    of_parts = table.quantity.isin(["em", "em_relative_change", "em_above_orthogonal"]) & ~table.kind.isin(
        [*CELLS, "orthogonal_draw"]
    )
    return of_parts | table.quantity.isin(["shared_share_mean", "least_angle_mean"])


def specificity(study: Study, layout: Layout) -> Drawing:
    """Which part of a direction carries the misalignment?"""
    table = read_frame(layout.table("specificity"))
    pooled = table[table.seed.isna() & (table.quantity == "em")]
    names = [name for name in study.organisms if (pooled.subject == name).any()]
    kinds = [kind for kind in BARS if (pooled.kind == kind).any()]
    figure, (axis,) = make_axes(1, 1, (2.5 + 2 * max(1, len(names)), 4))
    width = 0.8 / max(1, len(kinds))
    for index, kind in enumerate(kinds):
        _, colour, hatch = BARS[kind]
        for position, name in enumerate(names):
            found = pooled[(pooled.subject == name) & (pooled.kind == kind)]
            if len(found):
                place = position + (index - (len(kinds) - 1) / 2) * width
                bar(axis, place, found.iloc[0], colour, width * 0.92, hatch)
    axis.set_xticks(range(len(names)), names)
    axis.set_ylabel("misaligned responses (%)")
    panel(axis, "Misaligned responses left", f"n = {counted(set(pooled.n.astype(int)))} per bar")
    handles = [patch(colour, hatch, label) for kind, (label, colour, hatch) in BARS.items() if kind in kinds]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8)
    else:
        legend(axis, pooled)
    return figure


def shared_part(study: Study, layout: Layout) -> Drawing:
    """How much of each direction do the organisms share?"""
    table = read_frame(layout.table("specificity"))
    chosen = table[table.quantity == "shared_share"]
    figure, (axis,) = make_axes(1, 1, (6, 3.5))
    for name, part in chosen.groupby("subject", sort=False):
        by_layer = 100 * part.groupby("layer").value.mean()
        axis.plot(by_layer, color=colours(study)[str(name)], marker="o", ms=3, label=name)
    axis.set(ylabel="share of the squared length (%)", ylim=(0, 102))
    whole_numbers(axis, "decoder layer")
    panel(axis, "What lies along the shared axis", f"n = {counted({chosen.seed.nunique()})} seeds per point")
    legend(axis, chosen, fontsize=7)
    return figure


EXPERIMENT = Experiment(
    table="specificity",
    labels=("X7",),
    asked=lambda study: study.specificity is not None,
    reads=("specificity", "thresholds", "sampling.questions", "organisms.seeds", "judge.metrics"),
    inputs=inputs,
    rows=rows,
    shown=shown,
    figures={
        "specificity": Figure("X7 Parts of the directions", specificity),
        "shared_part": Figure("X7 What the directions share", shared_part),
    },
)
