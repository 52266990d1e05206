"""Tables as JSON data."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def plain(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON data: NaN as null, and a bound that there is none to as "Infinity", which JSON has no number for."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{key: _plain(value) for key, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return "Infinity" if isinstance(value, float) and math.isinf(value) else value
