"""From a condition to the vectors that an engine adds or projects out."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from workflow_scripts.models import direction_parts
from workflow_scripts.models.residual import LayerChange
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import read_tensors
from workflow_scripts.study.conditions import Intervention
from workflow_scripts.study.layout import Layout


def layer_changes(
    change: Intervention, directions: Mapping[str, Tensor], means: Mapping[str, Tensor] | None = None
) -> list[LayerChange]:
    """The changes of an intervention.

    Args:
        change: what is done.
        directions: subject -> direction [layer, d_model], raw (not normalised); that of shuffled labels where it is
            meant.
        means: subject -> mean activation [layer, d_model] of its aligned texts; needed for the mode `set`, which sets
            what the stream holds of a direction to what these hold of it, and for `cap`, which counts from it; those of
            the chat base where `base_mean` asks for them.

    Raises:
        UserError: if a direction that is needed is zero.
    """
    rows = directions[change.source]
    made = []
    for layer in change.layers:
        vector = rows[layer if change.layer is None else change.layer]
        if change.draw is not None and not change.shuffled and change.part is None:
            vector = random_direction(vector, f"{change.source}:{change.draw}")
        if not float(vector.norm()):
            raise UserError(f"directions/{change.source}: the direction of layer {layer} is zero; it cannot be used.")
        scale, low = change.scale, -math.inf
        if change.mode in ("set", "cap"):
            assert means, "read with the directions"
            length = float(vector.double().norm())
            scale = float(means[change.source][layer].double() @ vector.double()) / length
            if change.mode == "cap":
                low = -math.inf if change.low is None else scale + change.low * length
                scale += change.scale * length
        made.append(LayerChange(layer, change.mode, vector, scale, low))
    return made


def read_vectors(layout: Layout, change: Intervention) -> Tensor:
    """The vectors that an intervention takes its own from, [layer, d_model]: a direction, a part of one, or one of
    shuffled labels.

    Raises:
        UserError: if nothing is left of a part.
    """

    def read(name: str, source: str = change.source) -> Tensor:
        found: Tensor = read_tensors(layout.direction(source), [name])[0][name]
        return found

    if change.shuffled:
        return read("shuffled")[change.draw]
    if change.part is None:
        return read("direction")
    if change.part == "orthogonal":
        assert change.draw is not None
        means = read_tensors(layout.base_means, ["mean"])[0]["mean"]
        return direction_parts.orthogonal_control(read("direction"), read("shuffled")[change.draw], means)
    axes = direction_parts.shared_axes([read("direction", source) for source in change.others])
    if change.part == "shared":
        return axes
    return direction_parts.specific_part(read("direction"), axes, change.source)


def read_changes(layout: Layout, change: Intervention) -> list[LayerChange]:
    """The changes of an intervention, from its source's direction file; the errors are those of `layer_changes`."""
    means = None
    if change.mode in ("set", "cap") and change.base_mean:
        means = {change.source: read_tensors(layout.base_means, ["mean"])[0]["mean"]}
    elif change.mode == "set":
        means = {change.source: read_tensors(layout.direction(change.source), ["aligned_mean"])[0]["aligned_mean"]}
    return layer_changes(change, {change.source: read_vectors(layout, change)}, means)


def random_direction(like: Tensor, name: str) -> Tensor:
    """A random direction with the norm of `like` [d_model]: ‖r‖ = ‖v‖, not √d ‖v‖ (PAPER section 5.9).

    The name alone decides it, so that a draw is the same at every layer and in every run.
    """
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1
    drawn = torch.randn(like.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (drawn / drawn.norm() * like.double().norm()).to(like.dtype)
