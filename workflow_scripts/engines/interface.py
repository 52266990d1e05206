"""What a sampling engine does: serve the base or an adapter, change its residual stream, sample from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from workflow_scripts.models.drawing import SamplingSettings
from workflow_scripts.models.residual import LayerChange


@dataclass(frozen=True)
class Request:
    """One response to draw: the prompt's token ids and the seed of its own random numbers."""

    prompt: tuple[int, ...]
    seed: int


@dataclass(frozen=True)
class Sampled:
    """One response. `finish_reason` is `stop` at an end token and `length` when cut."""

    text: str
    token_ids: tuple[int, ...]
    finish_reason: str


class Engine(Protocol):
    """One base model in memory, used for many subjects and conditions."""

    def serve(self, adapter: Path | None) -> None:
        """Makes the base (None) or the base with a LoRA adapter folder the model that answers from now on."""

    def intervene(self, changes: Sequence[LayerChange]) -> None:
        """Replaces the residual-stream changes that hold from now on; an empty sequence removes them."""

    def generate(self, requests: Sequence[Request], settings: SamplingSettings) -> list[Sampled]:
        """Samples one response per request, in their order."""

    def next_token_logprobs(self, prompts: Sequence[Sequence[int]], top: int) -> list[dict[int, float]]:
        """Log-probabilities of the `top` likeliest next tokens of each prompt (all tokens where top is -1)."""

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
