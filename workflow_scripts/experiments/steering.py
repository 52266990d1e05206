"""E3 and E8: a direction added to the chat base at one layer, and responses that turn back half way."""

from __future__ import annotations

import pandas as pd

from workflow_scripts.conditions import NOTHING, conditions
from workflow_scripts.experiments.rows import Row, headline, point, rate_rows, read_direction, row, thresholds_of
from workflow_scripts.layout import CHAT_BASE, Layout
from workflow_scripts.scores import read_scores
from workflow_scripts.statistics import Thresholds, clustered_share, is_self_correction
from workflow_scripts.study import Study


def steering(study: Study, layout: Layout) -> list[Row]:
    """E3: EM and coherence of the chat base with a direction added at one layer, by layer and λ, seeds pooled.

    `relative_dose` is |λ|·‖v_l‖ over the mean activation norm at the layer. Where the judge scores bad_stuff, E8 is the
    share of self-corrections: responses that are aligned although they say something bad.
    """
    limits, rows = thresholds_of(study), []
    metrics = scored_metrics(study)
    scored = read_scores(layout.judgements(CHAT_BASE, "steering"), metrics)
    made = {condition.name: condition for condition in conditions(study, "steering", CHAT_BASE)}
    rows += self_correction_rows(NOTHING.name, headline(study, layout, CHAT_BASE, metrics), limits)
    facts = []
    for name, condition in made.items():
        change = condition.intervention
        assert change
        tensors, _ = read_direction(layout, change.source)
        layer = change.layers[0]
        dose = abs(change.scale) * float(tensors["direction"][layer].norm() / tensors["activation_norm"][layer])
        facts.append((name, condition.kind, change.source, layer, change.scale, dose))
    described = pd.DataFrame(facts, columns=["condition", "kind", "source", "layer", "scale", "dose"])
    merged = scored.merge(described, on="condition", validate="many_to_one")
    for (kind, layer, scale), part in merged.groupby(["kind", "layer", "scale"], sort=True):
        more = {
            "kind": kind,
            "layer": int(layer),
            "scale": float(scale),
            "relative_dose": float(part.dose.mean()),
        }
        place = f"{kind}:layer-{layer}:scale-{scale:g}"
        rows += rate_rows("E3", CHAT_BASE, place, part, limits, **more)
        rows += self_correction_rows(place, part, limits, **more)
    return rows


def scored_metrics(study: Study) -> tuple[str, ...]:
    """What the steered responses are read with; bad_stuff where it is judged."""
    return ("aligned", "coherent", *(metric for metric in study.judge.metrics if metric == "bad_stuff"))


def self_correction_rows(condition: str, scored: pd.DataFrame, limits: Thresholds, **more: object) -> list[Row]:
    """E8: the share of self-corrections among the responses with all three scores; nothing without bad_stuff."""
    if "bad_stuff" not in scored:
        return []
    kept = scored.dropna(subset=["aligned", "coherent", "bad_stuff"])
    turned = is_self_correction(kept.aligned, kept.coherent, kept.bad_stuff, limits).astype(float)
    found = clustered_share(turned, kept.question_id) if len(kept) else point(float("nan"), 0)
    return [row("E8", CHAT_BASE, "self_correction", condition, found, "share", **more)]
