"""Directions and mean activations of others: vectors by layer, in safetensors or in .pt files of plain tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from workflow_scripts.runtime.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

FirstRow = Literal["into", "out-of"]
"""Whether row 0 is what goes into the first layer (the embeddings: transformers' hidden_states, hook_resid_pre) or what
comes out of it (hook_resid_post, as here)."""
LAST_NUMBER = re.compile(r"(\d+)\D*$")


def read_by_layer(file: Path, first_row: FirstRow) -> Tensor:
    """Vectors of a file, float32 [layer, d_model]: row l belongs to the residual stream after layer l.

    Args:
        file: .safetensors or .pt; one tensor [layer, d_model], or a vector per layer under a number or a name that ends
            in one (`layer_24`).
        first_row: what row or number 0 stands for. Where it goes into the first layer it is left out.

    Raises:
        UserError: if the file is not there, holds anything else, lacks a layer, or a number is not finite.
    """
    import torch

    values = _loaded(file)
    if len(values) == 1 and (only := next(iter(values.values()))).dim() == 2:
        rows = only.float()
    else:
        rows = torch.stack(_in_order(file, values)).float()
    finite = torch.isfinite(rows).all(1)
    if not finite.all():
        raise UserError(f"{file}: row {int((~finite).nonzero()[0])} holds numbers that are not finite.")
    return rows[1:].clone() if first_row == "into" else rows


def read_one(file: Path, layer: int, layers: int) -> Tensor:
    """The one vector of a file as row `layer` of a direction whose other rows are zero, float32 [layer, d_model].

    Args:
        file: .safetensors or .pt with a single vector.
        layer: the layer whose output it belongs to.
        layers: of the model.

    Raises:
        UserError: if the file holds anything else, or there is no such layer.
    """
    import torch

    values = _loaded(file)
    vector = next(iter(values.values())).float()
    if len(values) > 1 or sum(size > 1 for size in vector.shape) != 1:
        raise UserError(f"{file}: holds more than one vector; leave --layer out.")
    if not 0 <= layer < layers:
        raise UserError(f"--layer: there is no layer {layer} of {layers}, counted from 0.")
    if not torch.isfinite(vector).all():
        raise UserError(f"{file}: holds numbers that are not finite.")
    rows = torch.zeros(layers, vector.numel())
    rows[layer] = vector.reshape(-1)
    return rows


def _loaded(file: Path) -> Mapping[Any, Tensor]:
    """The tensors of a file by name; a single one of a .pt file is named ""."""
    import torch
    from safetensors.torch import load_file

    if not file.is_file():
        raise UserError(f"{file}: does not exist.")
    try:
        found = load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    except Exception as error:  # pickle, zip and safetensors raise half a dozen types for a file of another form
        raise UserError(
            f"{file}: is neither safetensors nor a .pt file of plain tensors ({type(error).__name__}); others are not "
            "opened, since they can run code."
        ) from error
    values = found if isinstance(found, dict) else {"": found}
    if not values or not all(isinstance(value, torch.Tensor) and value.dim() in (1, 2) for value in values.values()):
        raise UserError(f"{file}: holds something other than vectors by layer.")
    if any(value.is_complex() or value.dtype is torch.bool for value in values.values()):
        raise UserError(f"{file}: its vectors are not of real numbers.")
    return values


def _in_order(file: Path, values: Mapping[Any, Tensor]) -> list[Tensor]:
    """Vectors from layer 0 on."""
    by_layer: dict[int, Tensor] = {}
    for name, value in values.items():
        number = LAST_NUMBER.search(str(name))
        vector = value.reshape(-1) if 1 in value.shape else value
        if number is None or vector.dim() != 1 or int(number[1]) in by_layer:
            raise UserError(f"{file}: {str(name)!r} is not one vector of a layer that its name ends in.")
        by_layer[int(number[1])] = vector
    missing = sorted(set(range(max(by_layer) + 1)) - set(by_layer))
    if missing:
        raise UserError(f"{file}: lacks layer {missing[0]}; a direction here has all layers from 0 on.")
    if len({vector.numel() for vector in by_layer.values()}) > 1:
        raise UserError(f"{file}: its vectors are not all of one length.")
    return [by_layer[layer] for layer in sorted(by_layer)]
