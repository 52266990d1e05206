"""E4: semantic directions, their likeness to the general one, and what the chat base talks about under each."""

from __future__ import annotations

import pandas as pd

from workflow_scripts.conditions import conditions, topic_subject
from workflow_scripts.experiments.rows import Row, headline, point, rate_rows, read_direction, row, thresholds_of
from workflow_scripts.layout import CHAT_BASE, Layout, organism_of
from workflow_scripts.scores import read_scores
from workflow_scripts.statistics import Thresholds, clustered_mean, is_misaligned
from workflow_scripts.study import Study

GENERAL = "general"


def semantic(study: Study, layout: Layout) -> list[Row]:
    """E4: cosines and relative differences by layer, and topic scores of the misaligned responses, by direction and λ.

    Conditions: `<direction>:layer-l` and `<direction>:scale-λ`; `<direction>:best` is the scale with most EM, which the
    paper reports. The source's own misaligned responses stand beside as its rows without a condition.
    """
    assert study.semantic, "asked for by the rules only where the study has the section"
    source, limits = topic_subject(study), thresholds_of(study)
    assert source
    rows = _likeness(study, layout, source)
    metrics = tuple(dict.fromkeys(topic.metric for topic in study.semantic.topics.values()))
    own = headline(study, layout, source, ("aligned", "coherent", *metrics))
    rows += _topic_rows(organism_of(source)[0], "none", own, metrics, limits)
    scored = read_scores(layout.judgements(CHAT_BASE, "semantic"), ("aligned", "coherent", *metrics))
    found: dict[str, list[tuple[float, pd.DataFrame]]] = {}
    for condition in conditions(study, "semantic", CHAT_BASE):
        change = condition.intervention
        assert change
        name = change.source.removeprefix(source).strip("/") or GENERAL
        found.setdefault(name, []).append((change.scale, scored[scored.condition == condition.name]))
    for name, parts in found.items():
        rates = []
        for scale, part in parts:
            made = rate_rows("E4", CHAT_BASE, f"{name}:scale-{scale:g}", part, limits, direction=name, scale=scale)
            rows += made + _topic_rows(CHAT_BASE, f"{name}:scale-{scale:g}", part, metrics, limits,
                                       direction=name, scale=scale)  # fmt: skip
            rates.append((made[0]["value"], scale, part))
        _, scale, part = max(rates, key=lambda rate: rate[0])
        rows += rate_rows("E4", CHAT_BASE, f"{name}:best", part, limits, direction=name, scale=scale)
        rows += _topic_rows(CHAT_BASE, f"{name}:best", part, metrics, limits, direction=name, scale=scale)
    return rows


def _topic_rows(
    subject: str, condition: str, scored: pd.DataFrame, metrics: tuple[str, ...], limits: Thresholds, **more: object
) -> list[Row]:
    """Mean score for each topic over the misaligned responses."""
    bad = scored[is_misaligned(scored.aligned, scored.coherent, limits)]
    rows = []
    for metric in metrics:
        kept = bad.dropna(subset=[metric])
        found = clustered_mean(kept[metric], kept.question_id) if len(kept) else point(float("nan"), 0)
        rows.append(row("E4", subject, f"{metric}_score", condition, found, "score", **more))
    return rows


def _likeness(study: Study, layout: Layout, source: str) -> list[Row]:
    from torch.nn.functional import cosine_similarity

    assert study.semantic
    general = read_direction(layout, source)[0]["direction"].double()
    rows = []
    for topic in study.semantic.topics:
        tensors, facts = read_direction(layout, f"{source}/{topic}")
        vector, responses = tensors["direction"].double(), int(facts["misaligned"]) + int(facts["aligned"])
        cosines = cosine_similarity(vector, general, dim=1)
        differences = (vector - general).norm(dim=1) / general.norm(dim=1)
        for layer, (cosine, difference) in enumerate(zip(cosines.tolist(), differences.tolist(), strict=True)):
            place, more = f"{topic}:layer-{layer}", {"layer": layer, "direction": topic}
            rows.append(row("E4", source, "cosine", place, point(cosine, responses), "cosine", **more))
            rows.append(row("E4", source, "relative_difference", place, point(difference, responses), "ratio", **more))
        pooled = {"direction": topic}
        organism, _ = organism_of(source)
        rows.append(
            row("E4", organism, "cosine_max", topic, point(float(cosines.max()), responses), "cosine", **pooled)
        )
        rows.append(
            row("E4", organism, "cosine_min", topic, point(float(cosines.min()), responses), "cosine", **pooled)
        )
    return rows
