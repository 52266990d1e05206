"""The best of many conditions, without the winner's luck: chosen on half of the questions, read on the other half."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import pandas as pd

Key = TypeVar("Key")


def halves(questions: pd.Series[str]) -> tuple[set[str], set[str]]:
    """Two disjoint sets of questions, every other one of the sorted ids."""
    names = sorted(questions.unique())
    return set(names[0::2]), set(names[1::2])


def cross_fitted(
    parts: Mapping[Key, pd.DataFrame], score: Callable[[pd.DataFrame], float]
) -> list[tuple[Key, pd.DataFrame]]:
    """Responses under the best condition to the questions that it was not chosen on; every question once.

    The largest of many cells is large by luck in part, and its own interval does not know of the choice. Chosen on one
    half of the questions and read on the other, both ways, it is a fair sample of "the best cell".

    Args:
        parts: responses of each condition, with a column question_id.
        score: of a condition on some questions; NaN where it does not qualify.

    Returns:
        Each half's choice with its responses to the other half; nothing where no condition qualifies on one of them, or
        there are fewer than two questions.
    """
    if not parts:
        return []
    first, second = halves(pd.concat([part.question_id for part in parts.values()]))
    chosen = []
    for on, other in ((first, second), (second, first)):
        scores = {key: score(part[part.question_id.isin(on)]) for key, part in parts.items()}
        scores = {key: value for key, value in scores.items() if not pd.isna(value)}
        if not scores or not other:
            return []
        best = max(scores, key=scores.__getitem__)
        chosen.append((best, parts[best][parts[best].question_id.isin(other)]))
    return chosen
