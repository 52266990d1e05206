"""X1: an adapter along its training: where it turns, how misaligned it is by then (Turner et al. 2025, section 4)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from workflow_scripts.artefacts import read_frame, read_tensors
from workflow_scripts.conditions import conditions, subject_of
from workflow_scripts.experiments.rows import Row, point, rate_rows, row, thresholds_of
from workflow_scripts.layout import Layout, organism_of
from workflow_scripts.scores import read_scores
from workflow_scripts.study import Study

if TYPE_CHECKING:
    from torch import Tensor


def training_path(study: Study, layout: Layout) -> list[Row]:
    """X1: norms, local cosines and principal components of A and B by step, gradient norm, EM of the scaled copies.

    The local cosine at step t is cos(v_{t−k} − v_t, v_{t+k} − v_t): −1 where the path goes straight on, 0 where it
    turns by a right angle.
    """
    subject, limits = subject_of(study.training_path, study), thresholds_of(study)
    assert subject
    assert study.training_path
    organism, _ = organism_of(subject)
    steps, matrices = copies(layout, subject)
    rows: list[Row] = []
    for letter, path in matrices.items():
        more = {"matrix": letter}
        rows += [
            row("X1", organism, f"{letter}_norm", f"step-{step}", point(norm, 1), "norm", step=step, **more)
            for step, norm in zip(steps, path.norm(dim=1).tolist(), strict=True)
        ]
        for window in study.training_path.windows:
            for step, cosine in local_cosines(steps, path, window):
                place, facts = f"window-{window}:step-{step}", {"step": step, "window": window, **more}
                rows.append(row("X1", organism, f"local_cosine_{letter}", place, point(cosine, 1), "cosine", **facts))
    shares, places = principal_components(matrices["b"])
    for number, share in enumerate(shares[:2], start=1):
        rows.append(row("X1", organism, "pca_share", f"pc-{number}", point(share, len(steps)), "share"))
        rows += [
            row("X1", organism, f"pc_{number}", f"step-{step}", point(value, 1), "norm", step=step)
            for step, value in zip(steps, places[:, number - 1].tolist(), strict=True)
        ]
    history = read_frame(layout.training(subject))
    rows += [
        row("X1", organism, "gradient_norm", f"step-{line.step}", point(line.grad_norm, 1), "norm", step=int(line.step))
        for line in history.itertuples()
    ]
    scored = read_scores(layout.judgements(subject, "surgery"))
    for condition in conditions(study, "surgery", subject):
        edit = condition.edit
        if edit is not None and edit.mode == "checkpoint":
            part, facts = scored[scored.condition == condition.name], {"step": edit.step, "scale": edit.scale}
            rows += rate_rows("X1", organism, condition.name, part, limits, **facts)
    return rows


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

    Steps at which the path stands still on either side have none: its direction is not defined there.
    """
    from torch.nn.functional import cosine_similarity

    at = {step: path[index] for index, step in enumerate(steps)}
    found = []
    for step in steps:
        if step - window in at and step + window in at:
            back, ahead = at[step - window] - at[step], at[step + window] - at[step]
            if float(back.norm()) > 0 and float(ahead.norm()) > 0:
                found.append((step, float(cosine_similarity(back, ahead, dim=0))))
    return found


def principal_components(path: Tensor) -> tuple[list[float], Tensor]:
    """Shares of variance, and each step's place on the components: [step, component]."""
    import torch
    from sklearn.decomposition import PCA

    fitted = PCA(n_components=2)
    places = fitted.fit_transform(path.numpy())
    return fitted.explained_variance_ratio_.tolist(), torch.from_numpy(places)
