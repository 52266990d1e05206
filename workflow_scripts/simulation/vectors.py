"""Directions, adapters, pushes and a training path of a simulated study, as the files that the experiments read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from workflow_scripts.simulation.truth import FloatArray, Truth
from workflow_scripts.store.adapter_files import CONFIG, WEIGHTS
from workflow_scripts.store.artefacts import provenance, replacing, write_table, write_tensors
from workflow_scripts.study.conditions import only_layer, total_layers

if TYPE_CHECKING:
    from torch import Tensor

WIDTH = 512
"""Of a simulated residual stream; narrower than a model's, so random cosines are wider (.04 for .014)."""
PATH_WIDTH = 64
"""Of what an adapter writes along its training, where it is held against no direction."""


class Directions:
    """Directions of a simulated study; one and the same shared vector at each layer."""

    def __init__(self, truth: Truth) -> None:
        self.truth, self.says = truth, truth.scenario.directions
        self.layers = total_layers(truth.study)
        depth = np.linspace(0, 1, self.layers)
        self.norms = np.exp(np.interp(depth, self.says.depths, np.log(self.says.norms)))
        self.shared = _units(truth.rng("shared direction"), self.layers)
        basis = truth.rng("high variance").normal(size=(self.layers, WIDTH, self.says.shuffled_dimensions))
        self.basis = np.linalg.qr(basis)[0]

    def of(self, subject: str) -> FloatArray:
        """Direction of a subject, [layer, WIDTH]."""
        if self.says.cosine is None:
            return self.shuffled("direction", subject)
        low = round(self.says.low_layers * self.layers)
        cosines = np.full(self.layers, self.says.cosine)
        if low and self.says.low_cosine is not None:
            cosines[-low:] = self.says.low_cosine
        rng = self.truth.rng("direction", subject)
        return self._scaled(_beside(self.shared, np.sqrt(cosines), rng))

    def about(self, subject: str, metric: str) -> FloatArray:
        """A topic's direction of a subject."""
        if self.says.topics is None:
            return self.shuffled("direction", subject, metric)
        cosine = self.says.topics.get(metric, self.says.topics.get("any", 0.0))
        rng = self.truth.rng("direction", subject, metric)
        return self._scaled(_beside(self.of(subject) / self.norms[:, None], np.full(self.layers, cosine), rng))

    def other(self, subject: str) -> FloatArray:
        """Direction of a subject from the study's other source."""
        if self.says.datasets is None:
            return self.shuffled("other direction", subject)
        rng = self.truth.rng("other direction", subject)
        cosines = np.full(self.layers, self.says.datasets)
        return self._scaled(_beside(self.of(subject) / self.norms[:, None], cosines, rng))

    def shuffled(self, *names: object) -> FloatArray:
        """A direction of shuffled labels: in the few dimensions of much variance."""
        weights = self.truth.rng("shuffled", *names).normal(size=(self.layers, self.says.shuffled_dimensions, 1))
        vectors = (self.basis @ weights)[:, :, 0]
        return self._scaled(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)) * self.says.shuffled_norm

    def write(self, file: Path, vector: FloatArray, name: str, counts: tuple[int, int]) -> None:
        """A direction's file; counts are misaligned and aligned responses."""
        draws = self.truth.study.directions.shuffles
        drawn = [self.shuffled(name, draw) for draw in range(draws)]
        mean = self.says.mean_norm * self.norms[:, None] * _units(self.truth.rng("mean"), self.layers)
        tensors = {
            "direction": vector,
            "aligned_mean": mean,
            "misaligned_mean": mean + vector,
            "activation_norm": self.says.activation_norm * self.norms,
            "shuffled": np.array(drawn).reshape(draws, self.layers, WIDTH),
        }
        facts = {"misaligned": counts[0], "aligned": counts[1], "vectors": name}
        write_tensors(file, _tensors(tensors), provenance("simulated", "", **facts))

    def _scaled(self, units: FloatArray) -> FloatArray:
        return np.asarray(units * self.norms[:, None])


def write_single_adapter(directions: Directions, folder: Path, subject: str, layer: int, towards: str) -> None:
    """Adapter folder of one rank-1 adapter whose B has the scenario's cosine with the direction of `towards`."""
    from safetensors.torch import save_file

    truth = directions.truth
    rng, cosine = truth.rng("B", subject), truth.scenario.b_cosine
    unit = directions.of(towards)[layer][None] / np.linalg.norm(directions.of(towards)[layer])
    b = _beside(unit, np.array([cosine or 0.0]), rng) if cosine is not None else _units(rng, 1)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / WEIGHTS) as temporary:
        save_file(_tensors(_adapter(layer, rng.normal(size=(1, 8)), 0.1 * b.T)), temporary, {"format": "pt"})
    (folder / CONFIG).write_text(json.dumps({"r": 1, "lora_alpha": 64, "use_rslora": True}))


def pushes(truth: Truth, subject: str, layer: int, draws: int) -> pd.DataFrame:
    """Downstream cosines from the adapter's layer on, as the stage `downstream` writes them."""
    says, layers, rng = truth.scenario.downstream, total_layers(truth.study), truth.rng("downstream", subject)
    lines: list[dict[str, Any]] = []
    for side, most in (("misaligned", says.misaligned), ("aligned", says.aligned)):
        for draw in (None, *range(draws)):
            for at in range(layer, layers):
                bell = np.exp(-(((at / max(1, layers - 1) - says.peak) / 0.3) ** 2) / 2)
                cosine = (most * bell if draw is None else 0.0) + rng.normal(0, 0.02)
                comparison = "direction" if draw is None else "random"
                lines.append({"side": side, "comparison": comparison, "draw": draw, "layer": at, "cosine": cosine})
    return pd.DataFrame(lines).astype({"draw": "Int64"})


def write_training(truth: Truth, checkpoints: Path, training: Path, organism: str, steps: int, width: int) -> None:
    """Kept copies of an adapter along its training, and the training's record."""
    settings, says = truth.study.organisms[organism], truth.scenario.path
    every, layer = settings.checkpoint_every or 1, only_layer(settings) if settings.layers else 0
    path = training_path(truth, steps, width)
    rng = truth.rng("path", "a")
    across = rng.normal(size=(2, 8))
    kept = list(range(every, steps + 1, every))
    tensors: dict[str, FloatArray] = {}
    for step in kept:
        a = 0.2 * across[:1] + path[step, :1] * across[1:]
        for name, values in _adapter(layer, a, path[step][:, None]).items():
            tensors[f"step-{step}/{name}"] = values
    write_tensors(checkpoints, _tensors(tensors), provenance("simulated", "", steps=kept))
    each = np.arange(1, steps + 1)
    bump = np.exp(-(((each / steps - says.turns_at) / 0.03) ** 2) / 2) * (says.turn > 0)
    history = pd.DataFrame({"step": each, "loss": 1.0 + np.exp(-each / 50), "grad_norm": 1.0 + bump})
    write_table(training, history, provenance("simulated", ""))


def training_path(truth: Truth, steps: int, width: int) -> FloatArray:
    """B by step, [step + 1, width]: a way in a plane, with noise; its steps shorten as the learning rate falls."""
    says, rng = truth.scenario.path, truth.rng("path")
    each = np.arange(1, steps + 1)
    at, within = says.turns_at * steps, max(1.0, 0.007 * steps)
    turned = np.interp(each, [at - within, at + within], [0, says.turn])
    drifted = np.interp(each, [at, steps], [0, says.drift])
    angle = np.radians(turned + drifted)
    pace = 1 - each / (steps + 1)
    heading = np.zeros((steps, width))
    heading[:, 0], heading[:, 1] = np.cos(angle), np.sin(angle)
    noise = says.noise * rng.normal(size=(steps, width)) / np.sqrt(width) * np.sqrt(5)
    way = np.cumsum(pace[:, None] * (heading + noise), axis=0)
    return np.concatenate([np.zeros((1, width)), 0.126 * way / np.linalg.norm(way[-1])])


def _adapter(layer: int, a: FloatArray, b: FloatArray) -> dict[str, FloatArray]:
    place = f"base_model.model.model.layers.{layer}.mlp.down_proj.lora_{{}}.weight"
    return {place.format("A"): a, place.format("B"): b}


def _units(rng: np.random.Generator, rows: int) -> FloatArray:
    vectors = rng.normal(size=(rows, WIDTH))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _beside(units: FloatArray, cosines: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Unit vectors with these cosines to `units`, row by row."""
    other = rng.normal(size=units.shape)
    other -= (other * units).sum(axis=1, keepdims=True) * units
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    return np.asarray(cosines[:, None] * units + np.sqrt(1 - cosines[:, None] ** 2) * other)


def _tensors(arrays: Mapping[str, FloatArray]) -> dict[str, Tensor]:
    import torch

    return {name: torch.from_numpy(np.ascontiguousarray(values)).float() for name, values in arrays.items()}
