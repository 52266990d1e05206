"""Estimates as people read them, for what stages print."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from tabulate import tabulate


def shown(value: float, unit: str) -> str:
    """A number as people read it: shares and relative changes in percent; empty where there is none."""
    if pd.isna(value):
        return ""
    return f"{100 * value:.1f} %" if unit in ("share", "ratio") else f"{value:.2f}"


def number(value: float | None) -> str:
    """A number of the ledger, three digits; empty where there is none."""
    return "" if value is None or math.isnan(value) else f"{value:.3g}"


def interval(low: float, high: float, unit: str) -> str:
    """Bounds as people read them; a change that nothing bounds above says so. One of no width is none."""
    if pd.isna(low) or low == high:
        return ""
    return f"above {shown(low, unit)}" if math.isinf(high) else f"{shown(low, unit)} to {shown(high, unit)}"


def estimates(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Rows of value, both intervals, n, clusters and unit as text, each behind the columns that name it."""
    cells = [
        [*(row[name] for name in names), shown(row["value"], row["unit"]),
         interval(row["low"], row["high"], row["unit"]), interval(row["fixed_low"], row["fixed_high"], row["unit"]),
         row["n"], row["clusters"]]
        for row in rows
    ]  # fmt: skip
    header = [*names, "value", "95 % interval", "these questions", "n", "questions"]
    return str(tabulate(cells, header, tablefmt="simple", disable_numparse=True))
