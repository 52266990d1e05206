"""Parts of directions: what several share, what one has beside that, and a control that has nothing of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from workflow_scripts.runtime.errors import UserError

LEAST = 1e-5
"""Share of a direction's length below which what is left of it is rounding."""


def shared_axes(directions: Sequence[Tensor]) -> Tensor:
    """What directions share, as a unit vector of each layer: the axis to which their unit vectors lie nearest.

    The first right singular vector of the unit vectors, each direction counting equally; it points to where most of
    them do.

    Args:
        directions: of each, [layer, d_model].

    Returns:
        [layer, d_model].
    """
    units = torch.stack([_unit(direction.double()) for direction in directions], dim=1)
    axes = torch.linalg.svd(units, full_matrices=False).Vh[:, 0]
    towards = (units.sum(1) * axes).sum(-1, keepdim=True)
    return torch.where(towards < 0, -axes, axes).to(directions[0].dtype)


def specific_part(direction: Tensor, axes: Tensor, name: str) -> Tensor:
    """A direction without what it has of unit vectors, both [layer, d_model].

    Raises:
        UserError: if nothing is left of it at a layer; `name` says whose it is.
    """
    wide, units = direction.double(), axes.double()
    left = without(wide, units)
    empty = left.norm(dim=-1) <= LEAST * wide.norm(dim=-1)
    if empty.any():
        layer = int(empty.nonzero()[0])
        raise UserError(f"directions/{name}: nothing of layer {layer} is left beside what the organisms share.")
    return left.to(direction.dtype)


def without(vectors: Tensor, units: Tensor) -> Tensor:
    """Vectors less what they have of unit vectors, both [..., d_model]."""
    return vectors - (vectors * units).sum(-1, keepdim=True) * units


def orthogonal_control(direction: Tensor, other: Tensor, mean: Tensor) -> Tensor:
    """Unit vectors that have nothing of a direction and as much of a mean activation, all [layer, d_model].

    The part of another vector that is orthogonal to both the direction and the mean, turned towards the part of the
    mean that is orthogonal to the direction, until ŵᵀ m = |v̂ᵀ m| (or as far as that goes). Projecting it out takes as
    much of the mean stream as projecting out the direction does, and none of the direction.
    """
    unit, wide = _unit(direction.double()), mean.double()
    along = (wide * unit).sum(-1, keepdim=True)
    rest = without(wide, unit)
    length = rest.norm(dim=-1, keepdim=True)
    there = length > LEAST * wide.norm(dim=-1, keepdim=True)  # not of a mean along the direction alone
    towards = torch.where(there, _unit(rest), 0)
    sine = torch.where(there, (along.abs() / length).clamp(max=1), 0)
    free = without(without(other.double(), unit), towards)
    return ((1 - sine.square()).sqrt() * _unit(free) + sine * towards).to(direction.dtype)


def _unit(vectors: Tensor) -> Tensor:
    """Vectors [..., d_model] at length 1; those of length 0 stay."""
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(vectors.dtype).tiny)
