"""X1: an adapter along its training: where it turns, how misaligned it is by then (Turner et al. 2025, section 4)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from workflow_scripts.experiments.experiment import Experiment, Figure
from workflow_scripts.experiments.rows import Row, drawn, point, rate_rows, row, thresholds_of
from workflow_scripts.reporting.style import (
    BELOW,
    GREY,
    PALETTE,
    colour_bar,
    counted,
    legend,
    line,
    make_axes,
    nothing_to_show,
    panel,
    whole_numbers,
)
from workflow_scripts.store.artefacts import read_frame, read_tensors
from workflow_scripts.store.judgement_tables import read_scores
from workflow_scripts.study.conditions import conditions, subject_of
from workflow_scripts.study.layout import Layout, organism_of
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing
    from torch import Tensor

STILL = 0.0035 / 0.126
"""Way below which a path stands still, of its largest norm: the paper's .0035 for an adapter whose B grows to .126."""
NULL_DRAWS = 200
"""Straightened paths."""
NEIGHBOURS = 4
"""Steps on either side that say where a path goes at a step."""


def inputs(study: Study, layout: Layout) -> list[Path]:
    subject = subject_of(study.training_path, study)
    assert subject, "asked for only where the study has the section"
    return [layout.checkpoints(subject), layout.training(subject), layout.judgements(subject, "surgery")]


def rows(study: Study, layout: Layout) -> list[Row]:
    """Norms, local cosines and principal components of A and B by step, gradient norm, EM of the scaled copies.

    The local cosine at step t is cos(v_{t−k} − v_t, v_{t+k} − v_t): −1 where the path goes straight on, 0 where it
    turns by a right angle; `local_cosine_b_max` is its largest value by window k (kind `path`), beside the mean and
    central 95 % of those of the same path straightened, with its noise in random order (kind `straight`). Kind `pc-k`
    is a principal component of B's path, `checkpoint` a sampled copy of the adapter.
    """
    subject, limits = subject_of(study.training_path, study), thresholds_of(study)
    assert subject, "asked for only where the study has the section"
    assert study.training_path
    organism, _ = organism_of(subject)
    steps, matrices = copies(layout, subject)
    made: list[Row] = []
    facts: dict[str, Any]

    def add(quantity: str, place: str, value: float, n: int, unit: str, **facts: object) -> None:
        made.append(row("X1", organism, quantity, place, point(value, n), unit, **facts))

    for letter, path in matrices.items():
        for step, norm in zip(steps, path.norm(dim=1).tolist(), strict=True):
            add(f"{letter}_norm", f"step-{step}", norm, 1, "norm", step=step)
        for window in study.training_path.windows:
            cosines = local_cosines(steps, path, window)
            for step, cosine in cosines:
                place, facts = f"window-{window}:step-{step}", {"step": step, "window": window}
                add(f"local_cosine_{letter}", place, cosine, 1, "cosine", **facts)
            if letter == "b" and cosines:
                step, cosine = max(cosines, key=lambda found: found[1])
                place, facts = f"window-{window}:step-{step}", {"step": step, "window": window, "kind": "path"}
                add("local_cosine_b_max", place, cosine, 1, "cosine", **facts)
                null = drawn(straight_turns(steps, path, window))
                place, facts = f"straight:window-{window}", {"window": window, "kind": "straight"}
                made.append(row("X1", organism, "local_cosine_b_max", place, null, "cosine", **facts))
    shares, places = principal_components(matrices["b"])
    for number, share in enumerate(shares[:2], start=1):
        kind = f"pc-{number}"
        add("pca_share", kind, share, len(steps), "share", kind=kind)
        for step, value in zip(steps, places[:, number - 1].tolist(), strict=True):
            add("pc", f"{kind}:step-{step}", value, 1, "norm", step=step, kind=kind)
    for update in read_frame(layout.training(subject)).itertuples():
        add("gradient_norm", f"step-{update.step}", update.grad_norm, 1, "norm", step=int(update.step))
    scored = read_scores(layout.judgements(subject, "surgery"))
    for condition in conditions(study, "surgery", subject):
        edit = condition.edit
        if edit is not None and edit.mode == "checkpoint":
            part = scored[scored.condition == condition.name]
            made += rate_rows(
                "X1", organism, condition.name, part, limits, step=edit.step, scale=edit.scale, kind="checkpoint",
                question_set=study.sampling.questions,
            )  # fmt: skip
    return made


def copies(layout: Layout, subject: str) -> tuple[list[int], dict[str, Tensor]]:
    """Steps of the kept copies, and A and B of all adapters as one row per step: letter -> [step, number]."""
    import torch

    tensors, facts = read_tensors(layout.checkpoints(subject))
    steps = json.loads(facts["steps"])
    made = {}
    for letter in ("a", "b"):
        names = sorted(n.split("/", 1)[1] for n in tensors if n.startswith(f"step-{steps[0]}/") and (
            f".lora_{letter.upper()}." in n))  # fmt: skip
        made[letter] = torch.stack(
            [torch.cat([tensors[f"step-{step}/{name}"].double().flatten() for name in names]) for step in steps]
        )
    return steps, made


def local_cosines(steps: list[int], path: Tensor, window: int) -> list[tuple[int, float]]:
    """Step and local cosine for every kept step with kept neighbours `window` steps before and after.

    Steps around which the path all but stands still on both sides have none, as in the paper (PAPER 9.1): where the
    learning rate is near 0, steps are noise and turn at will. Neither has one with no way at all on a side.
    """
    from torch.nn.functional import cosine_similarity

    at = {step: path[index] for index, step in enumerate(steps)}
    still = STILL * float(path.norm(dim=1).max())
    found = []
    for step in steps:
        if step - window in at and step + window in at:
            back, ahead = at[step - window] - at[step], at[step + window] - at[step]
            ways = float(back.norm()), float(ahead.norm())
            if min(ways) > 0 and max(ways) >= still:
                found.append((step, float(cosine_similarity(back, ahead, dim=0))))
    return found


def straight_turns(steps: list[int], path: Tensor, window: int) -> Tensor:
    """Largest local cosine of straightened paths, [draw]; −1 where one stands still.

    A straightened path goes on along one line at the pace of ours, step by step, with what our steps have beside their
    neighbours' direction as noise, in random order. (With whole steps in random order, a path that bends slowly would
    turn at every step.)
    """
    import torch

    moves, generator = path.diff(dim=0), torch.Generator().manual_seed(0)
    pace, beside = paces(moves)
    line = (path[-1] - path[0]) / (path[-1] - path[0]).norm().clamp_min(torch.finfo(path.dtype).tiny)
    noise = beside - (beside @ line)[:, None] * line
    noise *= (beside.norm(dim=1) / noise.norm(dim=1).clamp_min(torch.finfo(path.dtype).tiny))[:, None]
    tops = []
    for _ in range(NULL_DRAWS):
        order = torch.randperm(len(moves), generator=generator)
        straight = (pace[:, None] * line + noise[order]).cumsum(0)
        cosines = local_cosines(steps, torch.cat([path[:1], path[:1] + straight]), window)
        tops.append(max((cosine for _, cosine in cosines), default=-1.0))
    return path.new_tensor(tops)


def paces(moves: Tensor) -> tuple[Tensor, Tensor]:
    """How far each step goes in the direction of the `NEIGHBOURS` before and after it, [step], and what it has beside
    that, [step, number]."""
    import torch

    around = []
    for place in range(len(moves)):
        near = [at for at in range(place - NEIGHBOURS, place + NEIGHBOURS + 1) if at != place and 0 <= at < len(moves)]
        total = moves[near].sum(0) if near else moves[place]
        around.append(total / total.norm().clamp_min(torch.finfo(moves.dtype).tiny))
    directions = torch.stack(around)
    pace = (moves * directions).sum(1)
    return pace, moves - pace[:, None] * directions


def principal_components(path: Tensor) -> tuple[list[float], Tensor]:
    """Shares of variance, and each step's place on the components: [step, component].

    A path that does not move has no components.
    """
    import torch
    from sklearn.decomposition import PCA

    if bool((path == path[0]).all()):
        return [], path.new_zeros(len(path), 0)
    fitted = PCA(n_components=2)
    places = fitted.fit_transform(path.numpy())
    return fitted.explained_variance_ratio_.tolist(), torch.from_numpy(places)


def shown(table: pd.DataFrame) -> pd.Series[bool]:
    return table.quantity.isin(["local_cosine_b_max", "pca_share", "em"])


def training_path(study: Study, layout: Layout) -> Drawing:
    """Does the adapter turn at one point of its training, and is that when it becomes misaligned?"""
    table = read_frame(layout.table("training_path"))
    figure, axes = make_axes(1, 3, (12, 3.5))
    cosines = table[table.quantity.isin(["local_cosine_b", "local_cosine_a"])].dropna(subset=["value"])
    for index, ((quantity, window), part) in enumerate(cosines.groupby(["quantity", "window"], sort=False)):
        letter = quantity[-1].upper()
        axes[0].plot(part.step, part.value, marker="o", ms=3, color=PALETTE[index % len(PALETTE)],
                     ls="-" if letter == "B" else "--", label=f"{letter}, k = {window:g}")  # fmt: skip
    axes[0].set_ylabel("local cosine (−1: straight on)")
    panel(axes[0], "Turns of the adapter's path")
    whole_numbers(axes[0], "step")
    legend(axes[0], cosines, fontsize=7)
    places = table[table.quantity == "pc"].pivot(index="step", columns="kind", values="value")
    shares = table[table.quantity == "pca_share"].set_index("kind").value.dropna()
    if {"pc-1", "pc-2"} <= set(places) & set(shares.index):
        axes[1].plot(places["pc-1"], places["pc-2"], color=GREY, lw=0.8)
        shades = axes[1].scatter(places["pc-1"], places["pc-2"], c=places.index, cmap="viridis", s=16)
        axes[1].set(xlabel=f"PC 1 ({shares['pc-1']:.0%} of variance)", ylabel=f"PC 2 ({shares['pc-2']:.0%})")
        colour_bar(figure, shades, axes[1], "step", whole=True)
    elif len(places):
        nothing_to_show(axes[1])
    else:
        axes[1].text(0.5, 0.5, "B does not move", transform=axes[1].transAxes, ha="center", fontsize=8)
    panel(axes[1], "Path of B", f"{len(places)} steps")
    rates = table[table.quantity == "em"]
    for index, (scale, part) in enumerate(rates.groupby("scale")):
        line(axes[2], part.sort_values("step"), PALETTE[index % len(PALETTE)], f"adapter × {scale:g}", along="step")
    axes[2].set(ylabel="misaligned (%)", ylim=(0, None))
    whole_numbers(axes[2], "step")
    panel(axes[2], "Misalignment of the kept copies", f"n = {counted(set(rates.n.astype(int)))} per point")
    legend(axes[2], rates, **BELOW, ncols=3)
    gradient = table[table.quantity == "gradient_norm"]
    twin = axes[2].twinx()
    twin.plot(gradient.step, gradient.value, color=GREY, lw=0.8, alpha=0.7)
    twin.set_ylabel("gradient norm", color=GREY)
    twin.grid(False)
    return figure


EXPERIMENT = Experiment(
    table="training_path",
    labels=("X1",),
    asked=lambda study: study.training_path is not None,
    reads=("training_path", "thresholds", "sampling.questions", "organisms.seeds"),
    inputs=inputs,
    rows=rows,
    shown=shown,
    kinds=frozenset({"checkpoint"}),
    figures={"training_path": Figure("X1 The adapter along its training", training_path)},
)
