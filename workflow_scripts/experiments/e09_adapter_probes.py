"""E9: what the scalars of the rank-1 adapters tell, and which adapters carry it (section 4.2)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from workflow_scripts.adapters.probe_rows import SHUFFLED
from workflow_scripts.estimation.intervals import Estimate
from workflow_scripts.experiments.experiment import Experiment, Figure
from workflow_scripts.experiments.rows import Row, point, row
from workflow_scripts.reporting.style import (
    GREY,
    PALETTE,
    counted,
    interval,
    legend,
    make_axes,
    nothing_to_show,
    panel,
    paper_value,
    patch,
)
from workflow_scripts.store.absence import absent
from workflow_scripts.store.artefacts import read_frame
from workflow_scripts.study.conditions import subject_of
from workflow_scripts.study.layout import Layout, organism_of
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

CONTRASTS = {
    "outside_aligned-domain_aligned": "domain or not (aligned)",
    "outside_misaligned-domain_misaligned": "domain or not (misaligned)",
    "outside_aligned-outside_misaligned": "misaligned or not (outside)",
    "domain_aligned-domain_misaligned": "misaligned or not (domain)",
}
GENERAL, SPECIALISED = "outside_aligned-outside_misaligned", "outside_misaligned-domain_misaligned"
ROLES = {"general": PALETTE[1], "specialised": PALETTE[0], "both": PALETTE[3], "idle": GREY}
"""Colour of an adapter by the name that the rule gives it."""
SPLITS = (("token", PALETTE[0]), ("response", PALETTE[4]), ("question", PALETTE[2]))


def inputs(study: Study, layout: Layout) -> list[Path]:
    subject = subject_of(study.adapters, study)
    assert subject, "asked for only where the study has the section"
    return [layout.probes(subject)]


def rows(study: Study, layout: Layout) -> list[Row]:
    """Scores, coefficients and names as the probes' stage wrote them.

    `kind` is the contrast, `<class 0>-<class 1>`; of names, the two contrasts that they rest on. Intervals are the
    middle 95 % of the runs, and of the draws for scores under shuffled labels (`<score>_shuffled`); they are no
    sampling intervals. n counts tokens; of names, adapters. `units_…_questions` is how much moves when labels are
    shuffled within or over questions, `mixed_questions` how many of n questions have both classes: with none, the
    contrast cannot tell class from question.
    """
    subject = subject_of(study.adapters, study)
    assert subject, "asked for only where the study has the section"
    assert study.adapters
    organism, _ = organism_of(subject)
    made: list[Row] = []
    if absent(layout.probes(subject)):
        return made
    for found in read_frame(layout.probes(subject)).itertuples():
        split, adapter = (value if isinstance(value, str) else None for value in (found.split, found.adapter))
        place = ":".join(part for part in (found.contrast, split, adapter) if part)
        over = "draws" if found.quantity.endswith(SHUFFLED) else "runs"
        times = study.adapters.draws if over == "draws" else study.adapters.runs
        spread = found.low < found.high  # runs that all came out alike have none
        value = Estimate(found.value, found.low, found.high, found.tokens, times, over)
        value = value if spread else point(found.value, found.tokens)
        facts = {"kind": found.contrast, "split": split, "adapter": adapter}
        made.append(row("E9", organism, found.quantity, place, value, found.unit, **facts))
    return made


def shown(table: pd.DataFrame) -> pd.Series[bool]:
    scores = table.quantity.isin(["accuracy", "auc", "auc_shuffled"]) & (table.split != "response")
    return scores | table.quantity.isin(["general_adapters", "specialised_adapters", "mixed_questions"])


def adapter_probes(study: Study, layout: Layout) -> Drawing:
    """What do the scalars tell, and which adapters carry it?"""
    table = read_frame(layout.table("adapter_probes"))
    assert study.adapters, "drawn only where the study has the section"
    figure, axes = make_axes(1, 3, (11, 3.6))
    accuracy = table[table.quantity == "accuracy"]
    for position, contrast in enumerate(CONTRASTS):
        for offset, (split, colour) in zip((-0.2, 0, 0.2), SPLITS, strict=True):
            for found in accuracy[(accuracy.kind == contrast) & (accuracy.split == split)].itertuples():
                axes[0].plot(position + offset, 100 * found.value, "o", color=colour, ms=5)
                interval(axes[0], position + offset, 100 * found.low, 100 * found.high, colour)
        told = paper_value(study, study.adapters.source, "accuracy", f"{contrast}:token")
        if told is not None:
            axes[0].plot(position, 100 * told, "D", ms=5, mfc="none", mec="black")
    axes[0].axhline(50, color=GREY, lw=0.8)
    axes[0].set_xticks(range(len(CONTRASTS)), CONTRASTS.values(), rotation=25, ha="right", fontsize=7)
    axes[0].set_ylabel("accuracy on held-out tokens (%)")
    keys = [patch(colour, "", f"split by {split}") for split, colour in SPLITS]
    legend(axes[0], accuracy, handles=keys, fontsize=7)
    paper = ", diamonds: paper" if any(value.experiment == "E9" for value in study.paper) else ""
    panel(axes[0], "What the scalars tell", f"lines: middle 95 % of runs{paper}")
    roles = table[table.quantity.str.startswith("is_") & (table.value == 1)]
    named = {found.adapter: found.quantity.removeprefix("is_") for found in roles.itertuples()}
    weights = table[(table.quantity == "coefficient") & (table.split == "token")]
    for axis, contrast in zip(axes[1:], (GENERAL, SPECIALISED), strict=True):
        part = weights[weights.kind == contrast]
        for position, found in enumerate(part.itertuples()):
            colour = ROLES[named[found.adapter]] if found.adapter in named else "white"
            axis.bar(position, found.value, 0.7, color=colour, edgecolor=GREY, lw=0.5)
            interval(axis, position, found.low, found.high)
        axis.axhline(0, color="black", lw=0.6)
        axis.set_xticks(range(len(part)), [adapter.removeprefix("layer_") for adapter in part.adapter])
        axis.set(xlabel="layer of the adapter", ylabel="coefficient")
        panel(axis, f"Coefficients: {CONTRASTS[contrast]}", f"{counted(set(part.n.astype(int)))} tokens")
        if part.empty:
            nothing_to_show(axis)
        elif not part.value.any():
            axis.set_ylim(-1, 1)
            axis.text(
                0.5, 0.6, "all are 0: the probe uses no adapter", transform=axis.transAxes, ha="center", fontsize=8
            )
    axes[2].legend(handles=[patch(colour, "", name) for name, colour in ROLES.items()], fontsize=7)
    return figure


EXPERIMENT = Experiment(
    table="adapter_probes",
    labels=("E9",),
    asked=lambda study: study.adapters is not None,
    reads=("adapters.source", "adapters.seed", "adapters.runs", "adapters.draws", "organisms.seeds"),
    inputs=inputs,
    rows=rows,
    shown=shown,
    figures={"adapter_probes": Figure("E9 Probes on the adapters' scalars", adapter_probes)},
)
