"""From a judge's raw reply to a score: afterwards, so that another threshold or parser asks nobody again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from workflow_scripts.judges.number_tree import expectation
from workflow_scripts.judges.written_numbers import read_number

REFUSAL_WORDS = ("REF", "REFUSAL", "I", "Sorry", "CODE")
"""First tokens of what the rubrics' alternatives and plain refusals begin with."""

SPLIT_MASS, SPLIT_DIGITS = 0.25, 6
"""Probability on numbers, and different digits among the top tokens, that `splits_digits` judges by."""


@dataclass(frozen=True)
class Score:
    """A parsed judgement. `refused`: the reply held too little mass on numbers; `unreadable`: it was written, and most
    of what is no number is no refusal either; `failed`: there is no reply yet, or none that a judge can give."""

    value: float | None
    numeric_mass: float
    refusal_mass: float
    status: Literal["scored", "refused", "unreadable", "failed"]


MOST_PROBABILITY = 1.02
"""Of one token and of all that exclude each other; endpoints round."""
LONGEST_NUMBER = 20
"""Characters of a token that may be a number from 0 to 100, blanks included."""


def unsound(raw: Any) -> str | None:
    """Why a raw reply is none that a judge can give; None of a sound one."""
    if not isinstance(raw, dict):
        return "it is no reply"
    if "exact" in raw:
        return None if _is_number(raw["exact"]) and 0 <= raw["exact"] <= 100 else "its score is not from 0 to 100"
    if "texts" in raw:
        texts = raw["texts"]
        whole = isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts)
        return None if whole else "it holds no texts"
    top = raw.get("top", [])
    if not isinstance(top, list) or not all(isinstance(entry, list) and len(entry) == 2 for entry in top):
        return "it holds no tokens with log-probabilities"
    if not all(isinstance(token, str) and (logprob == -math.inf or _is_number(logprob)) for token, logprob in top):
        return "a log-probability is not a number"
    if any(logprob > math.log(MOST_PROBABILITY) for _, logprob in top):
        return "a log-probability is above 0"
    if sum(math.exp(logprob) for _, logprob in top) > MOST_PROBABILITY:
        return "the probabilities of its tokens add up to more than 1"
    if "numbers" not in raw:
        return None if "top" in raw else "it holds neither a score, nor tokens, nor texts"
    numbers = raw["numbers"].values() if isinstance(raw["numbers"], dict) else [math.nan]
    whole = all(_is_number(p) and p >= 0 for p in numbers) and sum(numbers) <= MOST_PROBABILITY
    return None if whole else "its numbers have no probabilities that add up to 1 at most"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def parse(raw: dict[str, Any] | None, min_mass: float) -> Score:
    """Score of a raw reply.

    Args:
        raw: {"exact": score}, {"numbers": {number: probability}, "top": [[token, logprob], …]}, {"top": …} alone,
            whose tokens that read as integers from 0 to 100 count, the same number in two spellings twice, or
            {"texts": [answer, …]}, whose readable numbers are averaged (`written_numbers`).
        min_mass: least probability on numbers for a score, or least share of the answers.
    """
    if raw is None or unsound(raw):
        return Score(None, 0.0, 0.0, "failed")
    if "exact" in raw:
        return Score(float(raw["exact"]), 1.0, 0.0, "scored")
    if "texts" in raw:
        return _written(raw["texts"], min_mass)
    top = _top(raw)
    if "numbers" in raw:
        pairs = [(int(number), probability) for number, probability in raw["numbers"].items()]
    else:
        pairs = _numbers(top)
    value, mass = expectation(pairs, min_mass)
    refusal = sum(p for token, p in top if token.strip() in REFUSAL_WORDS)
    return Score(value, mass, refusal, "refused" if value is None else "scored")


def _written(texts: Sequence[str], min_share: float) -> Score:
    read = [read_number(text) for text in texts]
    scores = [found for found in read if not isinstance(found, str)]
    numbers, refusals = len(scores) / len(read), read.count("refused") / len(read)
    if scores and numbers >= min_share:
        return Score(sum(scores) / len(scores), numbers, refusals, "scored")
    unreadable = 1 - numbers - refusals
    return Score(None, numbers, refusals, "refused" if refusals > unreadable else "unreadable")


def splits_digits(raw: dict[str, Any]) -> bool:
    """Whether a reply shows a tokenizer that writes numbers digit by digit: single digits only, and many of them.

    Where whole numbers are tokens, round numbers such as 10 and 50 are always among the top 20 with so many digits.
    Where an endpoint shows few alternatives, all of them must be digits.
    """
    top = _top(raw)
    pairs = _numbers(top)
    enough = sum(probability for _, probability in pairs) >= SPLIT_MASS
    different = len({number for number, _ in pairs})
    return enough and different >= min(SPLIT_DIGITS, max(2, len(top))) and all(number <= 9 for number, _ in pairs)


def first_words(raw: dict[str, Any], min_mass: float) -> list[str]:
    """The likeliest tokens of a reply that is neither a number nor a refusal: of a judge that begins with prose."""
    found = parse(raw, min_mass)
    if "top" not in raw or found.status != "refused" or found.refusal_mass >= min_mass:
        return []
    likely = sorted(_top(raw), key=lambda entry: -entry[1])[:3]
    return [] if _numbers(likely) else [token for token, _ in likely]


def _top(raw: dict[str, Any]) -> list[tuple[str, float]]:
    """Tokens and probabilities of a raw reply; of a token that is listed twice, the larger."""
    found: dict[str, float] = {}
    for token, logprob in raw.get("top", []):
        found[token] = max(found.get(token, 0.0), math.exp(logprob))
    return list(found.items())


def _numbers(top: list[tuple[str, float]]) -> list[tuple[int, float]]:
    """Those tokens that read as integers from 0 to 100."""
    short = [(token, p) for token, p in top if len(token) <= LONGEST_NUMBER and token.strip().isdecimal()]
    return [(int(token), p) for token, p in short if int(token) <= 100]
