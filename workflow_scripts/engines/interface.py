"""What a sampling engine does: serve the base or an adapter, change its residual stream, sample from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from workflow_scripts.models.change_tables import Changes
from workflow_scripts.models.drawing import SamplingSettings


@dataclass(frozen=True, eq=False)
class Request:
    """One response to draw.

    prompt: its token ids. seed: of its own random numbers. changes: of the residual stream at all of its tokens, prompt
    and answer; requests of one condition share one object. Without any, those hold that the engine was told.
    adapter: a folder; the one that the engine serves if absent.
    """

    prompt: tuple[int, ...]
    seed: int
    changes: Changes = ()
    adapter: Path | None = None


@dataclass(frozen=True)
class Sampled:
    """One response. `finish_reason` is `stop` at an end token and `length` when cut."""

    text: str
    token_ids: tuple[int, ...]
    finish_reason: str


class Engine(Protocol):
    """One base model in memory, used for many subjects and conditions.

    adapters_at_once: different adapters that the requests of one batch may have; where it is more than one, they may
    lie among requests of the plain base.
    """

    adapters_at_once: int

    def serve(self, adapter: Path | None) -> None:
        """Makes the base (None) or the base with a LoRA adapter folder the model that answers from now on."""

    def intervene(self, changes: Changes) -> None:
        """Replaces the residual-stream changes that hold from now on, for requests that have none of their own."""

    def generate(self, requests: Sequence[Request], settings: SamplingSettings) -> list[Sampled]:
        """Samples one response per request, in their order."""

    def sample(self, requests: Sequence[Request], settings: SamplingSettings) -> Iterator[tuple[int, Sampled]]:
        """Samples one response per request; gives each with the request's place as soon as it is finished."""

    def next_token_logprobs(
        self, prompts: Sequence[Sequence[int]], top: int, changes: Sequence[Changes] | None = None
    ) -> list[dict[int, float]]:
        """Log-probabilities of the `top` likeliest next tokens of each prompt (all tokens where top is -1).

        Args:
            changes: of each prompt, in one batch; those that hold if absent.
        """

    def facts(self) -> dict[str, str]:
        """Which engine this is and how it samples, for the provenance of what it samples."""

    def token_logprobs(
        self, prompts: Sequence[Sequence[int]], tokens: Sequence[Sequence[int]]
    ) -> list[dict[int, float]]:
        """Log-probabilities of just these next tokens after each prompt, however unlikely they are."""

    def answer_logprobs(self, texts: Sequence[tuple[Sequence[int], int]]) -> list[list[float]]:
        """Log-probability of each answer token of texts, given as token ids and how many of them are the prompt."""

    def close(self) -> None:
        """Frees the model and what was written for it."""


def in_order(sampled: Iterable[tuple[int, Sampled]]) -> list[Sampled]:
    """Responses in the order of their requests."""
    return [response for _, response in sorted(sampled, key=lambda found: found[0])]
