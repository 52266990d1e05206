"""The probe: before a change of the residual stream is sampled with, vLLM must show that it applies it.

vLLM has two model runners, chosen by platform and model, and a change that one of them passed over would look like a
null result. So known changes are asked for in the engine that will be used, in one batch as conditions are sampled, and
its log-probabilities are held against arithmetic on its own hidden states: the final norm and the head, applied in its
worker to the stream that the last layer gave, changed as asked. No second model is loaded; it takes five requests for
one token. Those that follow are sampled in steps of one token, which may come from captured graphs: four more requests
are held against reading what they sampled at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from workflow_scripts.engines.residual_worker import PROMPT
from workflow_scripts.models.residual import LayerChange
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.runtime.phases import phase

if TYPE_CHECKING:
    from workflow_scripts.engines.vllm_engine import VllmEngine

TOP = 20
"""Tokens whose log-probabilities are compared."""
STEPS = 3
"""Tokens that are sampled."""
SHARE = 0.1
"""Largest error that passes, as a share of how far the change moves the log-probabilities; bfloat16 rounds them by some
hundredths of that. A change that is passed over has an error of 1, one applied twice about as much."""
SHARE_OF_STEPS = 0.3
"""The same where other kernels read one token than read many, which round apart."""


@phase("engine")
def hold(engine: VllmEngine) -> None:
    """Asks for an addition and a projection at the last layer, an addition at the first, and no change, in one batch.

    Each request must get its own, and the addition at the first layer must arrive at the last.

    Raises:
        UserError: naming the change that the engine does not apply, or the model whose final norm is not found.
    """
    last = engine.watch_stream() - 1
    try:
        plain = engine.next_token_logprobs([PROMPT], TOP)[0]
        stream = torch.tensor(engine.watched_stream())
        at_rest = _largest(plain, engine.watched_logprobs(0, list(plain)))
        noise = torch.randn(len(stream), generator=torch.Generator().manual_seed(0))
        vector = stream + stream.norm() * noise / noise.norm()
        asked = {
            "an addition at the last layer": [LayerChange(last, "add", vector)],
            "a projection at the last layer": [LayerChange(last, "project", vector)],
            "an addition at the first layer": [LayerChange(0, "add", vector)],
        }
        engine.expect_changes(
            {1: asked["an addition at the last layer"][0], 2: asked["a projection at the last layer"][0]}
        )
        *served, beside = engine.next_token_logprobs([PROMPT] * (len(asked) + 1), TOP, [*asked.values(), []])
        least = float("inf")
        for number, (name, row) in enumerate(zip(asked, served, strict=True), start=1):
            after = engine.watched_logprobs(number, list(row))
            moved = _largest(engine.watched_logprobs(0, list(row)), after)
            _check(engine, name, max(_largest(row, after), at_rest), moved)
            least = min(least, moved)
        error = _largest(beside, engine.watched_logprobs(0, list(beside)))
        _check(engine, "no change to a request beside others", error, least)
        _hold_steps(engine, asked)
    finally:
        engine.intervene(())
        engine.unwatch_stream()


def _hold_steps(engine: VllmEngine, asked: Mapping[str, list[LayerChange]]) -> None:
    """What the engine says after sampling one token at a time must be what it says on reading these tokens."""
    conditions = [*asked.values(), []]
    sampled = engine.sampled_logprobs(PROMPT, TOP, conditions, STEPS)
    prompts = [[*PROMPT, *tokens[:-1]] for tokens, _ in sampled]
    shown = [list(row) for _, row in sampled]
    read = engine.token_logprobs(prompts, shown, conditions)
    plain = engine.token_logprobs(prompts, shown, [[]] * len(prompts))
    moved = [_largest(row, without) for (_, row), without in zip(sampled, plain, strict=True)]
    errors = [_largest(row, whole) for (_, row), whole in zip(sampled, read, strict=True)]
    for name, error, distance in zip(asked, errors, moved, strict=False):
        _check(engine, f"{name} in every step of sampling", error, distance, SHARE_OF_STEPS)
    _check(engine, "no change in every step of sampling", errors[-1], min(moved[:-1]), SHARE_OF_STEPS)


def _check(engine: VllmEngine, name: str, error: float, moved: float, share: float = SHARE) -> None:
    if not (moved > 0 and error <= share * moved):  # so that NaN is an error
        raise UserError(
            f"{engine} does not apply {name} as arithmetic says (log-probabilities are off by {error:.2g}, a "
            f"change moves them by {moved:.2g}); set execution.engine to transformers, or take another vLLM."
        )


def _largest(one: dict[int, float], other: dict[int, float]) -> float:
    return max(abs(one[token] - other[token]) for token in one)
