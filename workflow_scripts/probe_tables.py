"""Probes and names of adapters as rows of the tables' long form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workflow_scripts.probes import METRICS, Interval, Probe

Row = dict[str, Any]


def probe_rows(subject: str, contrast_name: str, probes: list[Probe]) -> list[Row]:
    """E9: scores and coefficients in the tables' long form; `low` and `high` are percentiles over runs.

    Conditions: `<class 0>-<class 1>:<split>` for a score, `<class 0>-<class 1>:<split>:<adapter>` for a coefficient.
    """
    rows = []
    for made in probes:
        place = f"{contrast_name}:{made.split}"
        rows += [_row(subject, name, place, made.score(name), made, "share") for name in METRICS]
        rows += [
            _row(subject, "coefficient", f"{place}:{name}", made.coefficient(name), made, "weight")
            for name in made.adapters
        ]
    return rows


def name_rows(subject: str, contrast_names: str, named: Mapping[str, str]) -> list[Row]:
    """E9: how many adapters bear each name, and each adapter's name as 0 or 1."""
    rows = []
    for role in ("general", "specialised", "both", "idle"):
        members = [float(name == role) for name in named.values()]
        rows.append(_plain(subject, f"{role}_adapters", contrast_names, sum(members), len(named), "count"))
        rows += [
            _plain(subject, f"is_{role}", f"{contrast_names}:{adapter}", member, 1, "share")
            for adapter, member in zip(named, members, strict=True)
        ]
    return rows


def _row(subject: str, quantity: str, condition: str, found: Interval, made: Probe, unit: str) -> Row:
    return {**_plain(subject, quantity, condition, found.value, made.tokens, unit), "low": found.low,
            "high": found.high, "clusters": made.responses}  # fmt: skip


def _plain(subject: str, quantity: str, condition: str, value: float, n: int, unit: str) -> Row:
    nothing = float("nan")
    return {"experiment": "E9", "subject": subject, "seed": None, "quantity": quantity, "condition": condition,
            "value": value, "low": nothing, "high": nothing, "n": n, "clusters": 0, "unit": unit}  # fmt: skip
