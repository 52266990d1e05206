"""What a judge does: it is asked about a response by metric, and its raw answer is kept for later parsing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from workflow_scripts.store.artefacts import digest

if TYPE_CHECKING:
    from workflow_scripts.judges.identity import JudgeIdentity


@dataclass(frozen=True)
class Item:
    """One call: a metric, asked about one response with one rendered prompt."""

    metric: str
    question: str
    response: str
    prompt: str

    @property
    def prompt_hash(self) -> str:
        return digest(self.prompt)


@dataclass(frozen=True)
class Usage:
    """What an endpoint bills: calls that it answered, whether the answer could be used or not, and their tokens."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0
    """US dollars; 0 where the study gives no prices."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.usd + other.usd,
        )


@dataclass(frozen=True)
class Reply:
    """What came back. `raw` is plain JSON data, see `scores.parse`; `failed` calls are asked again by a later run."""

    item: Item
    raw: dict[str, Any] | None
    state: Literal["answered", "failed"]


class Judge(Protocol):
    """A judge that can be asked; who it is and what it is asked is its identity's matter (judges.identity)."""

    identity: JudgeIdentity

    def ask(self, items: Sequence[Item]) -> Iterator[list[Reply]]:
        """Answers, one per item, in any order, as soon as they are there; those of a list belong into one commit."""

    def close(self) -> None:
        """Frees what the judge holds."""
