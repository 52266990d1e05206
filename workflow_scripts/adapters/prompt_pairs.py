"""Pairs of prompts of equal token length, whose scalars are exchanged (PAPER 8.6)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from workflow_scripts.models.chat import padded_prompt_ids, prompt_ids
from workflow_scripts.runtime.errors import NotPossible
from workflow_scripts.store.artefacts import read_table
from workflow_scripts.study.conditions import patching_questions
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.schema import Study


@dataclass(frozen=True)
class Question:
    """One that is answered."""

    question_id: str
    text: str
    system: str | None


@dataclass(frozen=True)
class Pair:
    """An outside and a domain question whose prompts have the same number of tokens."""

    questions: tuple[Question, Question]
    prompts: tuple[tuple[int, ...], tuple[int, ...]]


def pairs_of(study: Study, layout: Layout, tokenizer: Any) -> list[Pair]:
    """The study's pairs: those that it gives, or so many drawn from its question sets.

    Raises:
        NotPossible: if a given pair differs by more than `padding` tokens, or too few can be drawn.
    """
    assert study.adapters
    assert study.adapters.patching
    settings = study.adapters.patching
    given = [tuple(Question(*told, None) for told in pair) for pair in patching_questions(study)]
    if given:
        return [_given(tokenizer, a, b, settings.padding) for a, b in given]
    assert isinstance(settings.pairs, int)
    sets = (study.sampling.questions, study.adapters.domain_questions)
    outside, domain = (
        [
            Question(row["question_id"], row["question"], row["system"])
            for row in read_table(layout.questions(name), ["question_id", "question", "system"]).to_pylist()
        ]
        for name in sets
    )
    return equal_pairs(tokenizer, outside, domain, settings.pairs, settings.padding, study.sampling.seed)


def equal_pairs(
    tokenizer: Any, outside: Sequence[Question], domain: Sequence[Question], count: int, padding: int, seed: int
) -> list[Pair]:
    """`count` pairs, each question in one at most: drawn by seed, those that need the least padding first.

    The shorter prompt gets as many line breaks as it lacks tokens, `padding` at most.

    Raises:
        NotPossible: if there are fewer.
    """
    order = random.Random(f"pairs:{seed}")
    sides = [order.sample(list(side), len(side)) for side in (outside, domain)]
    lengths = {q: len(prompt_ids(tokenizer, q.text, q.system)) for side in sides for q in side}
    free = {question for side in sides for question in side}
    made: list[Pair] = []
    for a, b in sorted(product(*sides), key=lambda pair: abs(lengths[pair[0]] - lengths[pair[1]])):
        if len(made) < count and {a, b} <= free and abs(lengths[a] - lengths[b]) <= padding:
            free -= {a, b}
            made.append(_padded(tokenizer, a, b))
    if len(made) < count:
        within = f", with {padding} line breaks more at most" if padding else ""
        raise NotPossible(
            f"adapters.patching.pairs: only {len(made)} pairs of a headline and a domain question have equally many "
            f"tokens{within}, {count} are asked for; lower it, raise adapters.patching.padding, write pairs of your "
            "own, or add questions.",
            pairs=len(made),
        )
    return made


def _given(tokenizer: Any, outside: Question, domain: Question, padding: int) -> Pair:
    lengths = [len(prompt_ids(tokenizer, q.text, q.system)) for q in (outside, domain)]
    if abs(lengths[0] - lengths[1]) > padding:
        raise NotPossible(
            f"adapters.patching.pairs: {outside.question_id} and {domain.question_id} have {lengths[0]} and "
            f"{lengths[1]} tokens, more than {padding} apart; reword one, or raise adapters.patching.padding."
        )
    return _padded(tokenizer, outside, domain)


def _padded(tokenizer: Any, outside: Question, domain: Question) -> Pair:
    """The shorter prompt with line breaks at the end of its question."""
    prompts = [prompt_ids(tokenizer, q.text, q.system) for q in (outside, domain)]
    longest = max(map(len, prompts))
    first, second = (
        tuple(padded_prompt_ids(tokenizer, q.text, q.system, longest - len(prompt)))
        for q, prompt in zip((outside, domain), prompts, strict=True)
    )
    return Pair((outside, domain), (first, second))
