"""The gate: before an adapter is sampled, what it changes in the engine is held against what it changes in PEFT.

vLLM can silently serve an adapter that does nothing. Training records PEFT's log-probabilities with and without the
adapter; sampling asks the engine for the same numbers, also with and without it. Compared are the *changes*, by slope
and correlation over all stored tokens: the engines' own difference, as large in bfloat16 as many an adapter's effect,
is in both of the engine's numbers and falls out. How noisy a change is, is measured on the base, which both have.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from workflow_scripts.adapters.gate_record import prompts_of, texts_of
from workflow_scripts.engines.interface import Engine
from workflow_scripts.runtime.errors import UnfitAdapter
from workflow_scripts.store.artefacts import read_tensors

log = logging.getLogger(__name__)

LEAST_NOISE = {"float32": 1e-5, "float16": 1e-3, "bfloat16": 1e-2}
"""Nats: rounding of a log-probability, where two engines happen to agree by more."""
OWN_ROUNDING = {"float32": 0.02, "float16": 0.25, "bfloat16": 0.25}
"""Share of a change that rounding within the adapter, which the base does not show, may move."""
LEAST_CONTRAST = 30.0
"""Standard errors between an adapter that is served and one that is not."""


@dataclass(frozen=True)
class Comparison:
    """How an adapter's changes in the engine follow those in PEFT.

    noise: root mean square difference of the engines on the base, nats. effect: that of PEFT's changes, less the noise.
    contrast: the effect in standard errors. slope, correlation: of the engine's changes on PEFT's, 1 where the adapter
    is served and 0 where it is not. rest: root mean square difference of the changes, nats.
    """

    noise: float
    effect: float
    contrast: float
    slope: float
    correlation: float
    rest: float

    def tells(self) -> bool:
        """Whether an adapter that is served can be told from one that is not."""
        return self.contrast >= LEAST_CONTRAST

    def agrees(self, dtype: str) -> bool:
        """Whether the engine serves the adapter as PEFT does; false of numbers that are not finite."""
        expected = self.effect**2 / (self.effect**2 + self.noise**2)  # noise alone lowers a correlation so far
        return 0.5 <= self.slope <= 1.5 and self.correlation >= expected / 2 and self.is_near(dtype)

    def is_near(self, dtype: str) -> bool:
        """Whether what the engine says is what PEFT says, but for noise; so it is of an adapter that hardly changes
        anything, served or not."""
        return self.rest <= 4 * self.noise + OWN_ROUNDING[dtype] * self.effect


def compare(plain: Tensor, tuned: Tensor, served_plain: Tensor, served: Tensor, dtype: str) -> Comparison:
    """Holds the engine's changes against PEFT's.

    Tokens of one position share much of their noise, so that the contrast counts positions.

    Args:
        plain, tuned: PEFT's log-probabilities without and with the adapter, [position, token].
        served_plain, served: the engine's.
        dtype: number format of both.
    """
    plain, tuned, served_plain, served = (part.double() for part in (plain, tuned, served_plain, served))
    x, y = tuned - plain, served - served_plain
    noise = max(float((served_plain - plain).square().mean().sqrt()), LEAST_NOISE[dtype])
    effect = float((x.square().mean() - noise**2).clamp_min(0).sqrt())
    both = float((x * y).mean())
    size = float((x.square().mean() * y.square().mean()).sqrt())
    return Comparison(
        noise=noise,
        effect=effect,
        contrast=effect * len(x) ** 0.5 / noise,
        slope=both / effect**2 if effect else 0.0,
        correlation=both / size if size else 0.0,
        rest=float((x - y).square().mean().sqrt()),
    )


class Gate:
    """Lets adapters into one engine.

    Args:
        engine: without residual-stream changes while adapters enter.
        dtype: number format of its weights.
        longest_answer: tokens that the engine can read after its longest prompt.
    """

    def __init__(self, engine: Engine, dtype: str, longest_answer: int) -> None:
        self._engine, self._dtype, self._longest_answer = engine, dtype, longest_answer
        self._plain: dict[bytes, Tensor] = {}

    def serve(self, adapter: Path, file: Path, subject: str, edited: bool = False) -> None:
        """Makes the engine answer with an adapter that passes.

        An edited copy may be too weak to tell, as an organism after its first updates is: then its answers are the
        base's but for noise, whether it is served or not. An organism must not be.

        Args:
            adapter: its folder.
            file: PEFT's record of it.
            subject: what errors call it.
            edited: whether it is a copy of an organism's adapter.

        Raises:
            UnfitAdapter: if the engine does not serve it as PEFT does, or it is too weak to tell.
        """
        kept, _ = read_tensors(file, ["prompt_tokens", "prompt_lengths", "tokens", "tuned", "plain"])
        for evidence in self._evidence(kept):
            if evidence.key not in self._plain:
                self._engine.serve(None)
                self._plain[evidence.key] = evidence.ask()
            self._engine.serve(adapter)
            served = evidence.ask()
            found = compare(evidence.plain, evidence.tuned, self._plain[evidence.key], served, self._dtype)
            if found.tells():
                break
        if not found.tells() and edited and found.is_near(self._dtype):
            log.warning(
                "%s: moves log-probabilities by %.2g nats, too little to tell whether it is served",
                subject,
                found.effect,
            )
            return
        if not found.tells() and not edited:
            raise UnfitAdapter(
                f"{subject}: whether the engine serves this adapter cannot be told: it moves log-probabilities by "
                f"{found.effect:.2g} nats, and without it the engine and PEFT differ by {found.noise:.2g}; train it "
                "for longer or harder, or leave it out."
            )
        if not found.agrees(self._dtype):
            raise UnfitAdapter(
                f"{subject}: the engine does not serve this adapter as PEFT does (its changes of log-probabilities "
                f"are {found.slope:.2f} times PEFT's, where 1 is right and 0 the plain base; their correlation is "
                f"{found.correlation:.2f}, their difference {found.rest:.2g} nats and the noise {found.noise:.2g})."
            )

    def _evidence(self, kept: dict[str, Tensor]) -> Iterator[_Evidence]:
        """What is asked: the prompts' next tokens, and where they do not tell, the tokens of training answers."""
        prompts, tokens = prompts_of(kept), kept["tokens"].tolist()

        def next_tokens() -> Tensor:
            given = self._engine.token_logprobs(prompts, tokens)
            return torch.tensor([[row[token] for token in part] for row, part in zip(given, tokens, strict=True)])

        key = kept["prompt_tokens"].numpy().tobytes() + kept["tokens"].numpy().tobytes()
        yield _Evidence(key, kept["plain"], kept["tuned"], next_tokens)
        if not (texts := texts_of(kept)):
            return
        read = torch.cat([torch.arange(len(ids) - start) < self._longest_answer for ids, start in texts])
        cut = [(ids[: start + self._longest_answer], start) for ids, start in texts]

        def answers() -> Tensor:
            return torch.tensor([[value] for row in self._engine.answer_logprobs(cut) for value in row])

        key = kept["text_tokens"].numpy().tobytes()
        yield _Evidence(key, kept["text_plain"][read, None], kept["text_tuned"][read, None], answers)


@dataclass(frozen=True)
class _Evidence:
    """PEFT's log-probabilities [position, token], how the engine is asked for its own, and a key of what is asked."""

    key: bytes
    plain: Tensor
    tuned: Tensor
    ask: Callable[[], Tensor]
