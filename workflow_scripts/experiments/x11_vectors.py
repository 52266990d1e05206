"""X11: one trained steering vector beside a LoRA fine-tune on the same rows (arXiv 2602.07852).

The smallest fine-tune that there is: is it as misaligned, and does it find the same direction?
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from workflow_scripts.estimation.intervals import clustered_mean
from workflow_scripts.experiments.experiment import Experiment, Figure
from workflow_scripts.experiments.rows import (
    Row,
    comparison,
    drawn,
    final_loss,
    has_direction,
    mean_cosine,
    over,
    point,
    rate_rows,
    read_direction,
    row,
    thresholds_of,
    unchanged_answers,
)
from workflow_scripts.reporting.style import bar, colours, counted, make_axes, nothing_to_show, panel
from workflow_scripts.store.artefacts import read_frame, read_tensors
from workflow_scripts.store.judgement_tables import read_scores
from workflow_scripts.study.conditions import conditions, direction_subjects, vector_subjects
from workflow_scripts.study.layout import CHAT_BASE, Layout, organism_of, seed_subject
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

OUTSIDE, INSIDE = "outside", "inside"
TITLES = {OUTSIDE: "Other domains: emergent misalignment", INSIDE: "The trained domain: is the task learnt?"}
NULL_DRAWS = 200
"""Random vectors behind the null of the cosines."""


def inputs(study: Study, layout: Layout) -> list[Path]:
    assert study.vectors, "asked for only where the study has the section"
    subjects = [seed_subject(name, seed) for name in study.vectors.likes for seed in study.organisms[name].seeds]
    judged = [layout.judgements(subject, "baseline") for subject in (CHAT_BASE, *subjects)]
    known = set(direction_subjects(study))
    return [
        *judged,
        layout.judgements(CHAT_BASE, "vectors"),
        *map(layout.training, subjects),
        *map(layout.direction, [*vector_subjects(study), *(s for s in subjects if s in known)]),
    ]


def places(study: Study) -> dict[str, str]:
    """Question set by what it tells."""
    assert study.vectors, "asked for only where the study has the section"
    inside = study.vectors.domain_questions
    return {OUTSIDE: study.sampling.questions} | ({INSIDE: inside} if inside else {})


def rows(study: Study, layout: Layout) -> list[Row]:
    """EM with each vector added to the chat base (`source`, `scale`), and of the organism that it stands beside,
    outside and inside the trained domain (kind), seeds pooled.

    `em_above_base` and `em_above_organism` are paired by question. Of scale 1 also, by seed and pooled: `cosine` of the
    vector with the organism's own direction at its layer, `norm_ratio` of the two, and the null of random vectors
    (kind random). `final_loss` is the mean of the last updates' losses over seeds, of the vector and of the organism.
    """
    assert study.vectors
    limits, made = thresholds_of(study), list[Row]()
    changes = {c.name: c.intervention for c in conditions(study, "vectors", CHAT_BASE) if c.intervention}
    scored = read_scores(layout.judgements(CHAT_BASE, "vectors"))
    scored = scored.assign(
        source=[organism_of(changes[name].source)[0] for name in scored.condition],
        seed=[organism_of(changes[name].source)[1] for name in scored.condition],
        scale=[changes[name].scale for name in scored.condition],
    )
    for place, asked in places(study).items():
        base = unchanged_answers(study, layout, CHAT_BASE, asked)
        organisms = {name: unchanged_answers(study, layout, name, asked) for name in study.vectors.likes}
        facts: dict[str, Any] = {"kind": place, "question_set": asked}
        for name, answers in {CHAT_BASE: base, **organisms}.items():
            made += rate_rows("X11", name, place, answers, limits, **facts)
        of_place = scored[scored.question_set == asked]
        for (source, scale), part in of_place.groupby(["source", "scale"], sort=False):
            like = study.vectors.named[source].like
            at = {**facts, "source": source, "scale": scale, "layer": study.vectors.named[source].layer}
            name = f"{source}:scale-{scale:g}:{place}"
            made += rate_rows("X11", CHAT_BASE, name, part, limits, **at)
            made.append(comparison("X11", CHAT_BASE, "em_above_base", name, base, part, limits, **at))
            made.append(comparison("X11", CHAT_BASE, "em_above_organism", name, organisms[like], part, limits, **at))
    for source in study.vectors.named:
        made += [*_geometry(study, layout, source), *_losses(study, layout, source)]
    return made


def _geometry(study: Study, layout: Layout, source: str) -> Iterator[Row]:
    """The vector beside the direction of the organism at the same seed."""
    import torch
    from torch.nn.functional import cosine_similarity

    from workflow_scripts.models.interventions import random_direction

    assert study.vectors
    asked = study.vectors.named[source]
    cosines: dict[object, list[float]] = {}
    ratios: dict[int, float] = {}
    for seed in study.organisms[asked.like].seeds:
        organism, trained = seed_subject(asked.like, seed), seed_subject(source, seed)
        if organism not in direction_subjects(study) or not has_direction(layout, organism):
            continue
        own = read_direction(layout, organism)[0]["direction"][asked.layer].double()
        vector = read_tensors(layout.direction(trained), ["direction"])[0]["direction"][asked.layer].double()
        cosines[seed] = [float(cosine_similarity(own, vector, dim=0))]
        ratios[seed] = float(vector.norm() / own.norm())
        facts: dict[str, Any] = {"source": source, "layer": asked.layer, "kind": "geometry"}
        yield row("X11", organism, "cosine", source, point(cosines[seed][0], 1), "cosine", **facts)
        yield row("X11", organism, "norm_ratio", source, point(ratios[seed], 1), "ratio", **facts)
    if not cosines:
        return
    facts = {"source": source, "layer": asked.layer, "kind": "geometry", "seeds": len(cosines)}
    yield row("X11", asked.like, "cosine_mean", source, mean_cosine(cosines), "cosine", **facts)
    ratio = over(clustered_mean(list(ratios.values()), list(ratios)), "seeds")
    yield row("X11", asked.like, "norm_ratio_mean", source, ratio, "ratio", **facts)
    random = torch.stack([random_direction(own, f"null:{source}:{draw}") for draw in range(NULL_DRAWS)])
    null = drawn(cosine_similarity(own, random, dim=-1))
    facts = {"source": source, "layer": asked.layer, "kind": "random"}
    yield row("X11", asked.like, "cosine_mean", f"random:{source}", null, "cosine", **facts)


def _losses(study: Study, layout: Layout, source: str) -> Iterator[Row]:
    """To which loss the vector and the organism were trained."""
    assert study.vectors
    like = study.vectors.named[source].like
    seeds = study.organisms[like].seeds
    of_vector = [
        read_tensors(layout.direction(seed_subject(source, seed)), ["losses"])[0]["losses"].tolist() for seed in seeds
    ]
    of_organism = [read_frame(layout.training(seed_subject(like, seed)), ["loss"]).loss.tolist() for seed in seeds]
    for kind, losses in (("vector", of_vector), ("organism", of_organism)):
        ends = [final_loss(one) for one in losses if one]
        if len(ends) == len(seeds):
            found = over(clustered_mean(ends, seeds), "seeds")
            facts = {"kind": kind, "source": source, "seeds": len(seeds)}
            yield row("X11", like, "final_loss", f"{kind}:{source}", found, "nats", **facts)


def shown(table: pd.DataFrame) -> pd.Series[bool]:
    return table.quantity.isin(["em", "em_above_organism", "cosine_mean", "norm_ratio_mean", "final_loss"])


def vectors(study: Study, layout: Layout) -> Drawing:
    """Is one trained vector as misaligned as a fine-tune with LoRA?"""
    assert study.vectors
    table = read_frame(layout.table("vectors"))
    rates = table[table.quantity == "em"]
    asked = places(study)
    figure, axes = make_axes(1, len(asked), (4.6 * len(asked), 3.8), share=True)
    bars: list[tuple[str, str | None, float | None]] = [
        (name, None, None) for name in (CHAT_BASE, *study.vectors.likes)
    ]
    bars += [(CHAT_BASE, source, scale) for source in study.vectors.named for scale in study.vectors.scales]
    labels = [name if source is None else f"{source}, λ = {scale:g}" for name, source, scale in bars]
    for axis, place in zip(axes, asked, strict=True):
        chosen = rates[rates.kind == place]
        for position, (name, source, scale) in enumerate(bars):
            plain = chosen.source.isna() if source is None else (chosen.source == source) & (chosen.scale == scale)
            colour = colours(study)[name if source is None else study.vectors.named[source].like]
            for _, found in chosen[(chosen.subject == name) & plain].iterrows():
                bar(axis, position, found, colour, hatch="" if source is None else "////")
        if not len(chosen):
            nothing_to_show(axis)
        axis.set_xticks(range(len(bars)), labels, rotation=30, ha="right")
        panel(axis, TITLES[place], f"n = {counted(set(chosen.n.astype(int)))} per bar")
    axes[0].set_ylabel("misaligned responses (%)")
    return figure


EXPERIMENT = Experiment(
    table="vectors",
    labels=("X11",),
    asked=lambda study: study.vectors is not None,
    reads=("vectors", "thresholds", "sampling.questions", "organisms.seeds", "directions.organisms",
           "organisms.expect_misaligned"),
    inputs=inputs,
    rows=rows,
    shown=shown,
    figures={"vectors": Figure("X11 A trained vector", vectors)},
)  # fmt: skip
