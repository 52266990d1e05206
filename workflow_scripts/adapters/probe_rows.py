"""Probes and names of adapters as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workflow_scripts.adapters.probes import METRICS, Interval, Probe

Row = dict[str, Any]


def probe_rows(contrast: str, probes: list[Probe]) -> list[Row]:
    """Scores of each split and coefficients of each adapter; `low` and `high` are percentiles over runs.

    Columns: contrast (`<class 0>-<class 1>`), split, quantity (a score or `coefficient`), adapter (of a coefficient),
    value, low, high, tokens, responses, unit.
    """
    rows = []
    for made in probes:
        rows += [_row(contrast, name, made.score(name), made, "share") for name in METRICS]
        rows += [
            _row(contrast, "coefficient", made.coefficient(name), made, "weight", adapter=name)
            for name in made.adapters
        ]
    return rows


def name_rows(contrasts: str, named: Mapping[str, str]) -> list[Row]:
    """How many adapters bear each name, and each adapter's name as 0 or 1; columns as in `probe_rows`.

    `contrasts` are the two that the names rest on, `tokens` the number of adapters.
    """
    rows = []
    for role in ("general", "specialised", "both", "idle"):
        members = [float(name == role) for name in named.values()]
        rows.append(_plain(contrasts, f"{role}_adapters", sum(members), len(named), "count"))
        rows += [
            _plain(contrasts, f"is_{role}", member, 1, "share") | {"adapter": adapter}
            for adapter, member in zip(named, members, strict=True)
        ]
    return rows


def _row(contrast: str, quantity: str, found: Interval, made: Probe, unit: str, adapter: str | None = None) -> Row:
    return _plain(contrast, quantity, found.value, made.tokens, unit) | {
        "split": made.split, "adapter": adapter, "low": found.low, "high": found.high, "responses": made.responses,
    }  # fmt: skip


def _plain(contrast: str, quantity: str, value: float, tokens: int, unit: str) -> Row:
    nothing = float("nan")
    return {"contrast": contrast, "split": None, "quantity": quantity, "adapter": None, "value": value, "low": nothing,
            "high": nothing, "tokens": tokens, "responses": None, "unit": unit}  # fmt: skip
