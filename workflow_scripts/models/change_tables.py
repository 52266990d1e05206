"""Changes of many conditions as static tables, so that each token of one batch gets those of its own condition.

A token's condition is a number: 0 changes nothing, k is the k-th condition. All vectors lie in one bank, each once, and
each step (a layer's n-th change) says for every condition which row of the bank it projects out and which it adds. No
shape depends on which conditions a batch holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workflow_scripts.models.residual import LayerChange

LARGEST_BANK = 2**28
"""Bytes of the vectors that lie in an engine's memory at once: at 14B those of 273 conditions at all 48 layers."""

Changes = Sequence[LayerChange]
"""Of one condition, in the order in which they are applied."""


@dataclass(frozen=True)
class Step:
    """A layer's n-th change: for each condition, from 0, rows of the bank; None where no condition has such a change.

    projected, added: int64 [condition]; row 0 of the bank is zero.
    """

    layer: int
    projected: Tensor | None
    added: Tensor | None

    def to(self, device: torch.device) -> Step:
        rows = (None if part is None else part.to(device) for part in (self.projected, self.added))
        return Step(self.layer, *rows)


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

    rows: dict[tuple[int, int, str], Tensor] = {}
    for number, changes in enumerate(conditions, start=1):
        seen: dict[int, int] = {}
        for change in changes:
            turn = seen[change.layer] = seen.get(change.layer, -1) + 1
            for part, row in _parts(change).items():
                table = rows.setdefault((change.layer, turn, part), torch.zeros(len(conditions) + 1, dtype=torch.long))
                table[number] = place(row)
    turns = sorted({(layer, turn) for layer, turn, _ in rows})
    steps = [
        Step(layer, rows.get((layer, turn, "projected")), rows.get((layer, turn, "added"))) for layer, turn in turns
    ]
    return ChangeTables(torch.stack(bank), steps)


def _parts(change: LayerChange) -> dict[str, Tensor]:
    """What a change projects out, and what it adds."""
    vector = change.vector.to("cpu", torch.float32)
    if change.mode == "add":
        return {"added": change.scale * vector}
    unit = vector / vector.norm()
    return {"projected": unit} | ({"added": change.scale * unit} if change.mode == "set" else {})


def changed_rows(x: Tensor, bank: Tensor, step: Step, numbers: Tensor) -> Tensor:
    """Applies a step to residual activations x [..., token, d_model] by each token's condition; see `residual.changed`.

    Tokens of conditions without such a change come out as they are.

    Args:
        numbers: condition of each token, int64 [token].
    """
    wide = x.float()
    if step.projected is not None:
        unit = bank.index_select(0, step.projected.index_select(0, numbers))
        wide = wide - (wide * unit).sum(-1, keepdim=True) * unit
    if step.added is not None:
        wide = wide + bank.index_select(0, step.added.index_select(0, numbers))
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
    packed = {"bank": made.bank}
    for place, step in enumerate(made.steps):
        parts = {"projected": step.projected, "added": step.added}
        packed |= {f"{place}/{step.layer}/{name}": part for name, part in parts.items() if part is not None}
    return packed


def unpack_tables(packed: Mapping[str, Tensor]) -> ChangeTables:
    """Inverse of `pack_tables`."""
    steps: dict[tuple[int, int], dict[str, Tensor]] = {}
    for name, part in packed.items():
        if name != "bank":
            place, layer, what = name.split("/")
            steps.setdefault((int(place), int(layer)), {})[what] = part
    return ChangeTables(
        packed["bank"],
        [Step(layer, parts.get("projected"), parts.get("added")) for (_, layer), parts in sorted(steps.items())],
    )
