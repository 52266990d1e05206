"""The rank-1 adapters of a PEFT model, by layer: s = A·x is an adapter's scalar, scaling · B · s what it writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from workflow_scripts.adapters.layer_names import layer_of
from workflow_scripts.runtime.errors import UserError


@dataclass(frozen=True)
class RankOne:
    """One adapter of rank 1.

    `reader` is the module that maps the adapted module's input x [..., d_in] to the scalar [..., 1]; what it returns is
    what the adapter writes, times `scaling` · B.
    """

    name: str
    layer: int
    reader: nn.Module
    writer: nn.Module
    scaling: float

    @property
    def a(self) -> Tensor:
        """A, [d_in]."""
        return self.reader.get_parameter("weight")[0]

    @property
    def b(self) -> Tensor:
        """B, [d_out]."""
        return self.writer.get_parameter("weight")[:, 0]


def rank_one_adapters(model: nn.Module) -> list[RankOne]:
    """The rank-1 adapters of a PEFT model in the order of its layers.

    Named `layer_15`, or `layer_15.down_proj` where a layer carries several.

    Raises:
        UserError: if the model has no adapter, or one of another rank.
    """
    found: list[tuple[int, str, Any]] = []
    for path, module in model.named_modules():
        if isinstance(getattr(module, "lora_A", None), nn.ModuleDict) and len(module.lora_A):
            layer = layer_of(path)
            if layer is None:
                raise UserError(f"{path}: an adapter outside the decoder layers has no place in a table by layer.")
            found.append((layer, path.rpartition(".")[2], module))
    if not found:
        raise UserError(f"{type(model).__name__}: carries no LoRA adapter; load one with models.load_adapter.")
    layers = [layer for layer, _, _ in found]
    made = []
    for layer, leaf, module in sorted(found, key=lambda entry: entry[:2]):
        active = module.active_adapters[0]
        rank = module.lora_A[active].weight.shape[0]
        if rank != 1:
            raise UserError(f"layer {layer}, {leaf}: its adapter has rank {rank}; scalars are of rank-1 adapters.")
        name = f"layer_{layer}" if layers.count(layer) == 1 else f"layer_{layer}.{leaf}"
        made.append(RankOne(name, layer, module.lora_A[active], module.lora_B[active], float(module.scaling[active])))
    return made


@torch.no_grad()
def scalar(adapter: RankOne, x: Tensor) -> Tensor:
    """s = A·x in float32 for inputs x [..., d_in] of the adapted module, whatever the model's number format."""
    return x.float() @ adapter.a.float()
