"""Adapter surgery: the tensors of PEFT adapters, with layers scaled or zeroed, or with a direction taken out of B.

Everything is done on the saved tensors; `edited` makes adapter folders of them that any engine serves
(PAPER 6.5, 8.5).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from workflow_scripts.adapters.layer_names import layer_of
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.adapter_files import WEIGHTS


def read_adapter(folder: Path) -> dict[str, Tensor]:
    """The tensors of a LoRA adapter folder, by PEFT's names.

    Raises:
        UserError: if there is none, or it holds more than A and B (biases, magnitudes, whole modules), which scaling
            its B would leave in force.
    """
    path = folder / WEIGHTS
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iteration protocol)
    except Exception as error:  # safetensors raises its own types for missing and damaged files
        raise UserError(
            f"{path}: cannot be read ({type(error).__name__}); train or fetch the adapter again."
        ) from error
    other = [name for name in tensors if ".lora_A." not in name and ".lora_B." not in name]
    if other:
        raise UserError(f"{path}: holds {other[0]}, which is neither A nor B of LoRA; such adapters cannot be edited.")
    return tensors


def adapter_layers(tensors: Mapping[str, Tensor]) -> list[int]:
    """Decoder layers that carry an adapter, ascending."""
    return sorted({layer for layer in map(layer_of, tensors) if layer is not None})


def scaled(tensors: Mapping[str, Tensor], scales: Mapping[int, float], others: float = 1.0) -> dict[str, Tensor]:
    """B of each listed layer times its factor, that of the other layers times `others`; A is left untouched.

    Args:
        tensors: of an adapter.
        scales: decoder layer -> factor. 0 switches a layer's adapters off, 1 leaves every bit.
        others: factor of layers that are not listed.

    Raises:
        UserError: if a listed layer carries no adapter.
    """
    _check_layers(tensors, scales)
    made = dict(tensors)
    for name, tensor in tensors.items():
        layer = layer_of(name)
        if ".lora_B." in name:
            made[name] = tensor * (others if layer is None else scales.get(layer, others))
    return made


def without_direction(
    tensors: Mapping[str, Tensor], directions: Mapping[int, Tensor], renormalise: bool
) -> dict[str, Tensor]:
    """B of each listed layer with a direction projected out, b − v̂ v̂ᵀ b for every column b of B; A is left untouched.

    The paper (App D) speaks of a projection only; the authors' code brings B back to its norm afterwards, so that the
    adapter writes as strongly as before, in other directions. `renormalise` is the code's way (column by column); its
    absence is the projection as such. Both leave B orthogonal to v, and doing either twice is doing it once.

    Args:
        tensors: of an adapter.
        directions: decoder layer -> v, [d_model], of any length.
        renormalise: whether each column of B gets its old norm back.

    Raises:
        UserError: if a listed layer carries no adapter, its module does not write d_model numbers, a direction is
            zero, or (with `renormalise`) nothing of B is left.
    """
    _check_layers(tensors, directions)
    made = dict(tensors)
    for name, tensor in tensors.items():
        layer = layer_of(name)
        if ".lora_B." not in name or layer is None or layer not in directions:
            continue
        vector, wide = directions[layer].double(), tensor.double()
        if len(vector) != len(wide):
            raise UserError(
                f"{name}: writes {len(wide)} numbers, the direction has {len(vector)}; only modules that write to the "
                "residual stream (down_proj, o_proj) can lose a direction of it."
            )
        if not float(vector.norm()):
            raise UserError(f"layer {layer}: its direction is zero; it cannot be projected out.")
        unit = vector / vector.norm()
        left = wide - torch.outer(unit, unit @ wide)
        left = left - torch.outer(unit, unit @ left)  # once more: what rounding left of a nearly parallel B
        if renormalise:
            norms, old = left.norm(dim=0), wide.norm(dim=0)
            if bool(((norms < 1e-6 * old) & (old > 0)).any()):
                raise UserError(f"{name}: B is parallel to the direction, nothing is left of it to be scaled back.")
            left = left * torch.where(old > 0, old / norms.clamp_min(torch.finfo(torch.float64).tiny), 1.0)
        made[name] = left.to(tensor.dtype)
    return made


def _check_layers(tensors: Mapping[str, Tensor], listed: Mapping[int, object]) -> None:
    carried = adapter_layers(tensors)
    for layer in listed:
        if layer not in carried:
            raise UserError(f"layer {layer} carries no adapter; those that do: {', '.join(map(str, carried))}.")
