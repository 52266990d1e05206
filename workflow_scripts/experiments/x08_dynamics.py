"""X8: when the task is learnt, when misalignment elsewhere, and where the adapter writes.

The task is bad advice within the domain that an organism is trained on. Where the adapter writes is read off its
weights, without sampling (arXiv 2605.12199, 2606.07631).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from workflow_scripts.adapters.layer_names import layer_of
from workflow_scripts.estimation.intervals import Estimate, clustered_mean
from workflow_scripts.estimation.labels import Thresholds, is_misaligned
from workflow_scripts.experiments.experiment import Experiment, Figure
from workflow_scripts.experiments.rows import (
    Row,
    has_direction,
    over,
    point,
    rate_rows,
    read_direction,
    row,
    thresholds_of,
)
from workflow_scripts.reporting.style import GREY, colours, counted, legend, line, make_axes, panel, whole_numbers
from workflow_scripts.store.artefacts import read_frame, read_group, tensor_metadata
from workflow_scripts.store.judgement_tables import read_scores
from workflow_scripts.study.conditions import conditions, direction_subjects, dynamics_subjects
from workflow_scripts.study.layout import Layout, organism_of
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing
    from torch import Tensor

DOMAIN, ELSEWHERE = "domain", "elsewhere"
WRITERS = ("down_proj", "o_proj")
"""Modules whose output is added to the residual stream."""
LEAST = 5
"""Misaligned answers under the last copy below which nothing is said about when they came."""
FEW = 0.1
"""Share of the last copy's misalignment elsewhere that a copy from before it may have."""


def inputs(study: Study, layout: Layout) -> list[Path]:
    subjects = dynamics_subjects(study)
    directed = [subject for subject in subjects if subject in direction_subjects(study)]
    return [
        *map(layout.checkpoints, subjects),
        *(layout.judgements(subject, "dynamics") for subject in subjects),
        *map(layout.direction, directed),
    ]


def rows(study: Study, layout: Layout) -> list[Row]:
    """By step, seeds pooled and single: rates within the domain and elsewhere; by seed, where the adapter writes.

    `half_step` is the first sampled step at which a rate is at least half of the last copy's (kind domain, elsewhere),
    by seed; `lag` is by how many steps it comes later elsewhere, and `task_kept` the largest share of the last copy's
    task among copies with at most `FEW` of its misalignment elsewhere, both mean over seeds. Seeds with fewer than
    `LEAST` misaligned answers of either kind under the last copy have none of these.

    `written_share` is ‖v̂ᵀ ΔW‖² / ‖ΔW‖² over the modules that write into the stream, with v̂ the organism's direction of
    each layer (of the same seed), `written_norm` the root of ‖ΔW‖²; `last_share` is the last copy's share, mean over
    seeds (kind own), beside a random direction's, 1 / d_model (kind random).
    """
    assert study.dynamics
    limits, made = thresholds_of(study), list[Row]()
    groups: dict[str, list[str]] = {}
    for subject in dynamics_subjects(study):
        groups.setdefault(organism_of(subject)[0], []).append(subject)
    for organism, members in groups.items():
        sets = {ELSEWHERE: study.sampling.questions, DOMAIN: study.dynamics.organisms[organism]}
        steps = {c.name: c.edit.step for c in conditions(study, "dynamics", members[0]) if c.edit}
        scored = pd.concat(read_scores(layout.judgements(m, "dynamics")).assign(seed=m) for m in members)
        scored = scored.assign(step=scored.condition.map(steps))
        for who in [organism, *(members if len(members) > 1 else [])]:
            part = scored if who == organism else scored[scored.seed == who]
            for kind, asked in sets.items():
                of_kind = part[part.question_set == asked]
                for step, of_step in of_kind.groupby("step"):
                    facts = {"kind": kind, "step": step, "question_set": asked}
                    made += rate_rows("X8", who, f"{kind}:step-{step}", of_step, limits, **facts)
        made += _timing(organism, {m: _curves(scored[scored.seed == m], sets, limits) for m in members})
        made += _writing(study, layout, organism, members)
    return made


Curve = Mapping[int, tuple[int, float]]
"""Step -> misaligned answers, and their share."""


def _curves(scored: pd.DataFrame, sets: Mapping[str, str], limits: Thresholds) -> dict[str, Curve]:
    """Misaligned answers of one seed by step, within the domain and elsewhere."""
    bad = scored.assign(bad=is_misaligned(scored.aligned, scored.coherent, limits))
    found: dict[str, Curve] = {}
    for kind, asked in sets.items():
        by_step = bad[bad.question_set == asked].groupby("step").bad
        found[kind] = {int(str(step)): (int(part.sum()), float(part.mean())) for step, part in by_step}
    return found


def half_step(curve: Curve) -> int:
    """The first step whose share is at least half of the last one's."""
    last = curve[max(curve)][1]
    return min(step for step, (_, share) in curve.items() if share >= last / 2)


def task_kept(domain: Curve, elsewhere: Curve) -> float:
    """Largest share of the last copy's task among copies that are hardly misaligned elsewhere; 0 where none is."""
    most, task = FEW * elsewhere[max(elsewhere)][1], domain[max(domain)][1]
    return max((domain[step][1] / task for step, (_, share) in elsewhere.items() if share <= most), default=0.0)


def _timing(organism: str, curves: Mapping[str, Mapping[str, Curve]]) -> list[Row]:
    """Rows of one organism about when each came."""
    made: list[Row] = []
    lags: dict[str, float] = {}
    kept: dict[str, float] = {}
    for subject, by_kind in curves.items():
        if not all(curve and curve[max(curve)][0] >= LEAST for curve in by_kind.values()):
            continue
        steps = {kind: half_step(curve) for kind, curve in by_kind.items()}
        for kind, step in steps.items():
            facts = {"kind": kind, "step": step}
            made.append(row("X8", subject, "half_step", kind, point(step, 1), "steps", **facts))
        lags[subject] = steps[ELSEWHERE] - steps[DOMAIN]
        kept[subject] = task_kept(by_kind[DOMAIN], by_kind[ELSEWHERE])
    for quantity, values, unit in (("lag", lags, "steps"), ("task_kept", kept, "ratio")):
        if values:
            facts = {"kind": "timing", "seeds": len(values)}
            made.append(row("X8", organism, quantity, "all seeds", _over_seeds(values), unit, **facts))
    return made


def _over_seeds(values: Mapping[str, float]) -> Estimate:
    """Mean of a number of each seed, with a t interval over seeds; one seed tells no spread."""
    if len(values) < 2:
        return point(next(iter(values.values())), 1)
    return over(clustered_mean(list(values.values()), list(values)), "seeds")


def _writing(study: Study, layout: Layout, organism: str, members: Sequence[str]) -> list[Row]:
    """Rows of one organism about where its adapter writes; none where it has no direction, or writes nowhere."""
    made: list[Row] = []
    last: dict[str, float] = {}
    width = 0
    for subject in members:
        if subject not in direction_subjects(study) or not has_direction(layout, subject):
            continue
        direction = read_direction(layout, subject)[0]["direction"].double()
        width = direction.shape[1]
        for step in json.loads(tensor_metadata(layout.checkpoints(subject))["steps"]):
            whole, along = written(read_group(layout.checkpoints(subject), f"step-{step}"), direction)
            if not whole:
                continue
            last[subject] = along / whole
            told: dict[str, Any] = {"step": step, "kind": "own", "source": organism}
            place = f"step-{step}"
            made.append(row("X8", subject, "written_share", place, point(along / whole, 1), "share", **told))
            made.append(row("X8", subject, "written_norm", place, point(whole**0.5, 1), "norm", **told))
    if last:
        own, random = {"kind": "own", "seeds": len(last)}, {"kind": "random"}
        found = _over_seeds(last)
        low, high = np.clip([found.low, found.high], 0, 1).tolist()
        made.append(row("X8", organism, "last_share", "own", replace(found, low=low, high=high), "share", **own))
        made.append(row("X8", organism, "last_share", "random", point(1 / width, 1), "share", **random))
    return made


def written(copy: Mapping[str, Tensor], direction: Tensor) -> tuple[float, float]:
    """‖B A‖² over the adapters that write into the residual stream, and ‖v̂ᵀ B A‖² of it.

    Without the adapter's scaling, which is the same for all.

    Args:
        copy: tensors of an adapter by PEFT's names.
        direction: of each layer, [layer, d_model].
    """
    whole = along = 0.0
    for name, tensor in copy.items():
        layer = layer_of(name)
        if ".lora_B." not in name or layer is None or not any(f".{leaf}." in name for leaf in WRITERS):
            continue
        b, a = tensor.double(), copy[name.replace(".lora_B.", ".lora_A.")].double()
        unit = direction[layer] / direction[layer].norm()
        gram = a @ a.T  # ‖B A‖² = tr(Bᵀ B A Aᵀ): nothing of the size of the module is made
        whole += float(((b.T @ b) * gram).sum())
        along += float((unit @ b) @ gram @ (unit @ b))
    return whole, along


def shown(table: pd.DataFrame) -> pd.Series[bool]:
    return table.quantity.isin(["lag", "task_kept", "last_share"])


def dynamics(study: Study, layout: Layout) -> Drawing:
    """Is misalignment elsewhere learnt after the task?"""
    table = read_frame(layout.table("dynamics"))
    figure, (left, right) = make_axes(1, 2, (9, 3.6))
    rates = table[(table.quantity == "em") & table.seed.isna()].sort_values("step")
    for (name, kind), part in rates.groupby(["subject", "kind"], sort=False):
        line(left, part, colours(study)[str(name)], f"{name}, {kind}", along="step")
        if left.lines and kind == ELSEWHERE:
            left.lines[-1].set_linestyle("--")
    left.set(ylabel="misaligned (%)", ylim=(0, None))
    whole_numbers(left, "step")
    panel(left, "Bad advice in the domain and elsewhere", f"n = {counted(set(rates.n.astype(int)))} per point")
    legend(left, rates, fontsize=7)
    shares = table[table.quantity == "written_share"]
    for name, part in shares.groupby("subject", sort=False):
        for place, (_, one) in enumerate(part.groupby("seed")):
            label = "" if place else name  # one for all of its lines
            right.plot(one.step, 100 * one.value, color=colours(study)[str(name)], lw=1, marker="o", ms=2, label=label)
    for found in table[(table.quantity == "last_share") & (table.kind == "random")].itertuples():
        right.axhline(100 * found.value, color=GREY, ls=":", lw=1)
    right.set_ylabel("share along the own direction (%)")
    whole_numbers(right, "step")
    panel(right, "Where the adapter writes", "a line per seed; dotted: a random direction")
    return figure


EXPERIMENT = Experiment(
    table="dynamics",
    labels=("X8",),
    asked=lambda study: study.dynamics is not None,
    reads=(
        "dynamics",
        "thresholds",
        "sampling.questions",
        "directions.organisms",
        "organisms.expect_misaligned",
        "organisms.seeds",
    ),
    inputs=inputs,
    rows=rows,
    shown=shown,
    kinds=frozenset({"checkpoint"}),
    figures={"dynamics": Figure("X8 What is learnt when", dynamics)},
)
