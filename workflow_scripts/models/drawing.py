"""How a next token is drawn from a model's logits."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class SamplingSettings:
    """Of all responses.

    Attributes:
        temperature: divides the logits; 0 takes the likeliest token.
        top_p: the likeliest tokens of so much probability; 1 keeps all.
        max_tokens: longest response.
        top_k: the likeliest tokens; None keeps all.
        repetition_penalty: divides positive logits of tokens that stand in the text, its prompt included, and
            multiplies negative ones (Keskar et al. 2019); None for none.
    """

    temperature: float
    top_p: float
    max_tokens: int
    top_k: int | None = None
    repetition_penalty: float | None = None


def adjusted(logits: Tensor, text: Tensor, settings: SamplingSettings) -> Tensor:
    """Logits to draw from, -inf for tokens that are left out: penalty, temperature, top k, top p, in this order.

    Both engines have this order. At temperature 0 only the penalty counts.

    Args:
        logits: float32 [row, vocabulary].
        text: token ids of prompt and response so far, [row, position].
        settings: of the study.
    """
    from transformers import (
        LogitsProcessorList,
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    steps = LogitsProcessorList()
    if settings.repetition_penalty is not None:
        steps.append(RepetitionPenaltyLogitsProcessor(settings.repetition_penalty))
    if settings.temperature not in (0, 1):
        steps.append(TemperatureLogitsWarper(float(settings.temperature)))
    if settings.top_k is not None and settings.temperature:
        steps.append(TopKLogitsWarper(settings.top_k))
    if settings.top_p < 1 and settings.temperature:
        steps.append(TopPLogitsWarper(settings.top_p))
    return Tensor(steps(text, logits))
