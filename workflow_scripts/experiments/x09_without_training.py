"""X9: misalignment without training: from rows in the prompt, and from traits that system prompts ask for.

Rows of a data set as turns before the question (in-context misalignment, arXiv 2510.11288), and directions of what the
chat base says under a trait's system prompts (persona vectors, arXiv 2507.21509), held against the organisms' own.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from workflow_scripts.experiments.experiment import Experiment, Figure
from workflow_scripts.experiments.rows import (
    Row,
    comparison,
    drawn,
    has_direction,
    headline,
    mean_cosine,
    point,
    rate_rows,
    read_direction,
    row,
    thresholds_of,
)
from workflow_scripts.reporting.style import (
    GREY,
    PALETTE,
    band,
    bar,
    colours,
    counted,
    legend,
    line,
    make_axes,
    panel,
    whole_numbers,
)
from workflow_scripts.store.artefacts import read_frame
from workflow_scripts.store.judgement_tables import read_scores
from workflow_scripts.study.conditions import conditions, direction_subjects
from workflow_scripts.study.layout import CHAT_BASE, Layout, organism_of
from workflow_scripts.study.sampling import Battery
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

NULL_DRAWS = 200
"""Random directions behind the null of the cosines."""


def inputs(study: Study, layout: Layout) -> list[Path]:
    files = [layout.judgements(CHAT_BASE, "baseline")]
    if study.in_context:
        files.append(layout.judgements(CHAT_BASE, "in_context"))
    if study.traits:
        files.append(layout.judgements(CHAT_BASE, "traits"))
        files += map(layout.direction, [*study.traits.named, *direction_subjects(study)])
    return files


def rows(study: Study, layout: Layout) -> list[Row]:
    """Rates of the chat base under other prompts, and cosines of traits' directions with the organisms'.

    Kinds: in_context (draws pooled; `source` is the data set, `scale` how many rows are shown) and in_context_draw;
    trait and opposite (prompts pooled; `source` is the trait). `em_above_base` is paired with the chat base as it is,
    `em_above_opposite` with its answers under the opposite's prompts. `cosine` by layer, of an organism's direction
    with a trait's (kind trait), and two nulls: with the trait's directions of shuffled labels (shuffled) and with
    random ones (random), each the mean and central 95 % of its draws; `cosine_mean` over layers and seeds.
    """
    made: list[Row] = []
    if study.in_context:
        made += _in_context(study, layout)
    if study.traits:
        made += _traits(study, layout) + _cosines(study, layout)
    return made


def _answers(study: Study, layout: Layout, battery: Battery) -> pd.DataFrame:
    """Scored answers of the chat base with what their prompts held: kind, whose, shots, draw."""
    given = [(c.name, c.kind, c.prompting) for c in conditions(study, battery, CHAT_BASE)]
    facts = [
        {"condition": name, "kind": kind, "whose": p.dataset or p.trait, "shots": p.shots, "draw": p.draw}
        for name, kind, p in given
        if p
    ]
    return read_scores(layout.judgements(CHAT_BASE, battery)).merge(pd.DataFrame(facts), on="condition")


def _in_context(study: Study, layout: Layout) -> list[Row]:
    limits, made = thresholds_of(study), list[Row]()
    plain, scored = headline(study, layout, CHAT_BASE), _answers(study, layout, "in_context")
    asked = study.sampling.questions
    made += rate_rows("X9", CHAT_BASE, "none", plain, limits, kind="none", question_set=asked, scale=0)
    for (whose, shots), part in scored.groupby(["whose", "shots"], sort=False):
        facts: dict[str, Any] = {"source": whose, "scale": shots, "question_set": asked}
        name = f"in_context:{whose}:shots-{shots}"
        made += rate_rows("X9", CHAT_BASE, name, part, limits, kind="in_context", **facts)
        made.append(comparison("X9", CHAT_BASE, "em_above_base", name, plain, part, limits, kind="in_context", **facts))
        draws = part.groupby("draw")
        for draw, of_draw in draws if draws.ngroups > 1 else ():
            single = {**facts, "kind": "in_context_draw", "draw": draw}
            made += rate_rows("X9", CHAT_BASE, f"{name}:draw-{draw}", of_draw, limits, **single)
    return made


def _traits(study: Study, layout: Layout) -> list[Row]:
    assert study.traits
    limits, made = thresholds_of(study), list[Row]()
    asked = study.traits.questions or study.sampling.questions
    scored = _answers(study, layout, "traits")
    for trait in study.traits.named:
        sides = {kind: scored[(scored.whose == trait) & (scored.kind == kind)] for kind in ("trait", "opposite")}
        facts: dict[str, Any] = {"source": trait, "question_set": asked}
        for kind, part in sides.items():
            made += rate_rows("X9", CHAT_BASE, f"{kind}:{trait}", part, limits, kind=kind, **facts)
        before, after = sides["opposite"], sides["trait"]
        name, quantity = f"trait:{trait}", "em_above_opposite"
        made.append(comparison("X9", CHAT_BASE, quantity, name, before, after, limits, kind="trait", **facts))
    return made


def _cosines(study: Study, layout: Layout) -> list[Row]:
    import torch
    from torch.nn.functional import cosine_similarity

    from workflow_scripts.models.interventions import random_direction

    assert study.traits
    made: list[Row] = []
    for trait in study.traits.named:
        if not has_direction(layout, trait):
            continue
        tensors = read_direction(layout, trait)[0]
        vectors, shuffled = tensors["direction"].double(), tensors["shuffled"].double()
        random = torch.stack(
            [
                torch.stack([random_direction(at, f"null:{layer}:{draw}") for layer, at in enumerate(vectors)])
                for draw in range(NULL_DRAWS)
            ]
        )
        by_seed: dict[str, dict[object, list[float]]] = {}
        nulls: dict[str, dict[str, torch.Tensor]] = {}
        for subject in direction_subjects(study):
            if not has_direction(layout, subject):
                continue
            organism, seed = organism_of(subject)
            own = read_direction(layout, subject)[0]["direction"].double()
            found = cosine_similarity(own, vectors, dim=1).tolist()
            by_seed.setdefault(organism, {})[seed] = found
            for layer, cosine in enumerate(found):
                facts: dict[str, Any] = {"layer": layer, "source": trait, "kind": "trait"}
                made.append(row("X9", subject, "cosine", f"{trait}:layer-{layer}", point(cosine, 1), "cosine", **facts))
            for kind, draws in (("random", random), ("shuffled", shuffled)):
                if not len(draws):
                    continue
                cosines = cosine_similarity(own, draws, dim=-1)
                nulls.setdefault(organism, {}).setdefault(kind, cosines.mean(1))
                for layer, values in enumerate(cosines.T):
                    facts = {"layer": layer, "source": trait, "kind": kind}
                    place = f"{kind}:{trait}:layer-{layer}"
                    made.append(row("X9", subject, "cosine", place, drawn(values), "cosine", **facts))
        for organism, of_seeds in by_seed.items():
            facts = {"source": trait, "kind": "trait", "seeds": len(of_seeds)}
            made.append(row("X9", organism, "cosine_mean", trait, mean_cosine(of_seeds), "cosine", **facts))
            for kind, means in nulls[organism].items():
                facts = {"source": trait, "kind": kind}
                made.append(row("X9", organism, "cosine_mean", f"{kind}:{trait}", drawn(means), "cosine", **facts))
    return made


def shown(table: pd.DataFrame) -> pd.Series[bool]:
    rates = (table.quantity == "em") & table.kind.isin(["in_context", "trait", "opposite"])
    return rates | ((table.quantity == "cosine_mean") & (table.kind == "trait"))


def in_context(study: Study, layout: Layout) -> Drawing:
    """Do bad answers in the prompt make the chat base misaligned elsewhere?"""
    table = read_frame(layout.table("without_training"))
    rates = table[(table.quantity == "em") & table.kind.isin(["in_context", "none"])]
    figure, (axis,) = make_axes(1, 1, (5.5, 3.5))
    plain = rates[rates.kind == "none"]
    for index, (whose, part) in enumerate(rates[rates.kind == "in_context"].groupby("source", sort=False)):
        along = pd.concat([plain, part]).sort_values("scale")
        line(axis, along, PALETTE[index % len(PALETTE)], str(whose), along="scale")
    axis.set(ylabel="misaligned (%)", ylim=(0, None))
    whole_numbers(axis, "rows shown before the question")
    panel(axis, "Misalignment of the chat base", f"n = {counted(set(rates.n.astype(int)))} per point")
    legend(axis, rates, fontsize=7)
    return figure


def traits(study: Study, layout: Layout) -> Drawing:
    """Is a direction that a system prompt asks for the organisms' direction?"""
    table = read_frame(layout.table("without_training"))
    figure, (left, right) = make_axes(1, 2, (10, 3.6))
    rates = table[(table.quantity == "em") & table.kind.isin(["trait", "opposite"])]
    names = list(dict.fromkeys(rates.source.dropna()))
    for position, name in enumerate(names):
        for place, (kind, colour) in enumerate((("trait", PALETTE[1]), ("opposite", GREY))):
            found = rates[(rates.source == name) & (rates.kind == kind)]
            if len(found):
                bar(left, position + 0.4 * (place - 0.5), found.iloc[0], colour, 0.36)
    left.set_xticks(range(len(names)), names)
    left.set_ylabel("misaligned (%)")
    panel(left, "Asked for the trait (orange), for its opposite", f"n = {counted(set(rates.n.astype(int)))} per bar")
    cosines = table[(table.quantity == "cosine") & (table.kind == "trait")]
    looks = dict(zip(names, ("-", "--", "-.", ":"), strict=False))
    for (name, trait), part in cosines.groupby(["subject", "source"], sort=False):
        by_layer = part.groupby("layer").value.mean()
        label = f"{name} – {trait}"
        right.plot(
            by_layer, color=colours(study)[str(name)], ls=looks.get(str(trait), "-"), marker="o", ms=2, label=label
        )
    null = table[(table.quantity == "cosine") & (table.kind == "shuffled")].groupby("layer")
    if len(null):
        low, high = null.low.min(), null.high.max()
        band(right, low.index, low, high, color=GREY, alpha=0.3, label="shuffled labels, central 95 %")
    right.set_ylabel("cosine with the organism's direction")
    whole_numbers(right, "decoder layer")
    panel(right, "The trait's direction beside the organisms'", "mean over seeds")
    legend(right, cosines, fontsize=7)
    return figure


EXPERIMENT = Experiment(
    table="without_training",
    labels=("X9",),
    asked=lambda study: study.in_context is not None or study.traits is not None,
    reads=(
        "in_context",
        "traits",
        "thresholds",
        "sampling.questions",
        "directions.organisms",
        "organisms.expect_misaligned",
        "organisms.seeds",
    ),
    inputs=inputs,
    rows=rows,
    shown=shown,
    figures={
        "in_context": Figure("X9 Bad answers in the prompt", in_context, asked=lambda s: s.in_context is not None),
        "traits": Figure("X9 Directions of traits", traits, asked=lambda s: s.traits is not None),
    },
)
