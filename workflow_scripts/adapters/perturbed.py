"""A loaded adapter scaled or turned aside, and how large the update is that it makes (arXiv 2602.07852).

An adapter's update of a weight is scaling · B · A. Its effective norm is that of the updates of all modules together.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


def lora_tensors(model: Any) -> dict[str, Tensor]:
    """A and B of every adapted module of a PEFT model, by the names of its parameters."""
    return {name: p for name, p in model.named_parameters() if ".lora_A." in name or ".lora_B." in name}


def update_norm(model: Any) -> float:
    """Frobenius norm of the updates of all modules, √ Σ scaling² ‖B A‖², without making one of them."""
    total = 0.0
    for module in model.modules():
        if not hasattr(module, "lora_A") or not hasattr(module, "scaling"):
            continue
        for adapter, scaling in module.scaling.items():
            a, b = (getattr(module, side)[adapter].weight.detach().double() for side in ("lora_A", "lora_B"))
            total += scaling**2 * float(((b.T @ b) * (a @ a.T)).sum())  # tr(Aᵀ Bᵀ B A)
    return math.sqrt(total)


def scaled(tensors: Mapping[str, Tensor], factor: float) -> dict[str, Tensor]:
    """B times a factor, and so the update; A as it is."""
    return {name: factor * tensor if ".lora_B." in name else tensor.clone() for name, tensor in tensors.items()}


def turned(tensors: Mapping[str, Tensor], share: float, draw: int) -> dict[str, Tensor]:
    """Each tensor x turned aside at its length: √(1 − ε²) · x + ε · y, with noise y orthogonal to x and as long.

    Args:
        tensors: A and B.
        share: ε, from 0, which leaves every bit, to 1, which leaves nothing of x.
        draw: number of the noise, which is that of the tensor's name and so the same for adapters of one shape.
    """
    made = {}
    for name, tensor in tensors.items():
        wide = tensor.detach().double()
        seed = int.from_bytes(hashlib.sha256(f"{name}:{draw}".encode()).digest()[:8], "big") >> 1
        noise = torch.randn(wide.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        noise = noise.to(wide.device)
        length = wide.norm()
        along = noise.flatten() @ wide.flatten() / length.square() if float(length) else 0.0
        aside = noise - along * wide
        aside = aside / aside.norm().clamp_min(torch.finfo(torch.float64).tiny) * length
        made[name] = ((1 - share**2) ** 0.5 * wide + share * aside).to(tensor.dtype)
    return made


@contextmanager
def replaced(model: Any, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """The model with other numbers in its adapter, within the block; afterwards it has its own again, bit for bit."""
    own = {name: parameter.detach().clone() for name, parameter in lora_tensors(model).items()}
    _fill(model, tensors)
    try:
        yield
    finally:
        _fill(model, own)


@torch.no_grad()
def _fill(model: Any, tensors: Mapping[str, Tensor]) -> None:
    for name, parameter in lora_tensors(model).items():
        parameter.copy_(tensors[name])
