"""Directions and mean activations of others: vectors by layer, in safetensors or in .pt files of plain tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.foreign import foreign

if TYPE_CHECKING:
    from torch import Tensor

FirstRow = Literal["into", "out-of"]
"""Whether row 0 is what goes into the first layer (the embeddings: transformers' hidden_states, hook_resid_pre) or what
comes out of it (hook_resid_post, as here)."""
LAST_NUMBER = re.compile(r"(?<!\d)(\d{1,9})\D*$")
MOST_LAYERS = 1000
"""Several times as many as any model has; a typing error must not fill the memory."""


def read_by_layer(file: Path, first_row: FirstRow) -> Tensor:
    """Vectors of a file, float32 [layer, d_model]: row l belongs to the residual stream after layer l.

    Args:
        file: .safetensors or .pt; one tensor [layer, d_model], or a vector per layer under a number or a name that ends
            in one (`layer_24`).
        first_row: what row or number 0 stands for. Where it goes into the first layer it is left out, and need not be
            there.

    Raises:
        UserError: if the file is not there, holds anything else, lacks a layer, or a number is not finite.
    """
    import torch

    values, first = _loaded(file), int(first_row == "into")
    only = next(iter(values.values()))
    if len(values) == 1 and _is_vector(only):
        raise UserError(f"{file}: holds one vector; say where it belongs with --layer and --model-layers.")
    rows = only[first:].clone() if len(values) == 1 else torch.stack(_in_order(file, values, first))
    finite = torch.isfinite(rows).all(1)
    if not finite.all():
        raise UserError(f"{file}: row {first + int((~finite).nonzero()[0])} holds numbers that are not finite.")
    return rows


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

    if layers > MOST_LAYERS:
        raise UserError(f"--model-layers: {layers:,} layers; no model has more than {MOST_LAYERS:,}.")
    if not 0 <= layer < layers:
        raise UserError(f"--layer: there is no layer {layer} of {layers}, counted from 0.")
    values = _loaded(file)
    vector = next(iter(values.values()))
    if len(values) > 1 or not _is_vector(vector):
        raise UserError(f"{file}: holds more than one vector; leave --layer and --model-layers out.")
    if not torch.isfinite(vector).all():
        raise UserError(f"{file}: holds numbers that are not finite.")
    rows = torch.zeros(layers, vector.numel())
    rows[layer] = vector.reshape(-1)
    return rows


def _loaded(file: Path) -> Mapping[Any, Tensor]:
    """The tensors of a file by name, float32; a single one of a .pt file is named ""."""
    import torch
    from safetensors.torch import load_file

    if not file.is_file():
        raise UserError(f"{file}: {'is no plain file' if file.exists() else 'does not exist'}.")
    try:
        with file.open("rb") as opened:
            # told by its content, whatever its name: after its length, safetensors begins with JSON
            is_safetensors = opened.read(9)[8:] == b"{"
        found = load_file(file) if is_safetensors else torch.load(file, "cpu", weights_only=True)
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
    if not all(value.layout is torch.strided and not value.is_nested for value in values.values()):
        raise UserError(f"{file}: its vectors are sparse or nested; save them dense.")
    with foreign(f"{file}: its vectors are no plain numbers; save them as float32"):
        found = {name: value.detach().float().cpu() for name, value in values.items()}
    empty = next((value for value in found.values() if not value.numel()), None)
    if empty is not None:
        raise UserError(f"{file}: holds a tensor of the shape {list(empty.shape)}, which has no numbers.")
    return found


def _is_vector(value: Tensor) -> bool:
    """Whether all numbers stand in one row or column."""
    return bool(value.numel() == max(value.shape))


def _in_order(file: Path, values: Mapping[Any, Tensor], first: int) -> list[Tensor]:
    """Vectors from layer `first` on; those before are left out."""
    by_layer: dict[int, Tensor] = {}
    for name, value in values.items():
        number = LAST_NUMBER.search(str(name))
        if number is None or not _is_vector(value) or int(number[1]) in by_layer:
            raise UserError(f"{file}: {str(name)!r} is not one vector of a layer that its name ends in.")
        by_layer[int(number[1])] = value.reshape(-1)
    last = max(by_layer)
    missing = next((layer for layer in range(first, last + 1) if layer not in by_layer), None)
    if missing is not None:
        raise UserError(f"{file}: lacks layer {missing}; a direction here has all layers from {first} on.")
    if len({vector.numel() for vector in by_layer.values()}) > 1:
        raise UserError(f"{file}: its vectors are not all of one length.")
    return [by_layer[layer] for layer in range(first, last + 1)]
