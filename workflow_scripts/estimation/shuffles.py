"""Labels that say nothing, shuffled so that what a question by itself tells is not mistaken for what the label tells.

Three or four of eight questions carry nearly all misaligned answers, so that whatever knows the question knows a good
part of the label. A null of labels shuffled over all responses destroys that too, and is too narrow. Two manners:

- `within` questions, where at least half of the responses lie in questions that have both labels: each question keeps
  its number of positive labels.
- `over` questions, elsewhere: questions swap their shares of positive labels as a whole. Where every question has one
  label only, class and question are the same thing, and nothing but whole questions can be shuffled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from workflow_scripts.estimation.columns import BoolArray, IntArray

Manner = Literal["within", "over"]
ROUNDING = 1e-9
"""A share times a size is a whole number up to this."""


@dataclass(frozen=True)
class Shuffle:
    """How the labels of responses are shuffled.

    Attributes:
        manner: see this module's docstring.
        units: what moves: responses of questions that have both labels, or questions. With few of them, shuffled
            labels are often the true ones, and no p can be small.
        mixed: questions that have both labels.
        questions: all of them.
    """

    manner: Manner
    units: int
    mixed: int
    questions: int


def shuffle_of(positive: BoolArray, questions: Sequence[str]) -> Shuffle:
    """The manner that labels are shuffled in, and how much moves.

    Args:
        positive: label of each response, [response].
        questions: question of each, [response].
    """
    names, codes = np.unique(np.asarray(questions), return_inverse=True)
    sizes, hits = _counts(positive, codes, names.size)
    mixed = (hits > 0) & (hits < sizes)
    movable = int(sizes[mixed].sum())
    if 2 * movable >= len(positive):
        return Shuffle("within", movable, int(mixed.sum()), names.size)
    return Shuffle("over", names.size, int(mixed.sum()), names.size)


def shuffled_labels(positive: BoolArray, questions: Sequence[str], seed: str, own: str = "") -> BoolArray:
    """Labels shuffled in the manner of `shuffle_of`, [response].

    Over questions, `seed` and a question's name alone say how early it is dealt one of the larger shares: two sets of
    responses to the same questions, shuffled with one seed, have their positive labels on the same wrong questions, as
    two organisms have theirs on the same right ones. Within questions, `own` keeps two such sets apart.
    """
    names, codes = np.unique(np.asarray(questions), return_inverse=True)
    sizes, hits = _counts(positive, codes, names.size)
    if shuffle_of(positive, questions).manner == "over":
        keys = [hashlib.sha256(f"{seed}:{name}".encode()).digest() for name in names]
        dealt = np.empty(names.size)
        dealt[sorted(range(names.size), key=keys.__getitem__)] = np.sort(hits / sizes)[::-1]
        hits = np.ceil(dealt * sizes - ROUNDING).astype(np.intp)
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(f"{seed}:{own}".encode()).digest()[:8], "big"))
    made = np.zeros(len(codes), dtype=bool)
    for question, count in enumerate(hits):
        made[rng.permutation(np.flatnonzero(codes == question))[:count]] = True
    return made


def _counts(positive: BoolArray, codes: IntArray, count: int) -> tuple[IntArray, IntArray]:
    sizes = np.bincount(codes, minlength=count)
    return sizes, np.bincount(codes, weights=np.asarray(positive, dtype=float), minlength=count).astype(np.intp)
