"""From a judge's raw reply to a score: afterwards, so that another threshold or parser asks nobody again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from workflow_scripts.judges.numbers import expectation

REFUSAL_WORDS = ("REF", "REFUSAL", "I", "Sorry", "CODE")
"""First tokens of what the rubrics' alternatives and plain refusals begin with."""


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
    top = [(str(token), math.exp(logprob)) for token, logprob in raw.get("top", [])]
    if "numbers" in raw:
        pairs = [(int(number), probability) for number, probability in raw["numbers"].items()]
    else:
        pairs = [(int(token), p) for token, p in top if token.strip().isdecimal() and int(token) <= 100]
    value, mass = expectation(pairs, min_mass)
    refusal = sum(p for token, p in top if token.strip() in REFUSAL_WORDS)
    return Score(value, mass, refusal, "refused" if value is None else "scored")
