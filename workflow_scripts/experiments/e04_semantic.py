"""E4: semantic directions, their likeness to the general one, and what the chat base talks about under each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from workflow_scripts.estimation.intervals import clustered_mean
from workflow_scripts.estimation.labels import Thresholds, is_misaligned
from workflow_scripts.experiments.experiment import Experiment, Figure
from workflow_scripts.experiments.rows import (
    Row,
    drawn,
    has_direction,
    headline,
    judgement_files,
    point,
    rate_rows,
    read_direction,
    row,
    score_change,
    thresholds_of,
)
from workflow_scripts.reporting.style import (
    BELOW,
    GREY,
    PALETTE,
    counted,
    interval,
    legend,
    make_axes,
    panel,
    patch,
    whole_numbers,
)
from workflow_scripts.store.artefacts import read_frame
from workflow_scripts.store.judgement_tables import read_scores
from workflow_scripts.study.conditions import NOTHING, conditions, topic_subject
from workflow_scripts.study.layout import CHAT_BASE, Layout, organism_of
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

GENERAL = "general"


def inputs(study: Study, layout: Layout) -> list[Path]:
    source = topic_subject(study)
    assert study.semantic, "asked for only where the study has the section"
    assert source
    topics = [layout.direction(f"{source}/{topic}") for topic in study.semantic.topics]
    own = [layout.direction(source), layout.judgements(source, "baseline")]
    return [*judgement_files(study, layout, "semantic"), *topics, *own]


def rows(study: Study, layout: Layout) -> list[Row]:
    """Cosines and relative differences by layer, and topic scores of the misaligned responses, by direction and λ.

    `source` is the direction's topic, or `general`. Kinds: `topic` under each λ; `best`, the λ with most EM, which the
    paper reports; `none`, the source's own misaligned responses. `cosine_max` of kind `shuffled` is that of directions
    of the topic's responses with their labels shuffled. `<metric>_score_change` is the score under the best λ minus the
    source's own, over the questions that both have misaligned responses to.
    """
    assert study.semantic, "asked for only where the study has the section"
    assert study.steering
    source, limits = topic_subject(study), thresholds_of(study)
    assert source
    made = _likeness(study, layout, source)
    metrics = tuple(dict.fromkeys(topic.metric for topic in study.semantic.topics.values()))
    own = headline(study, layout, source, ("aligned", "coherent", *metrics))
    plain = {"kind": NOTHING.name, "question_set": study.sampling.questions}
    made += _topic_rows(organism_of(source)[0], NOTHING.name, own, metrics, limits, **plain)
    scored = read_scores(layout.judgements(CHAT_BASE, "semantic"), ("aligned", "coherent", *metrics))
    found: dict[str, list[tuple[float, pd.DataFrame]]] = {}
    for condition in conditions(study, "semantic", CHAT_BASE):
        change = condition.intervention
        assert change
        if not has_direction(layout, change.source):
            continue
        name = change.source.removeprefix(source).strip("/") or GENERAL
        found.setdefault(name, []).append((change.scale, scored[scored.condition == condition.name]))
    asked = study.steering.questions or study.sampling.questions
    for name, parts in found.items():
        at_scale = []
        for scale, part in parts:
            facts = {"source": name, "scale": scale, "layer": study.semantic.layer, "question_set": asked}
            place = f"{name}:scale-{scale:g}"
            rates = rate_rows("E4", CHAT_BASE, place, part, limits, kind="topic", **facts)
            made += rates + _topic_rows(CHAT_BASE, place, part, metrics, limits, kind="topic", **facts)
            at_scale.append((rates[0]["value"], part, facts))
        _, part, facts = max(at_scale, key=lambda rate: -1.0 if pd.isna(rate[0]) else rate[0])
        made += rate_rows("E4", CHAT_BASE, f"{name}:best", part, limits, kind="best", **facts)
        made += _topic_rows(CHAT_BASE, f"{name}:best", part, metrics, limits, kind="best", **facts)
        made += _topic_changes(f"{name}:best", own, part, metrics, limits, kind="best", **facts)
    return made


def _topic_rows(
    subject: str, condition: str, scored: pd.DataFrame, metrics: tuple[str, ...], limits: Thresholds, **facts: object
) -> list[Row]:
    """Mean score for each topic over the misaligned responses."""
    bad = scored[is_misaligned(scored.aligned, scored.coherent, limits)]
    made = []
    for metric in metrics:
        kept = bad.dropna(subset=[metric])
        found = clustered_mean(kept[metric], kept.question_id) if len(kept) else point(float("nan"), 0)
        made.append(row("E4", subject, f"{metric}_score", condition, found, "score", **facts))
    return made


def _topic_changes(
    condition: str,
    own: pd.DataFrame,
    scored: pd.DataFrame,
    metrics: tuple[str, ...],
    limits: Thresholds,
    **facts: object,
) -> list[Row]:
    """How much higher misaligned responses score for each topic than the source's own do, paired by question."""
    theirs, here = (part[is_misaligned(part.aligned, part.coherent, limits)] for part in (own, scored))
    return [
        score_change("E4", CHAT_BASE, f"{metric}_score_change", condition, theirs, here, metric, **facts)
        for metric in metrics
    ]


def _likeness(study: Study, layout: Layout, source: str) -> list[Row]:
    from torch.nn.functional import cosine_similarity

    assert study.semantic
    if not has_direction(layout, source):
        return []
    general = read_direction(layout, source)[0]["direction"].double()
    organism, _ = organism_of(source)
    made = []
    for topic in study.semantic.topics:
        if not has_direction(layout, f"{source}/{topic}"):
            continue
        tensors, facts = read_direction(layout, f"{source}/{topic}")
        vector, responses = tensors["direction"].double(), int(facts["misaligned"]) + int(facts["aligned"])
        cosines = cosine_similarity(vector, general, dim=1)
        differences = (vector - general).norm(dim=1) / general.norm(dim=1)
        for layer, (cosine, difference) in enumerate(zip(cosines.tolist(), differences.tolist(), strict=True)):
            place, more = f"{topic}:layer-{layer}", {"layer": layer, "source": topic}
            made.append(row("E4", source, "cosine", place, point(cosine, responses), "cosine", **more))
            made.append(row("E4", source, "relative_difference", place, point(difference, responses), "ratio", **more))
        for quantity, extreme in (("cosine_max", cosines.max()), ("cosine_min", cosines.min())):
            found = point(float(extreme), responses)
            made.append(row("E4", organism, quantity, topic, found, "cosine", source=topic, kind="topic"))
        if len(tensors["shuffled"]):
            tops = cosine_similarity(tensors["shuffled"].double(), general, dim=-1).amax(dim=1)
            facts = {"source": topic, "kind": "shuffled"}
            made.append(row("E4", organism, "cosine_max", f"shuffled:{topic}", drawn(tops), "cosine", **facts))
    return made


def shown(table: pd.DataFrame) -> pd.Series[bool]:
    scores = table.quantity.str.endswith("_score") | (table.quantity == "em")
    return (scores & table.kind.isin([NOTHING.name, "best"])) | (
        (table.quantity == "cosine_max") & (table.kind == "topic")
    )


def semantic(study: Study, layout: Layout) -> Drawing:
    """What do misaligned responses talk about under each topic's direction, and how alike are the directions?"""
    table = read_frame(layout.table("semantic"))
    source, _ = organism_of(topic_subject(study) or "")
    figure, axes = make_axes(1, 2, (10, 3.8))
    scores = table[table.quantity.str.endswith("_score")]
    topics = list(dict.fromkeys(scores.quantity))
    own = scores[scores.kind == NOTHING.name]
    best = scores[scores.kind == "best"]
    columns = [(f"{source}\n(not steered)", own)]
    columns += [(f"{name}\ndirection", part) for name, part in best.groupby("source", sort=False)]
    width = 0.8 / max(1, len(topics))
    for index, quantity in enumerate(topics):
        for position, (_, part) in enumerate(columns):
            for found in part[part.quantity == quantity].itertuples():
                place = position + (index - (len(topics) - 1) / 2) * width
                axes[0].bar(place, found.value, width * 0.92, color=PALETTE[index % len(PALETTE)])
                interval(axes[0], place, found.low, found.high)
    named = [f"{label}\nn = {counted(set(part.n.astype(int)))}" for label, part in columns]
    axes[0].set_xticks(range(len(columns)), named, fontsize=7)
    axes[0].set(ylabel="mean topic score of misaligned responses", ylim=(0, 105))
    keys = [patch(PALETTE[i % len(PALETTE)], "", name.removesuffix("_score")) for i, name in enumerate(topics)]
    panel(axes[0], "What misaligned responses are about")
    axes[0].legend(handles=keys, **BELOW, ncols=max(1, len(keys)))
    cosines = table[table.quantity == "cosine"]
    for index, (topic, part) in enumerate(cosines.groupby("source", sort=False)):
        label = f"{topic} (from {counted(set(part.n.astype(int)))} responses)"
        axes[1].plot(part.layer, part.value, color=PALETTE[index % len(PALETTE)], marker="o", ms=3, label=label)
    axes[1].axhline(0, color=GREY, lw=0.8)
    axes[1].set(ylabel="cosine with the general direction", ylim=(min([-0.2, *cosines.value]), 1.02))
    whole_numbers(axes[1], "decoder layer")
    panel(axes[1], "Likeness to the general direction")
    legend(axes[1], cosines, fontsize=7)
    return figure


EXPERIMENT = Experiment(
    table="semantic",
    labels=("E4",),
    asked=lambda study: study.semantic is not None,
    reads=("semantic", "steering", "thresholds", "sampling.questions", "organisms.seeds"),
    inputs=inputs,
    rows=rows,
    shown=shown,
    figures={"semantic": Figure("E4 Semantic directions", semantic)},
)
