"""E9 and E10: probes on the adapters' scalars, and sets of adapters scaled."""

from __future__ import annotations

from workflow_scripts.artefacts import read_frame
from workflow_scripts.conditions import SCALED_SETS, subject_of
from workflow_scripts.experiments.rows import Row, change_rows, headline, row, thresholds_of
from workflow_scripts.layout import Layout, organism_of
from workflow_scripts.response_classes import steered_shares
from workflow_scripts.scores import read_scores
from workflow_scripts.study import Study


def adapter_probes(study: Study, layout: Layout) -> list[Row]:
    """E9: scores, coefficients and names, as the probes' stage wrote them."""
    subject = subject_of(study.adapters, study)
    assert subject, "asked for by the rules only where the study has the section"
    rows: list[Row] = read_frame(layout.probes(subject)).to_dict("records")
    return rows


def adapter_steering(study: Study, layout: Layout) -> list[Row]:
    """E10: shares by stance and topic with sets of adapters scaled, neutral responses dropped as in the released code.

    `<quantity>_of_coherent` has every coherent response with all scores in its denominator instead.
    """
    subject, limits = subject_of(study.adapters, study), thresholds_of(study)
    assert subject
    assert study.adapters
    metric, (organism, _) = study.adapters.domain_metric, organism_of(subject)
    metrics = ("aligned", "coherent", metric)
    scored = read_scores(layout.judgements(subject, "surgery"), metrics)
    before = headline(study, layout, subject, metrics)
    parts = {"none": before} | {name: scored[scored.condition == name] for name in SCALED_SETS}
    rows: list[Row] = []
    for name, part in parts.items():
        rows += change_rows("E10", organism, name, before, part, limits)
        for dropped, suffix in ((True, ""), (False, "_of_coherent")):
            shares = steered_shares(part.aligned, part.coherent, part[metric], part.question_id, dropped)
            rows += [row("E10", organism, f"{q}{suffix}", name, found, "share") for q, found in shares.items()]
    return rows
