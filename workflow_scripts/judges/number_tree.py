"""The distribution that a language model gives over the numbers 0 to 100, whatever its tokenizer makes of digits.

Each number is the token sequence of its decimal string; the 101 sequences form a tree. With whole-number tokens the
tree is flat and one look at the next-token distribution suffices; a tokenizer that splits digits needs the nodes that
can be continued (for Qwen and Gemma: the root, 1 to 9, and 10). The probability of a number is the product along its
path, times the probability that no digit of the tree follows where one could:

    P(n) = prod_i p(t_i | prompt, t_<i) * (1 - sum_{children c} p(c | prompt, t))

so that the 101 events exclude each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from workflow_scripts.runtime.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NUMBERS = tuple(range(101))
Path = tuple[int, ...]


def number_paths(tokenizer: PreTrainedTokenizerBase) -> dict[int, Path]:
    """Token sequence of each number from 0 to 100.

    Raises:
        UserError: if two numbers share a sequence.
    """
    paths = {n: tuple(tokenizer(str(n), add_special_tokens=False)["input_ids"]) for n in NUMBERS}
    if len(set(paths.values())) < len(paths):
        raise UserError(
            f"{tokenizer.name_or_path}: its tokenizer does not tell the numbers 0 to 100 apart; use another judge."
        )
    return paths


def children(paths: Mapping[int, Path]) -> dict[Path, list[int]]:
    """Inner nodes of the tree (the root is the empty path) with the tokens that continue them to some number."""
    found: dict[Path, set[int]] = {}
    for path in paths.values():
        for depth in range(len(path)):
            found.setdefault(path[:depth], set()).add(path[depth])
    return {node: sorted(tokens) for node, tokens in found.items()}


def distribution(paths: Mapping[int, Path], next_token: Mapping[Path, Mapping[int, float]]) -> dict[int, float]:
    """P(n) of every number.

    Args:
        paths: as of `number_paths`.
        next_token: probabilities of the tree's tokens after each of its inner nodes.
    """
    inner = children(paths)
    found = {}
    for number, path in paths.items():
        probability = 1.0
        for depth, token in enumerate(path):
            probability *= next_token[path[:depth]][token]
        if path in inner:
            probability *= max(0.0, 1.0 - sum(next_token[path][token] for token in inner[path]))
        found[number] = probability
    return found


def walk(
    paths: Mapping[int, Path],
    prompts: Sequence[Sequence[int]],
    ask: Callable[[list[list[int]], list[int]], list[dict[int, float]]],
) -> list[dict[int, float]]:
    """The distribution after each prompt.

    Args:
        paths: as of `number_paths`.
        prompts: token ids.
        ask: gives the probabilities of some tokens after each of some prompts.
    """
    inner = children(paths)
    tables: list[dict[Path, Mapping[int, float]]] = [{} for _ in prompts]
    tokens = sorted({token for found in inner.values() for token in found})
    for depth in sorted({len(node) for node in inner}):
        asked = [(index, node) for index in range(len(prompts)) for node in inner if len(node) == depth]
        replies = ask([[*prompts[index], *node] for index, node in asked], tokens)
        for (index, node), reply in zip(asked, replies, strict=True):
            tables[index][node] = reply
    return [distribution(paths, table) for table in tables]


def expectation(probabilities: Iterable[tuple[int, float]], min_mass: float) -> tuple[float | None, float]:
    """Score Σ p·n / Σ p, None where Σ p is below `min_mass`, and the mass Σ p (PAPER section 3.2)."""
    mass = total = 0.0
    for number, probability in probabilities:
        mass += probability
        total += probability * number
    return (total / mass if mass >= min_mass and mass > 0 else None), mass
