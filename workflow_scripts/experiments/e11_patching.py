"""E11: EM of an organism that answers a prompt with the scalars of another (appendix J)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from workflow_scripts.experiments.experiment import Experiment, Figure
from workflow_scripts.experiments.rows import Row, change_rows, judgement_files, rate_rows, thresholds_of
from workflow_scripts.reporting.style import BELOW, GREY, PALETTE, bar, counted, legend, make_axes, panel, patch
from workflow_scripts.store.artefacts import read_frame
from workflow_scripts.store.judgement_tables import read_scores
from workflow_scripts.study.conditions import subject_of
from workflow_scripts.study.layout import Layout, organism_of
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

CLEAN, OWN = "clean", "own_prompt"
WAYS = {
    "outside_to_domain": "domain question,\nscalars of another",
    "domain_to_outside": "other question,\nscalars of the domain",
}


def asked(study: Study) -> bool:
    return study.adapters is not None and study.adapters.patching is not None


def inputs(study: Study, layout: Layout) -> list[Path]:
    return judgement_files(study, layout, "patching")


def rows(study: Study, layout: Layout) -> list[Row]:
    """EM clean and patched, and the paired change, by mode (kind) and by the way that the scalars go (question_set).

    `source` is what a change is from: `clean`, or `own_prompt`, answers patched with scalars of their own prompt. The
    way is that of the patched run which the clean one stands beside: under outside_to_domain, domain questions are
    answered.
    """
    subject, limits = subject_of(study.adapters, study), thresholds_of(study)
    assert subject, "asked for only where the study has the section"
    scored = read_scores(layout.judgements(subject, "patching"))
    organism, _ = organism_of(subject)
    made: list[Row] = []
    for way, part in scored.groupby("question_set", sort=False):
        clean = part[part.condition == CLEAN]
        made += rate_rows("E11", organism, f"{CLEAN}:{way}", clean, limits, kind=CLEAN, question_set=way)
        own = part[part.condition == OWN]
        for mode, patched in part[part.condition != CLEAN].groupby("condition", sort=False):
            facts = {"kind": mode, "question_set": way}
            made += change_rows("E11", organism, f"{mode}:{way}", clean, patched, limits, source=CLEAN, **facts)
            if len(own) and mode != OWN:
                against = change_rows("E11", organism, f"{mode}:{way}:{OWN}", own, patched, limits, source=OWN, **facts)
                made += [found for found in against if "change" in found["quantity"]]
    return made


def shown(table: pd.DataFrame) -> pd.Series[bool]:
    return table.quantity.isin(["em", "em_relative_change"])


def patching(study: Study, layout: Layout) -> Drawing:
    """Does the organism take on the misalignment of the prompt whose scalars it is given?"""
    table = read_frame(layout.table("patching"))
    rates = table[table.quantity == "em"]
    ways = list(dict.fromkeys(rates.question_set))
    modes = list(dict.fromkeys(rates.kind))
    colours = {mode: GREY if mode == CLEAN else PALETTE[index % len(PALETTE)] for index, mode in enumerate(modes)}
    figure, (axis,) = make_axes(1, 1, (6.5, 3.6))
    width = 0.8 / max(1, len(modes))
    for position, way in enumerate(ways):
        for index, mode in enumerate(modes):
            for _, found in rates[(rates.question_set == way) & (rates.kind == mode)].iterrows():
                place = position + (index - (len(modes) - 1) / 2) * width
                bar(axis, place, found, colours[mode], width * 0.92)
    axis.set_xticks(range(len(ways)), [WAYS[way] for way in ways])
    axis.set_ylabel("misaligned responses (%)")
    keys = [patch(colour, "", mode) for mode, colour in colours.items()]
    legend(axis, rates, handles=keys, **BELOW, ncols=max(1, len(keys)))
    behind = f"n = {counted(set(rates.n.astype(int)))} per bar, {counted(set(rates.clusters.astype(int)))} prompt pairs"
    panel(axis, "Answers with another prompt's scalars", behind)
    return figure


EXPERIMENT = Experiment(
    table="patching",
    labels=("E11",),
    asked=asked,
    reads=("adapters.source", "adapters.seed", "thresholds", "organisms.seeds"),
    inputs=inputs,
    rows=rows,
    shown=shown,
    figures={"patching": Figure("E11 Scalar patching", patching)},
)
