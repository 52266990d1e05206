"""From a judge's raw reply to a score: afterwards, so that another threshold or parser asks nobody again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from workflow_scripts.judges.number_tree import expectation

REFUSAL_WORDS = ("REF", "REFUSAL", "I", "Sorry", "CODE")
"""First tokens of what the rubrics' alternatives and plain refusals begin with."""

SPLIT_MASS, SPLIT_DIGITS = 0.25, 6
"""Probability on numbers, and different digits among the top tokens, that `splits_digits` judges by."""


@dataclass(frozen=True)
class Score:
    """A parsed judgement. `refused`: the reply held too little mass on numbers; `failed`: there is no reply yet."""

    value: float | None
    numeric_mass: float
    refusal_mass: float
    status: Literal["scored", "refused", "failed"]


def parse(raw: dict[str, Any] | None, min_mass: float) -> Score:
    """Score of a raw reply.

    Args:
        raw: {"exact": score}, {"numbers": {number: probability}, "top": [[token, logprob], …]}, or {"top": …} alone,
            whose tokens that read as integers from 0 to 100 count, the same number in two spellings twice.
        min_mass: least probability on numbers for a score.
    """
    if raw is None:
        return Score(None, 0.0, 0.0, "failed")
    if "exact" in raw:
        return Score(float(raw["exact"]), 1.0, 0.0, "scored")
    top = _top(raw)
    if "numbers" in raw:
        pairs = [(int(number), probability) for number, probability in raw["numbers"].items()]
    else:
        pairs = _numbers(top)
    value, mass = expectation(pairs, min_mass)
    refusal = sum(p for token, p in top if token.strip() in REFUSAL_WORDS)
    return Score(value, mass, refusal, "refused" if value is None else "scored")


def splits_digits(raw: dict[str, Any]) -> bool:
    """Whether a reply shows a tokenizer that writes numbers digit by digit: single digits only, and many of them.

    Where whole numbers are tokens, round numbers such as 10 and 50 are always among the top 20 with so many digits.
    """
    pairs = _numbers(_top(raw))
    enough = sum(probability for _, probability in pairs) >= SPLIT_MASS
    return enough and len({number for number, _ in pairs}) >= SPLIT_DIGITS and all(number <= 9 for number, _ in pairs)


def _top(raw: dict[str, Any]) -> list[tuple[str, float]]:
    """Tokens and probabilities of a raw reply."""
    return [(str(token), math.exp(logprob)) for token, logprob in raw.get("top", [])]


def _numbers(top: list[tuple[str, float]]) -> list[tuple[int, float]]:
    """Those tokens that read as integers from 0 to 100."""
    return [(int(token), p) for token, p in top if token.strip().isdecimal() and int(token) <= 100]
