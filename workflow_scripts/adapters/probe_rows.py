"""Probes and names of adapters as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workflow_scripts.adapters.probes import METRICS, Interval, Probe, Samples, p_values

Row = dict[str, Any]
SHUFFLED = "_shuffled"
"""Ends the name of a score on tables with shuffled labels."""


def probe_rows(contrast: str, observed: Probe, shuffled: Probe | None) -> list[Row]:
    """Scores and coefficients of a split, and its null where there is one: scores under shuffled labels, and p.

    Columns: contrast (`<class 0>-<class 1>`), split, quantity (a score, or one under shuffled labels; `coefficient` and
    `p` of an adapter), adapter, value, low, high (the middle 95 % of the runs; of the draws for what was shuffled),
    tokens, responses, unit.
    """
    rows = [_row(contrast, name, observed.score(name), observed, "share") for name in METRICS]
    rows += [
        _row(contrast, "coefficient", observed.coefficient(name), observed, "weight", name)
        for name in observed.adapters
    ]
    if shuffled is not None:
        rows += [_row(contrast, name + SHUFFLED, shuffled.score(name), shuffled, "share") for name in METRICS]
        found = p_values(observed.coefficients, shuffled.coefficients).tolist()
        points = [Interval(p, float("nan"), float("nan")) for p in found]
        rows += [_row(contrast, "p", p, observed, "p", name) for name, p in zip(observed.adapters, points, strict=True)]
    return rows


def shuffle_rows(contrast: str, given: Samples) -> list[Row]:
    """How much moves when the labels of a contrast are shuffled, and how many of its questions have both classes."""
    how = given.shuffle
    return [
        _plain(contrast, f"units_{how.manner}_questions", float(how.units), how.questions, "count"),
        _plain(contrast, "mixed_questions", float(how.mixed), how.questions, "count"),
    ]


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
