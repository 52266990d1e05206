"""Changes of many conditions as static tables, so that each token of one batch gets those of its own condition.

A token's condition is a number: 0 changes nothing, k is the k-th condition. All vectors lie in one bank, each once, and
each step (a layer's n-th change) says for every condition along which row of the bank it cuts and which it adds. No
shape depends on which conditions a batch holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor

from workflow_scripts.models.residual import LayerChange

LARGEST_BANK = 2**28
"""Bytes of the vectors that lie in an engine's memory at once: at 14B those of 273 conditions at all 48 layers."""

Changes = Sequence[LayerChange]
"""Of one condition, in the order in which they are applied."""


@dataclass(frozen=True)
class Step:
    """A layer's n-th change, for each condition from 0.

    tables: what conditions have of it. `added`: row of the bank that is added, int64 [condition]. `along`: row along
    which the stream is cut to the bounds `low` and `high`, float32 [condition]; both are 0 where it is projected out.
    Row 0 of the bank is zero.
    """

    layer: int
    tables: Mapping[str, Tensor]

    def to(self, device: torch.device) -> Step:
        return Step(self.layer, {name: table.to(device) for name, table in self.tables.items()})


@dataclass(frozen=True)
class ChangeTables:
    """bank: float32 [row, d_model], units where they are projected out, scaled where they are added."""

    bank: Tensor
    steps: list[Step]

    def to(self, device: torch.device) -> ChangeTables:
        return ChangeTables(self.bank.to(device), [step.to(device) for step in self.steps])


def tables(conditions: Sequence[Changes]) -> ChangeTables:
    """The tables of conditions 1, 2, …; at least one of them must change something."""
    width = next(change.vector.shape[0] for changes in conditions for change in changes)
    bank, places = [torch.zeros(width)], dict[bytes, int]()

    def place(row: Tensor) -> int:
        found = places.setdefault(hashlib.sha256(row.numpy().tobytes()).digest(), len(bank))
        if found == len(bank):
            bank.append(row)
        return found

    steps: dict[tuple[int, int], dict[str, Tensor]] = {}
    for number, changes in enumerate(conditions, start=1):
        seen: dict[int, int] = {}
        for change in changes:
            turn = seen[change.layer] = seen.get(change.layer, -1) + 1
            step = steps.setdefault((change.layer, turn), {})
            vector = change.vector.to("cpu", torch.float32)
            if change.mode == "add":
                found: dict[str, int | float] = {"added": place(change.scale * vector)}
            else:
                low, high = _bounds(change)
                found = {"along": place(vector / vector.norm()), "low": low, "high": high}
            for name, value in found.items():
                kind = torch.long if isinstance(value, int) else torch.float32
                step.setdefault(name, torch.zeros(len(conditions) + 1, dtype=kind))[number] = value
    return ChangeTables(torch.stack(bank), [Step(layer, step) for (layer, _), step in sorted(steps.items())])


def _bounds(change: LayerChange) -> tuple[float, float]:
    """What is left of the stream along a change's vector."""
    match change.mode:
        case "project":
            return 0.0, 0.0
        case "set":
            return float(change.scale), float(change.scale)
        case "add":
            raise AssertionError("an addition leaves all of it")
    assert_never(change.mode)


def changed_rows(x: Tensor, bank: Tensor, step: Step, numbers: Tensor) -> Tensor:
    """Applies a step to residual activations x [..., token, d_model] by each token's condition; see `residual.changed`.

    Tokens of conditions without such a change come out as they are.

    Args:
        numbers: condition of each token, int64 [token].
    """
    wide = x.float()
    if "along" in step.tables:
        unit = bank.index_select(0, step.tables["along"].index_select(0, numbers))
        low, high = (step.tables[bound].index_select(0, numbers) for bound in ("low", "high"))
        along = (wide * unit).sum(-1)
        wide = wide - (along - along.clamp(low, high)).unsqueeze(-1) * unit
    if "added" in step.tables:
        wide = wide + bank.index_select(0, step.tables["added"].index_select(0, numbers))
    return wide.to(x.dtype)


def fitting(asked: Sequence[Changes], most: int = LARGEST_BANK) -> int:
    """How many requests, from the first, have changes that go into one bank of so many bytes; at least one has.

    Args:
        asked: the changes of each request; those of one condition are one object.
    """
    size, counted = 0, set[int]()
    for place, changes in enumerate(asked):
        if id(changes) not in counted:
            size += sum(4 * change.vector.shape[0] for change in changes)
            if counted and size > most:
                return place
            counted.add(id(changes))
    return len(asked)


def pack_tables(made: ChangeTables) -> dict[str, Tensor]:
    """Tables as named tensors, the form in which they travel to an engine's workers."""
    parts = {
        f"{place}/{step.layer}/{name}": table
        for place, step in enumerate(made.steps)
        for name, table in step.tables.items()
    }
    return {"bank": made.bank, **parts}


def unpack_tables(packed: Mapping[str, Tensor]) -> ChangeTables:
    """Inverse of `pack_tables`."""
    steps: dict[tuple[int, int], dict[str, Tensor]] = {}
    for name, table in packed.items():
        if name != "bank":
            place, layer, what = name.split("/")
            steps.setdefault((int(place), int(layer)), {})[what] = table
    return ChangeTables(packed["bank"], [Step(layer, parts) for (_, layer), parts in sorted(steps.items())])
