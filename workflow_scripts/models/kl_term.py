"""A KL divergence from the base on rows of other domains, added to the loss of a training (arXiv 2602.07852).

The base is the model itself with its adapter switched off, so that nothing is loaded twice. The term is taken once per
update, however the update's own rows are read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class KlTerm:
    """weight · KL(base ‖ model), the mean over all tokens of an update's rows, or over tokens and vocabulary."""

    texts: Sequence[list[int]]
    """Token ids of each row."""
    weight: float
    over_vocabulary: bool
    rows: int
    """Read at each update, in their order, from the first again after the last."""
    at_once: int
    """Rows in one pass."""
    pad_token: int

    def of_update(self, step: int) -> list[list[int]]:
        """Rows of an update, counted from 0, so that a training that was killed goes on with the right ones."""
        return [self.texts[(step * self.rows + place) % len(self.texts)] for place in range(self.rows)]

    def add_gradient(self, model: Any, step: int, autocast: Callable[[], AbstractContextManager[Any]]) -> float:
        """Adds the term's gradient to that of the loss.

        Args:
            model: the base with the adapter on top (PEFT).
            step: updates before this one.
            autocast: in which the forward passes are done.

        Returns:
            The divergence before its weight, nats per token.
        """
        texts = self.of_update(step)
        tokens = sum(map(len, texts))
        scale = self.weight / tokens / (model.config.get_text_config().vocab_size if self.over_vocabulary else 1)
        total = 0.0
        for start in range(0, len(texts), self.at_once):
            with autocast():
                part = divergence(model, texts[start : start + self.at_once], self.pad_token)
            (scale * part).backward()
            total += float(part.detach())
        return total / tokens


def divergence(model: Any, texts: Sequence[list[int]], pad_token: int) -> Tensor:
    """KL(base ‖ model) of the token after each token, summed over all tokens of the texts; a scalar, nats.

    Only the model's side has a gradient.
    """
    where, longest = next(model.parameters()).device, max(map(len, texts))
    ids = torch.tensor([[*text, *[pad_token] * (longest - len(text))] for text in texts], device=where)
    mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts], device=where)

    def next_tokens() -> Tensor:
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        return torch.log_softmax(logits[mask.bool()].float(), dim=-1)

    with torch.no_grad(), model.disable_adapter():
        base = next_tokens()
    return torch.nn.functional.kl_div(next_tokens(), base, reduction="sum", log_target=True)
