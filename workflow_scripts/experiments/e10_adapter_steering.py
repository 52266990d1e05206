"""E10: sets of adapters scaled, the others switched off (section 4.3)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from workflow_scripts.estimation.response_classes import (
    Judged,
    SteeringLimits,
    near_a_label,
    steered_changes,
    steered_shares,
)
from workflow_scripts.experiments.experiment import Experiment, Figure
from workflow_scripts.experiments.rows import Row, change_rows, headline, rate_rows, row, thresholds_of, with_baseline
from workflow_scripts.reporting.style import (
    BELOW,
    GREY,
    PALETTE,
    bar,
    counted,
    interval,
    legend,
    make_axes,
    panel,
    paper_value,
    patch,
)
from workflow_scripts.store.artefacts import read_frame
from workflow_scripts.store.judgement_tables import read_scores
from workflow_scripts.study.conditions import NOTHING, SCALED_SETS, subject_of
from workflow_scripts.study.layout import Layout, organism_of
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

STANCES = (
    ("misaligned_outside", "misaligned, other topics", PALETTE[1]),
    ("misaligned_domain", "misaligned, in the domain", PALETTE[4]),
    ("aligned_domain", "aligned, in the domain", PALETTE[5]),
    ("aligned_outside", "aligned, other topics", PALETTE[0]),
)
SETS = {
    "none": "not edited",
    "misalignment": "general up",
    "domain": "specialised up",
    "domain_alignment": "specialised up,\ngeneral down",
}
AGAINST = (*((name, NOTHING.name) for name in SCALED_SETS), ("domain", "misalignment"), ("domain_alignment", "domain"))
"""A set, and what its responses are held against: the unedited organism, the other set scaled up, and the same set
without the general adapters reversed."""
TOLD = (("misalignment", "misaligned"), ("domain", "misaligned_domain"), ("domain_alignment", "aligned"))
"""Set and quantity of the bars that the paper's text gives a number of."""


def asked(study: Study) -> bool:
    return study.adapters is not None and study.adapters.steering is not None


def inputs(study: Study, layout: Layout) -> list[Path]:
    return with_baseline(study, layout, "surgery")


def rows(study: Study, layout: Layout) -> list[Row]:
    """Shares by stance and topic with sets of adapters scaled, neutral responses dropped as in the released code.

    `kind` is the set that is scaled up, or none. `<quantity>_of_coherent` has every coherent response with all scores
    in its denominator instead, `<quantity>_at_cut` asks for another coherence score (`cut`), and `<quantity>_change` is
    a share's paired change from the condition in `source`: the organism as it is, or another set. `near_a_label` is the
    share with a score that the judge's rounding decides about.
    """
    subject, limits = subject_of(study.adapters, study), thresholds_of(study)
    assert subject, "asked for only where the study has the section"
    assert study.adapters
    assert study.adapters.steering
    labels = SteeringLimits(**study.adapters.steering.limits.model_dump())
    metric, (organism, _) = study.adapters.domain_metric, organism_of(subject)
    metrics = ("aligned", "coherent", metric)
    scored = read_scores(layout.judgements(subject, "surgery"), metrics)
    before = headline(study, layout, subject, metrics)
    parts = {NOTHING.name: before} | {name: scored[scored.condition == name] for name in SCALED_SETS}
    made: list[Row] = []
    for name, part in parts.items():
        if part.empty:
            continue
        facts = {"kind": name, "question_set": study.sampling.questions}
        if name == NOTHING.name:
            made += rate_rows("E10", organism, name, part, limits, **facts)
        else:
            made += change_rows("E10", organism, name, before, part, limits, **facts)
        judged = Judged(part.aligned, part.coherent, part[metric], part.question_id)
        for dropped, suffix in ((True, ""), (False, "_of_coherent")):
            shares = steered_shares(judged, dropped, labels)
            made += [row("E10", organism, f"{q}{suffix}", name, found, "share", **facts) for q, found in shares.items()]
        for cut in study.adapters.steering.coherence_cuts:
            place = {**facts, "cut": cut}
            for quantity, found in steered_shares(judged, limits=replace(labels, coherent_from=cut)).items():
                made.append(row("E10", organism, f"{quantity}_at_cut", f"{name}:cut-{cut:g}", found, "share", **place))
        made.append(row("E10", organism, "near_a_label", name, near_a_label(judged, labels), "share", **facts))
    there = {name: part for name, part in parts.items() if len(part)}
    sides = {name: Judged(part.aligned, part.coherent, part[metric], part.question_id) for name, part in there.items()}
    for name, against in AGAINST:
        changes = steered_changes(sides[against], sides[name], labels) if {name, against} <= sides.keys() else {}
        facts = {"kind": name, "source": against, "question_set": study.sampling.questions}
        told = name if against == NOTHING.name else f"{name}:{against}"
        made += [row("E10", organism, f"{q}_change", told, found, "share", **facts) for q, found in changes.items()]
    return made


def shown(table: pd.DataFrame) -> pd.Series[bool]:
    return table.quantity.isin(["misaligned", "misaligned_domain", "aligned", "domain_of_aligned", "coherence"])


def adapter_steering(study: Study, layout: Layout) -> Drawing:
    """What do responses become when sets of adapters are scaled?"""
    table = read_frame(layout.table("adapter_steering"))
    assert study.adapters, "drawn only where the study has the section"
    figure, axes = make_axes(1, 2, (10, 3.8))
    sets = {name: label for name, label in SETS.items() if (table.kind == name).any()}
    kept = table[table.kind.isin(sets)].set_index(["kind", "quantity"])
    counts = []
    for position, name in enumerate(sets):
        bottom = 0.0
        for quantity, label, colour in STANCES:
            value = (
                kept.loc[(name, "aligned"), "value"] - kept.loc[(name, "aligned_domain"), "value"]
                if quantity == "aligned_outside"
                else kept.loc[(name, quantity), "value"]
            )
            height = 0.0 if pd.isna(value) else 100 * value
            axes[0].bar(position, height, 0.7, bottom=bottom, color=colour, label=label if position == 0 else None)
            bottom += height
        counts.append(int(kept.loc[(name, "misaligned"), "n"]))
        found = kept.loc[(name, "misaligned")]
        interval(axes[0], position, 100 * found.low, 100 * found.high)
        bar(axes[1], position - 0.2, kept.loc[(name, "em")], PALETTE[1], 0.36)
        bar(axes[1], position + 0.2, kept.loc[(name, "coherence")], GREY, 0.36)
    for name, quantity in TOLD:
        value = paper_value(study, study.adapters.source, quantity, name)
        if value is None or name not in sets:
            continue
        place = 100 * value if quantity != "aligned" else 100 * (1 - value)
        axes[0].plot(list(sets).index(name), place, "D", ms=5, mfc="white", mec="black")
    labels = [f"{label}\nn = {count}" for label, count in zip(sets.values(), counts, strict=True)]
    axes[0].set_xticks(range(len(sets)), labels, fontsize=7)
    axes[0].set(ylabel="responses that are not neutral (%)", ylim=(0, 105))
    paper = "; diamond: paper" if any(value.experiment == "E10" for value in study.paper) else ""
    panel(axes[0], "Responses by stance and topic", f"line: interval of the misaligned share{paper}")
    legend(axes[0], sets, fontsize=7, loc="upper left", bbox_to_anchor=(0, -0.22), ncols=2)
    axes[1].set_xticks(range(len(sets)), sets.values(), fontsize=7)
    axes[1].set(ylabel="of all responses (%)", ylim=(0, 105))
    axes[1].legend(handles=[patch(PALETTE[1], "", "misaligned"), patch(GREY, "", "coherent")], **BELOW, ncols=2)
    rates = table[table.quantity == "em"]
    panel(axes[1], "Misaligned and coherent responses", f"n = {counted(set(rates.n.astype(int)))} per bar")
    return figure


EXPERIMENT = Experiment(
    table="adapter_steering",
    labels=("E10",),
    asked=asked,
    reads=(
        "adapters.source",
        "adapters.seed",
        "adapters.domain_metric",
        "adapters.steering.limits",
        "adapters.steering.coherence_cuts",
        "thresholds",
        "sampling.questions",
        "organisms.seeds",
    ),
    inputs=inputs,
    rows=rows,
    shown=shown,
    kinds=frozenset(SCALED_SETS),
    figures={"adapter_steering": Figure("E10 Sets of adapters scaled", adapter_steering)},
)
