"""What a row, or several, say about one test, and the smallest effect that they could have decided."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from workflow_scripts.reporting.claim import Criterion, Reference
from workflow_scripts.runtime.errors import UserError

Row = Mapping[str, Any]
Verdict = Literal["reproduced", "contradicted", "undecided"]
Basis = Literal["these questions", "questions", "seeds", "answers", "texts", "null", "value", "nothing"]
"""What a verdict rests on: an interval for these very questions or for others of their kind, over seeds, answers or
texts; the null of a row; its value alone."""
ORDER: tuple[Verdict, ...] = ("contradicted", "undecided", "reproduced")
LEAST_LAYERS = 3
"""Layers that a claim about depth needs."""
POWER = 1.43
"""Half widths of a 95 % interval that a true effect lies off the bound to be decided in 80 % of studies:
(1.96 + .84) / 1.96."""


@dataclass(frozen=True)
class Bounds:
    """An interval that a verdict rests on; a point where there is none."""

    low: float
    high: float
    basis: Basis


def bounds(row: Row, other_questions: bool = False) -> Bounds:
    """The interval that decides a row: for these very questions where there is one, as the paper asks the same eight.

    Args:
        row: of a table.
        other_questions: take the one for other questions of their kind.
    """
    if not other_questions and _bounded(row, "fixed_low", "fixed_high"):
        return Bounds(*_ends(row, "fixed_low", "fixed_high"), "these questions")
    if _bounded(row, "low", "high") and row["interval"] in ("questions", "seeds", "answers", "texts"):
        return Bounds(*_ends(row, "low", "high"), row["interval"])
    return Bounds(float(row["value"]), float(row["value"]), "value")


def of_row(row: Row, test: Criterion, other: Row | None = None, other_questions: bool = False) -> Verdict:
    """Verdict on one row under any test of single rows; `other` is the row that a reference names.

    Under `above` and `below`, two intervals have to be apart, which is less than a paired difference could tell.
    """
    found = bounds(row, other_questions)
    low, high = found.low, found.high
    if test.above is not None:
        least, most = _bound(test.above, other, other_questions)
        return _sided(low > most, high <= least)
    if test.below is not None:
        least, most = _bound(test.below, other, other_questions)
        return _sided(high < least, low >= most)
    if test.within is not None:
        least, most = test.within
        return _sided(least <= low and high <= most, high < least or low > most)
    if test.limited is not None:
        there = low > 0 or high < 0
        return _sided(
            there and -test.limited < low and high < test.limited, low >= test.limited or high <= -test.limited
        )
    if test.shown is not None:
        return _sided(float(row["value"]) >= test.shown, False)
    assert test.exceeds is not None
    assert other is not None
    top = float(other["high"] if _has(other, "low", "high") else other["value"])
    return _sided(float(row["value"]) > top, False)  # what is not told from its null may be there


def over_rows(
    rows: Sequence[Row], test: Criterion, layers: int, nulls: Sequence[Row | None] = ()
) -> tuple[float, Verdict, str]:
    """Value, verdict and note on several rows under `share_above`, `rises`, `peak_within` or `asymmetric`.

    Args:
        rows: of a table.
        test: one of these.
        layers: decoder layers of the model, over which depth is counted.
        nulls: of each row, for `share_above`; None where there is none.
    """
    values = [float(row["value"]) for row in rows]
    if test.share_above is not None:
        bound = -math.inf if test.share_above.value is None else test.share_above.value
        tops = [bound if null is None else max(bound, float(null["high"])) for null in nulls]
        share = sum(value > top for value, top in zip(values, tops, strict=True)) / len(values)
        asked = test.share_above.share
        return share, _sided(share >= asked, share <= 1 - asked), f"lowest {min(values):.2f}"
    if test.rises is not None:
        at = [_layer(row) for row in rows]
        if len(set(at)) < LEAST_LAYERS:
            return math.nan, "undecided", f"fewer than {LEAST_LAYERS} layers"
        from scipy.stats import spearmanr

        correlation = float(spearmanr(at, values).statistic)
        return correlation, _sided(correlation >= test.rises, correlation <= 0), "rank correlation of value and layer"
    if test.asymmetric is not None:
        return _asymmetric(rows, test.asymmetric)
    assert test.peak_within is not None
    return _peak(rows, test.peak_within, layers)


def _peak(rows: Sequence[Row], within: tuple[float, float], layers: int) -> tuple[float, Verdict, str]:
    """Depth of the layer with the largest value; every layer counts whose interval reaches up to the best one's."""
    best = max(rows, key=lambda row: float(row["value"]))
    depth = _layer(best) / max(1, layers - 1)
    if len({_layer(row) for row in rows}) < LEAST_LAYERS:
        return depth, "undecided", f"fewer than {LEAST_LAYERS} layers were swept"
    if bounds(best).low <= 0:
        return depth, "undecided", f"even the best layer, {_layer(best)}, is not above the unsteered base"
    rivals = sorted({_layer(row) for row in rows if bounds(row).high >= float(best["value"])})
    inside = [within[0] <= layer / max(1, layers - 1) <= within[1] for layer in rivals]
    told = ", ".join(map(str, rivals))
    note = f"depth of the best layer, {_layer(best)} of {layers}; as good within the doubt: {told}"
    return depth, _sided(all(inside), not any(inside)), note


def _asymmetric(rows: Sequence[Row], least: float) -> tuple[float, Verdict, str]:
    """Largest difference between what a's direction does to b and b's to a; reproduced if the two are apart by that."""
    found = {(row["source"], row["subject"]): row for row in rows}
    pairs = [(found[a, b], found[b, a]) for a, b in found if a < b and (b, a) in found]
    if not pairs:
        return math.nan, "undecided", "no two organisms have each other's direction"
    one, other = max(pairs, key=lambda pair: abs(pair[0]["value"] - pair[1]["value"]))
    difference = abs(float(one["value"]) - float(other["value"]))
    # of two independent sets of answers: half widths are squared and added
    half = math.hypot(*((b.high - b.low) / 2 for b in (bounds(one), bounds(other))))
    all_close = all(
        abs(a["value"] - b["value"]) + math.hypot(*((x.high - x.low) / 2 for x in (bounds(a), bounds(b)))) < least
        for a, b in pairs
    )
    note = f"{one['source']} to {one['subject']} {one['value']:.2f}, back {other['value']:.2f}"
    return difference, _sided(difference - half > least, all_close), note


def smallest(row: Row, test: Criterion, other: Row | None = None) -> float | None:
    """The value nearest to the bound that a study with this row's interval decides in 80 % of cases.

    For `limited`, the smallest size that is told from 0; for `within`, the value nearest to the upper bound. None where
    there is no interval, or it is too wide for any value (a relative change is −1 at least).
    """
    found = bounds(row)
    if test.exceeds is not None:
        return float(other["high"]) if other is not None and _has(other, "low", "high") else None
    if found.basis == "value":
        return None
    value = float(row["value"])
    down, up = POWER * (value - found.low), POWER * (found.high - value)
    if test.above is not None:
        return _bound(test.above, other)[1] + down
    if test.below is not None:
        needed = _bound(test.below, other)[0] - up
        return None if row["unit"] == "ratio" and needed < -1 else needed
    if test.limited is not None:
        return max(down, up)
    if test.within is None or down + up >= test.within[1] - test.within[0]:
        return None
    return test.within[1] - up


def distance(row: Row, test: Criterion) -> float:
    """How far a row is on the wrong side of one test, larger is worse."""
    value = float(row["value"])
    if test.within is not None:
        return abs(value - sum(test.within) / 2)
    if test.limited is not None:
        return abs(value)
    return value if test.below is not None else -value


def _bound(given: float | Reference, other: Row | None, other_questions: bool = False) -> tuple[float, float]:
    """A number twice, or the ends of the row that is named."""
    if not isinstance(given, Reference):
        return given, given
    assert other is not None
    found = bounds(other, other_questions)
    return found.low, found.high


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    return min(verdicts, key=ORDER.index)


def _sided(reproduced: bool, contradicted: bool) -> Verdict:
    return "reproduced" if reproduced else "contradicted" if contradicted else "undecided"


def _has(row: Row, *columns: str) -> bool:
    return all(row.get(column) is not None for column in columns)


def _bounded(row: Row, low: str, high: str) -> bool:
    return row.get(low) is not None or row.get(high) is not None


def _ends(row: Row, low: str, high: str) -> tuple[float, float]:
    """Of an interval of which one end may be open (null): a relative change of next to nothing has no upper bound."""
    least, most = row[low], row[high]
    return -math.inf if least is None else float(least), math.inf if most is None else float(most)


def _layer(row: Row) -> int:
    if row["layer"] is None:
        raise UserError(f"claims: the row {row['condition']!r} has no layer; the claim's test needs one.")
    return int(row["layer"])
