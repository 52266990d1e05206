"""Mean residual-stream activations over answer tokens, streamed: nothing grows with the number of responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from workflow_scripts.models.packing import (
    ROW_TOKENS,
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


@torch.inference_mode()
def group_means(model: Any, spans: Sequence[WeightedSpan], groups: int, batch_tokens: int) -> GroupMeans:
    """Weighted mean of the residual stream after each layer over the spans of each group.

    Texts are packed into rows, in which those with the same tokens before `start` share them; at most `batch_tokens`
    tokens are read at once (at least one text); sums are float64. A model whose layers pass a state along the row reads
    each text in a row of its own.
    """
    reader = backbone(model)
    layers, width = len(decoder_layers(model)), model.config.get_text_config().hidden_size
    apart = not mixes_by_attention_alone(model)
    parameter = next(model.parameters())
    device = parameter.device
    sums = torch.zeros(groups, layers, width, dtype=torch.float64, device=device)
    norms = torch.zeros(groups, layers, dtype=torch.float64, device=device)
    weights = torch.zeros(groups, dtype=torch.float64, device=device)
    limit = 0 if apart else min(ROW_TOKENS, batch_tokens)
    rows = packed_rows([(span.token_ids, span.start) for span in spans], limit)
    with tqdm(total=len(spans), unit="response", mininterval=2) as progress:
        for batch in batches_by_length([len(row.token_ids) for row in rows], batch_tokens):
            part = [rows[index] for index in batch]
            given = packed(part, device)
            weight = torch.zeros(groups, *given.token_ids.shape, dtype=torch.float64)
            for place, row in enumerate(part):
                for text, first in row.texts.items():
                    span = spans[text]
                    for group in (span.group, *span.also):
                        weight[group, place, first : first + span.end - span.start] = span.weight
            chosen = weight.sum(0) > 0
            picked, where = weight[:, chosen].to(device), chosen.to(device)

            def read(layer: int, x: Tensor, where: Tensor = where, picked: Tensor = picked) -> None:
                tokens = x[where].double()
                sums[:, layer] += picked @ tokens
                norms[:, layer] += picked @ tokens.norm(dim=-1)

            with captured(model, read):
                if apart:  # filled up on the right, where no token of a text looks
                    reader(input_ids=given.token_ids, use_cache=False)
                else:
                    reader(
                        input_ids=given.token_ids,
                        attention_mask=packed_mask(given, model, parameter.dtype),
                        position_ids=given.positions,
                        use_cache=False,
                    )
            weights += picked.sum(1)
            progress.update(sum(len(row.texts) for row in part))
    return GroupMeans((sums / weights[:, None, None]).cpu(), (norms / weights[:, None]).cpu())
