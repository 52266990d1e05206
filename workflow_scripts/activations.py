"""Mean residual-stream activations over answer tokens, streamed: nothing grows with the number of responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from workflow_scripts.residual import captured, decoder_layers


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

    Texts are read in batches of like length and at most `batch_tokens` padded tokens; sums are float64.
    """
    layers, width = len(decoder_layers(model)), model.config.hidden_size
    device = next(model.parameters()).device
    sums = torch.zeros(groups, layers, width, dtype=torch.float64, device=device)
    norms = torch.zeros(groups, layers, dtype=torch.float64, device=device)
    weights = torch.zeros(groups, dtype=torch.float64, device=device)
    backbone = model.get_base_model().model if hasattr(model, "get_base_model") else model.model
    with tqdm(total=len(spans), unit="response", mininterval=2) as progress:
        for batch in batches_by_length(spans, batch_tokens):
            longest = max(len(span.token_ids) for span in batch)
            ids = torch.zeros(len(batch), longest, dtype=torch.long)
            attention = torch.zeros(len(batch), longest, dtype=torch.long)
            weight = torch.zeros(groups, len(batch), longest, dtype=torch.float64)
            for row, span in enumerate(batch):
                ids[row, : len(span.token_ids)] = torch.tensor(span.token_ids)
                attention[row, : len(span.token_ids)] = 1
                for group in (span.group, *span.also):
                    weight[group, row, span.start : span.end] = span.weight
            chosen = weight.sum(0) > 0
            picked, where = weight[:, chosen].to(device), chosen.to(device)

            def read(layer: int, x: Tensor, where: Tensor = where, picked: Tensor = picked) -> None:
                tokens = x[where].double()
                sums[:, layer] += picked @ tokens
                norms[:, layer] += picked @ tokens.norm(dim=-1)

            with captured(model, read):
                backbone(input_ids=ids.to(device), attention_mask=attention.to(device), use_cache=False)
            weights += picked.sum(1)
            progress.update(len(batch))
    return GroupMeans((sums / weights[:, None, None]).cpu(), (norms / weights[:, None]).cpu())


def batches_by_length(spans: Sequence[WeightedSpan], batch_tokens: int) -> list[list[WeightedSpan]]:
    """Spans of like length together, each batch at most `batch_tokens` tokens when padded (at least one span)."""
    batches: list[list[WeightedSpan]] = []
    for span in sorted(spans, key=lambda span: -len(span.token_ids)):
        current = batches[-1] if batches else None
        if current and (len(current) + 1) * len(current[0].token_ids) <= batch_tokens:
            current.append(span)
        else:
            batches.append([span])
    return batches
