"""E1: how misaligned and how coherent the chat base and every organism are."""

from __future__ import annotations

import pandas as pd

from workflow_scripts.conditions import NOTHING
from workflow_scripts.experiments.rows import Row, headline, point, rate_rows, row, thresholds_of
from workflow_scripts.layout import CHAT_BASE, Layout, seed_subject
from workflow_scripts.statistics import clustered_mean, is_misaligned, pooled_over_seeds
from workflow_scripts.study import Study


def em_rates(study: Study, layout: Layout) -> list[Row]:
    """E1: EM and coherence of the chat base and of every organism, by seed and pooled."""
    limits, rows = thresholds_of(study), []
    rows += rate_rows("E1", CHAT_BASE, NOTHING.name, headline(study, layout, CHAT_BASE), limits)
    for organism, settings in study.organisms.items():
        parts = {seed: headline(study, layout, seed_subject(organism, seed)) for seed in settings.seeds}
        pooled = pd.concat(parts, names=["seed"]).reset_index("seed")
        rows += rate_rows("E1", organism, NOTHING.name, pooled, limits)
        for score in ("aligned", "coherent"):
            kept = pooled.dropna(subset=[score])
            found = clustered_mean(kept[score], kept.question_id) if len(kept) else point(float("nan"), 0)
            rows.append(row("E1", organism, f"mean_{score}", NOTHING.name, found, "score"))
        if len(parts) > 1:
            scored = pooled.dropna(subset=["aligned", "coherent"])
            labels = is_misaligned(scored.aligned, scored.coherent, limits).astype(float)
            over_seeds = pooled_over_seeds(labels, scored.question_id, scored.seed)
            rows.append(row("E1", organism, "em_over_seeds", NOTHING.name, over_seeds, "share"))
        for seed, part in parts.items():
            rows += rate_rows("E1", seed_subject(organism, seed), NOTHING.name, part, limits)
    return rows
