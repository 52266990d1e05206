"""X4: misalignment as a reference judge would see it, by another judge's calibrated scores, above a benign control.

A calibrated judge may take the style of any fine-tune for misalignment, so only differences to an organism that was
trained on good advice are shown. Their intervals hold the calibration's error on models and questions that it has not
seen, once for each of the two rates. Where the reference is a judge of the study's panel, the same differences by its
own scores stand beside them.
"""

from __future__ import annotations

from dataclasses import replace
from math import hypot
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from workflow_scripts.estimation.calibration import Map
from workflow_scripts.estimation.intervals import Estimate
from workflow_scripts.estimation.score_changes import mean_change
from workflow_scripts.experiments.experiment import Experiment, Figure
from workflow_scripts.experiments.rows import (
    Row,
    comparison,
    headline,
    judgement_files,
    point,
    row,
    thresholds_of,
)
from workflow_scripts.reporting.style import colours, interval, make_axes, nothing_to_show, panel
from workflow_scripts.store.absence import absent
from workflow_scripts.store.artefacts import read_frame
from workflow_scripts.study.conditions import NOTHING
from workflow_scripts.study.layout import CHAT_BASE, Layout, seed_subject
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


def inputs(study: Study, layout: Layout) -> list[Path]:
    assert study.calibration
    names = [study.calibration.judge, *([study.calibration.by_panel] if study.calibration.by_panel else [])]
    scored = [path for name in names for path in judgement_files(study, layout.read_by(name), "baseline")]
    return [layout.calibration, *scored]


def rows(study: Study, layout: Layout) -> list[Row]:
    """Calibrated EM above that of the control, seeds pooled and by seed; the calibration's errors."""
    settings = study.calibration
    assert settings, "asked for only where the study has the section"
    if absent(layout.calibration):
        return []
    found = read_frame(layout.calibration).iloc[0]
    map_, error = Map(found.intercept, found.aligned, found.coherent), float(found.error_of_models)
    control, by_panel = settings.control, settings.by_panel
    scored = answers(study, layout.read_by(settings.judge))
    by_reference = answers(study, layout.read_by(by_panel)) if by_panel else {}
    facts: dict[str, Any] = {"kind": NOTHING.name, "question_set": study.sampling.questions, "source": settings.judge}
    made = []
    for subject, given in scored.items():
        if subject != control and not subject.startswith(f"{control}/"):
            above = above_control(map_, scored[control], given, error)
            made.append(
                row("X4", subject, "em_calibrated_above_control", f"calibrated ±{error:.1%}", above, "share", **facts)
            )
            if by_panel:
                before, after = by_reference[control], by_reference[subject]
                compared = ("X4", subject, "em_above_control", by_panel, before, after, thresholds_of(study))
                made.append(comparison(*compared, **{**facts, "source": by_panel}))
    for of, over in (("models", found.models), ("questions", found.questions), ("own", found.models)):
        told = point(float(found[f"error_of_{of}"]), int(over))
        made.append(row("X4", CHAT_BASE, f"calibration_error_{of}", "held out", told, "share", **facts))
    return made


def answers(study: Study, place: Layout) -> dict[str, pd.DataFrame]:
    """Unchanged responses to the headline questions with scores: of the chat base, of each seed, of seeds pooled."""
    found = {CHAT_BASE: headline(study, place, CHAT_BASE)}
    for name, organism in study.organisms.items():
        parts = {seed_subject(name, seed): headline(study, place, seed_subject(name, seed)) for seed in organism.seeds}
        found |= parts | {name: pd.concat(parts.values(), ignore_index=True)}
    return found


def above_control(map_: Map, control: pd.DataFrame, given: pd.DataFrame, error: float) -> Estimate:
    """Mean chance of EM above that of the control's responses, by question, with both errors.

    Args:
        map_: the calibration.
        control, given: responses with scores and question_id.
        error: half-width of 95 % of a rate by it, of each of the two independently.
    """
    before, after = (map_.chances(part.aligned, part.coherent) for part in (control, given))
    found = mean_change(before, control.question_id, after, given.question_id)
    of_both = hypot(error, error)

    def widened(bound: float) -> float:
        off = hypot(bound - found.value, of_both)
        return found.value + (off if bound > found.value else -off)

    low, high, fixed_low, fixed_high = map(widened, (found.low, found.high, found.fixed_low, found.fixed_high))
    return replace(found, low=low, high=high, fixed_low=fixed_low, fixed_high=fixed_high)


def shown(table: pd.DataFrame) -> pd.Series[bool]:
    return table.quantity.isin(["em_calibrated_above_control", "calibration_error_models"])


def calibrated(study: Study, layout: Layout) -> Drawing:
    """How much more misaligned than the control is each organism, as the reference judge would see it?"""
    table = read_frame(layout.table("calibrated"))
    figure, (axis,) = make_axes(1, 1, (6, 3.6))
    pooled = table[(table.quantity == "em_calibrated_above_control") & table.seed.isna()]
    if pooled.empty:
        nothing_to_show(axis)
        return figure
    for position, found in enumerate(pooled.itertuples()):
        axis.plot(position, 100 * found.value, "o", color=colours(study)[found.subject])
        interval(axis, position, 100 * found.low, 100 * found.high)
    axis.axhline(0, color="black", lw=0.6)
    axis.set_xticks(range(len(pooled)), list(pooled.subject), rotation=30, ha="right")
    axis.set_ylabel("misaligned above the control (points)")
    assert study.calibration
    told = f"{pooled.condition.iloc[0]}, control {study.calibration.control}, n = {int(pooled.n.min())} and more"
    panel(axis, "Misaligned above the control, as the reference would see it", told)
    return figure


EXPERIMENT = Experiment(
    table="calibrated",
    labels=("X4",),
    asked=lambda study: study.calibration is not None,
    reads=(
        "calibration.judge",
        "calibration.reference",
        "calibration.control",
        "thresholds",
        "sampling.questions",
        "organisms.seeds",
    ),
    inputs=inputs,
    rows=rows,
    shown=shown,
    figures={"calibrated": Figure("X4 Misalignment above the control, calibrated", calibrated)},
    no_claim="the ledger's claims are decided by a judge's own scores",
)
