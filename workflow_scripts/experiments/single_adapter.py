"""E7: the single rank-1 adapter against the direction at its layer (appendix D)."""

from __future__ import annotations

import pandas as pd

from workflow_scripts.artefacts import read_frame
from workflow_scripts.conditions import NOTHING, direction_organisms, only_layer, single_adapter_subjects, source_for
from workflow_scripts.experiments.rows import (
    Row,
    change_rows,
    headline,
    point,
    rate_rows,
    read_direction,
    row,
    thresholds_of,
)
from workflow_scripts.layout import Layout, seed_subject
from workflow_scripts.scores import read_scores
from workflow_scripts.study import Study
from workflow_scripts.surgery import read_adapter


def adapter_alignment(study: Study, layout: Layout) -> list[Row]:
    """E7: cosine of B of a single rank-1 adapter with its own direction, and the source's, at the adapter's layer."""
    from torch.nn.functional import cosine_similarity

    rows = []
    for organism in direction_organisms(study):
        settings = study.organisms[organism]
        if settings.rank != 1 or settings.layers is None or len(settings.layers) != 1:
            continue
        layer = settings.layers[0]
        for seed in settings.seeds:
            subject = seed_subject(organism, seed)
            weights = read_adapter(layout.organism(subject))
            b = next(tensor for name, tensor in weights.items() if ".lora_B." in name)[:, 0].double()
            others = [subject] + ([source_for(study, study.ablation.source, subject)] if study.ablation else [])
            for other in dict.fromkeys(others):
                vector = read_direction(layout, other)[0]["direction"][layer].double()
                if vector.shape == b.shape:
                    cosine = float(cosine_similarity(b, vector, dim=0))
                    rows.append(
                        row(
                            "E7",
                            subject,
                            "b_cosine",
                            f"{other}:layer-{layer}",
                            point(cosine, 1),
                            "cosine",
                            layer=layer,
                        )
                    )
    return rows


def single_adapter(study: Study, layout: Layout) -> list[Row]:
    """E7: EM with the direction taken out of B, against before, and the downstream cosines, seeds pooled.

    `downstream_cosine` is the mean over seeds by layer; `downstream_cosine_max` its largest value after the adapter's
    layer, under `misaligned` and `aligned` for the direction and `random` for the largest of the random ones.
    """
    assert study.single_adapter, "asked for by the rules only where the study has the section"
    limits, rows = thresholds_of(study), []
    organism, subjects = study.single_adapter.organism, single_adapter_subjects(study)
    before = pd.concat([headline(study, layout, subject) for subject in subjects])
    after = pd.concat([read_scores(layout.judgements(subject, "surgery")) for subject in subjects])
    rows += rate_rows("E7", organism, NOTHING.name, before, limits)
    for name in ("b_projected", "b_projected_renormalised"):
        rows += change_rows("E7", organism, name, before, after[after.condition == name], limits)
    carrier = only_layer(study.organisms[organism])
    found = pd.concat([read_frame(layout.downstream(subject)) for subject in subjects])
    mean = found.groupby(["side", "comparison", "layer"], as_index=False).cosine.mean()
    responses = sum(int(read_frame(layout.downstream(subject)).responses.iloc[0]) for subject in subjects)
    for line in mean.itertuples():
        place = f"{line.side}:{line.comparison}:layer-{line.layer}"
        rows.append(row("E7", organism, "downstream_cosine", place, point(line.cosine, responses), "cosine",
                        layer=line.layer))  # fmt: skip
    later = mean[mean.layer > carrier]
    for side, part in later[later.comparison == "direction"].groupby("side"):
        rows.append(
            row("E7", organism, "downstream_cosine_max", str(side), point(part.cosine.max(), responses), "cosine")
        )
    drawn = later[later.comparison != "direction"]
    if len(drawn):
        rows.append(
            row("E7", organism, "downstream_cosine_max", "random", point(drawn.cosine.max(), responses), "cosine")
        )
    return rows
