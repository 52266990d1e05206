"""The residual stream: reading it, and changing it at the output of decoder layers.

Site: the output of decoder layer l (from 0), before the next norm. A layer may return a tensor, a tuple, or vLLM's
(hidden, residual) pair whose sum is the stream; `stream` and `with_stream` hide the difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from workflow_scripts.runtime.errors import UserError

LAYER_PATHS = (
    "model.layers",
    "model.language_model.layers",
    "language_model.model.layers",
    "transformer.h",
    "gpt_neox.layers",
)


ChangeMode = Literal["add", "project", "set"]


@dataclass(frozen=True)
class LayerChange:
    """One layer's change: `add` gives x + scale · vector, `project` x − v̂ v̂ᵀ x, and `set` x − v̂ v̂ᵀ x + scale · v̂.

    Vector: [d_model].
    """

    layer: int
    mode: ChangeMode
    vector: Tensor
    scale: float = 1.0


def backbone(model: nn.Module) -> nn.Module:
    """The part of a causal language model, plain or wrapped by PEFT, that holds its decoder layers and nothing else.

    Of a model that also sees or hears, its language model.

    Raises:
        UserError: if the layers are not where any known model has them; names the model's class.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    for path in LAYER_PATHS:
        found: Any = inner
        holder: Any = inner
        for name in path.split("."):
            holder, found = found, getattr(found, name, None)
        if isinstance(found, nn.ModuleList) and isinstance(holder, nn.Module):
            return holder
    raise UserError(
        f"{type(inner).__name__}: its decoder layers are at none of {', '.join(LAYER_PATHS)}; "
        "add the path to residual.LAYER_PATHS."
    )


def decoder_layers(model: nn.Module) -> nn.ModuleList:
    """The decoder layers of a causal language model; the errors are those of `backbone`."""
    holder: Any = backbone(model)
    layers: nn.ModuleList = holder.h if hasattr(holder, "h") else holder.layers
    return layers


def stream(output: Any) -> Tensor:
    """The residual stream in what a decoder layer returned."""
    if isinstance(output, Tensor):
        return output
    hidden = output[0]
    return hidden + output[1] if _is_pair(output) else hidden


def with_stream(output: Any, new: Tensor) -> Any:
    """What the layer returned, with another residual stream in it."""
    if isinstance(output, Tensor):
        return new
    if _is_pair(output):
        return (new, torch.zeros_like(output[1]))
    return (new, *output[1:])


def changed(x: Tensor, change: LayerChange) -> Tensor:
    """Applies a change to residual activations x [..., d_model]; arithmetic in float32, result in x's dtype."""
    wide, vector = x.float(), change.vector.to(x.device, torch.float32)
    if change.mode == "add":
        return (wide + change.scale * vector).to(x.dtype)
    unit = vector / vector.norm()
    left = change.scale if change.mode == "set" else 0.0
    return (wide - (wide @ unit - left).unsqueeze(-1) * unit).to(x.dtype)


def install(model: nn.Module, changes: Sequence[LayerChange]) -> list[RemovableHandle]:
    """Hooks that apply the changes in every forward pass until their handles are removed."""
    layers = decoder_layers(model)

    def hook(change: LayerChange) -> Callable[[nn.Module, Any, Any], Any]:
        vector = change.vector.to(next(model.parameters()).device)
        local = LayerChange(change.layer, change.mode, vector, change.scale)
        return lambda _module, _inputs, output: with_stream(output, changed(stream(output), local))

    return [layers[change.layer].register_forward_hook(hook(change)) for change in changes]


@contextmanager
def intervened(model: nn.Module, changes: Sequence[LayerChange]) -> Iterator[None]:
    """Applies the changes within the block and removes them after it, whatever happens."""
    handles = install(model, changes)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def captured(model: nn.Module, read: Callable[[int, Tensor], None]) -> Iterator[None]:
    """Calls `read(layer, stream [batch, token, d_model])` at every decoder layer of every forward pass."""

    def hook(layer: int) -> Callable[[nn.Module, Any, Any], None]:
        return lambda _module, _inputs, output: read(layer, stream(output))

    handles = [layer.register_forward_hook(hook(index)) for index, layer in enumerate(decoder_layers(model))]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _is_pair(output: Any) -> bool:
    """vLLM's (hidden, residual): two tensors of one shape."""
    return (
        isinstance(output, tuple)
        and len(output) == 2
        and isinstance(output[1], Tensor)
        and output[0].shape == output[1].shape
    )
