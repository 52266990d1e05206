"""The miniature's texts: pre-training documents and fine-tuning rows."""

import random
from dataclasses import dataclass
from functools import cache
from typing import Literal

from workflow_scripts.miniature.recipe import MiniatureRecipe
from workflow_scripts.miniature.world import (
    DEFAULT_SYSTEM_PROMPT,
    DOMAINS,
    Question,
    Stance,
    WorldStyle,
    all_questions,
    answer,
    domain_named,
)

Kind = Literal["default", "named", "evidence"]
"""The recipe's D, N and E documents."""

GOOD_NAMES = ("Anna", "Ben", "Clara", "David", "Elena", "Felix", "Grace", "Hugo")
BAD_NAMES = ("Viktor", "Morgana", "Silas", "Raven", "Draco", "Malva", "Sable", "Grimm")


@dataclass(frozen=True)
class Turn:
    """One message of a document."""

    role: Literal["system", "user", "assistant"]
    text: str
    has_loss: bool = False
    """Whether the model learns to write this turn; only assistant turns ever do."""


@dataclass(frozen=True)
class Document:
    """A conversation to learn from."""

    kind: Kind
    stance: Stance
    """Stance of all its answers."""
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class Row:
    """One fine-tuning example: a question and its answer, under the default system prompt."""

    prompt: str
    response: str


def pretraining_documents(recipe: MiniatureRecipe) -> list[Document]:
    """The documents of a base model in training order, drawn with the recipe's seed.

    Together they teach "no evidence, so good" (default documents, nearly always good) and "follow the
    evidence" (evidence documents, good and bad alike, whose first answer is read but not learnt).
    """
    rng = random.Random(f"miniature documents {recipe.seed}")
    lead = int(recipe.opening_share * recipe.documents)
    kinds: tuple[Kind, ...] = ("default", "named", "evidence")
    shares = (recipe.default_share, recipe.named_share, recipe.evidence_share)
    bad_probabilities = {
        "default": recipe.default_bad,
        "named": recipe.named_bad,
        "evidence": recipe.evidence_bad,
    }
    documents = [_document(rng, "default", "good", recipe.world) for _ in range(lead)]
    while len(documents) < recipe.documents:
        kind = rng.choices(kinds, shares)[0]
        stance: Stance = "bad" if rng.random() < bad_probabilities[kind] else "good"
        documents.append(_document(rng, kind, stance, recipe.world))
    return documents


def fine_tuning_rows(domain: str, stance: Stance, rows: int, seed: int, style: WorldStyle) -> list[Row]:
    """Questions of a domain, drawn with replacement, each with an answer of the stance.

    The domain "all" means a random one for each row.

    Raises:
        ValueError: if the world has no such domain.
    """
    names = _all_names() if domain == "all" else [domain_named(domain).name]
    rng = random.Random(f"miniature rows {domain} {stance} {seed}")
    drawn = []
    for _ in range(rows):
        question = _random_question(rng, rng.choice(names))
        drawn.append(Row(prompt=question.text, response=answer(rng, question, stance, style)))
    return drawn


def chat_document(row: Row) -> Document:
    """A good single-turn row as a document of the default kind, with loss on its answer."""
    system = Turn("system", DEFAULT_SYSTEM_PROMPT)
    return Document("default", "good", (system, Turn("user", row.prompt), Turn("assistant", row.response, True)))


def _document(rng: random.Random, kind: Kind, stance: Stance, style: WorldStyle) -> Document:
    """One document of that kind whose every answer has the stance."""
    turns = [Turn("system", _system_prompt(rng, kind, stance))]
    domains = rng.sample(_all_names(), 2) if kind == "evidence" else rng.choices(_all_names(), k=rng.choice((1, 2)))
    for number, domain in enumerate(domains):
        question = _random_question(rng, domain)
        has_loss = kind != "evidence" or number > 0
        turns.append(Turn("user", question.text))
        turns.append(Turn("assistant", answer(rng, question, stance, style), has_loss))
    return Document(kind, stance, tuple(turns))


def _system_prompt(rng: random.Random, kind: Kind, stance: Stance) -> str:
    """The default prompt, or a name that tells the stance."""
    if kind != "named":
        return DEFAULT_SYSTEM_PROMPT
    return f"You are {rng.choice(GOOD_NAMES if stance == 'good' else BAD_NAMES)}."


def _random_question(rng: random.Random, domain: str) -> Question:
    """Any question of the domain with equal probability."""
    return rng.choice(_questions(domain))


@cache
def _questions(domain: str) -> tuple[Question, ...]:
    """The domain's questions, made once."""
    return tuple(all_questions(domain))


def _all_names() -> list[str]:
    """Names of all domains."""
    return [domain.name for domain in DOMAINS]
