"""Mean residual-stream activations over answer tokens, streamed: nothing grows with the number of responses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from workflow_scripts.models.packing import (
    ROW_TOKENS,
    Row,
    batches_by_length,
    mixes_by_attention_alone,
    packed,
    packed_mask,
    packed_rows,
)
from workflow_scripts.models.residual import backbone, captured, decoder_layers


@dataclass(frozen=True)
class WeightedSpan:
    """A text, the half-open token range that counts, the group it counts for, and the weight of each token.

    `also`: further groups that it counts for.
    """

    token_ids: list[int]
    start: int
    end: int
    group: int
    weight: float
    also: tuple[int, ...] = ()


@dataclass(frozen=True)
class GroupMeans:
    """Weighted means over tokens by group.

    mean: [group, layer, d_model] float64. norm: mean length of single activations, [group, layer] float64.
    """

    mean: Tensor
    norm: Tensor


@dataclass(frozen=True)
class SpanBatch:
    """Texts that are read at once: their rows, and what the model is called with, on its device."""

    rows: list[Row]
    inputs: dict[str, Any]

    @property
    def shape(self) -> tuple[int, int]:
        """[row, token]."""
        row, token = self.inputs["input_ids"].shape
        return row, token

    def places(self, spans: Sequence[WeightedSpan]) -> Iterator[tuple[int, int, slice]]:
        """Of each text of the batch: its number, its row, and where the tokens of its span lie there.

        A row holds a text from the first token of its span on: those before it are shared.
        """
        for place, row in enumerate(self.rows):
            for text, first in row.texts.items():
                yield text, place, slice(first, first + spans[text].end - spans[text].start)


def span_batches(model: Any, spans: Sequence[WeightedSpan], batch_tokens: int) -> Iterator[SpanBatch]:
    """All spans, packed into rows in which those with the same tokens before `start` share them.

    At most `batch_tokens` tokens are read at once (at least one text). A model whose layers pass a state along the row
    reads each text in a row of its own.
    """
    apart = not mixes_by_attention_alone(model)
    parameter = next(model.parameters())
    limit = 0 if apart else min(ROW_TOKENS, batch_tokens)
    rows = packed_rows([(span.token_ids, span.start) for span in spans], limit)
    with tqdm(total=len(spans), unit="response", mininterval=2) as progress:
        for batch in batches_by_length([len(row.token_ids) for row in rows], batch_tokens):
            part = [rows[index] for index in batch]
            given = packed(part, parameter.device)
            inputs: dict[str, Any] = {"input_ids": given.token_ids, "use_cache": False}
            if not apart:  # else filled up on the right, where no token of a text looks
                mask = packed_mask(given, model, parameter.dtype)
                inputs |= {"attention_mask": mask, "position_ids": given.positions}
            yield SpanBatch(part, inputs)
            progress.update(sum(len(row.texts) for row in part))


@torch.inference_mode()
def group_means(model: Any, spans: Sequence[WeightedSpan], groups: int, batch_tokens: int) -> GroupMeans:
    """Weighted mean of the residual stream after each layer over the spans of each group.

    Batches are those of `span_batches`; sums are float64.
    """
    reader = backbone(model)
    layers, width = len(decoder_layers(model)), model.config.get_text_config().hidden_size
    device = next(model.parameters()).device
    sums = torch.zeros(groups, layers, width, dtype=torch.float64, device=device)
    norms = torch.zeros(groups, layers, dtype=torch.float64, device=device)
    weights = torch.zeros(groups, dtype=torch.float64, device=device)
    for batch in span_batches(model, spans, batch_tokens):
        weight = torch.zeros(groups, *batch.shape, dtype=torch.float64)
        for text, place, tokens in batch.places(spans):
            for group in (spans[text].group, *spans[text].also):
                weight[group, place, tokens] = spans[text].weight
        chosen = weight.sum(0) > 0
        picked, where = weight[:, chosen].to(device), chosen.to(device)

        def read(layer: int, x: Tensor, where: Tensor = where, picked: Tensor = picked) -> None:
            tokens = x[where].double()
            sums[:, layer] += picked @ tokens
            norms[:, layer] += picked @ tokens.norm(dim=-1)

        with captured(model, read):
            reader(**batch.inputs)
        weights += picked.sum(1)
    return GroupMeans((sums / weights[:, None, None]).cpu(), (norms / weights[:, None]).cpu())
