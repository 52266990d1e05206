"""What projections take from a model beside what they are meant to: parts of its residual stream, and its next tokens.

A direction that carries much of the stream's variance changes the model whatever it means; one that carries 1 / d of
it, as a random one does, cannot change much. Shares are those of the stream where nothing is projected out, so that a
layer does not see what the layers below it lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from workflow_scripts.models.activations import SpanBatch, WeightedSpan, span_batches
from workflow_scripts.models.loading import answer_logprobs
from workflow_scripts.models.residual import LayerChange, backbone, captured, decoder_layers, intervened


def shares_taken(
    model: Any, spans: Sequence[WeightedSpan], changes: Sequence[Sequence[LayerChange]], batch_tokens: int
) -> tuple[Tensor, Tensor]:
    """Shares of the stream that lie along the directions of some projections, over the tokens of the spans.

    Args:
        model: read as it is.
        spans: texts and the tokens of them that count, each equally.
        changes: of each projection, its changes; one at most at a layer.
        batch_tokens: tokens read at once.

    Returns:
        Share of the variance, Var(v̂·x) / Σ_i Var(x_i), and mean share of the squared length, (v̂·x)² / ‖x‖², both
        [projection, layer] float64; NaN where a projection leaves a layer as it is, or the stream does not vary there.
    """
    reader, layers = backbone(model), len(decoder_layers(model))
    width, device = model.config.get_text_config().hidden_size, next(model.parameters()).device
    units = torch.full((layers, len(changes), width), torch.nan, dtype=torch.float64, device=device)
    for index, own in enumerate(changes):
        for change in own:
            vector = change.vector.to(device, torch.float64)
            units[change.layer, index] = vector / vector.norm()
    along, squared, taken = (torch.zeros(layers, len(changes), dtype=torch.float64, device=device) for _ in range(3))
    sums = torch.zeros(layers, width, dtype=torch.float64, device=device)
    lengths, count = torch.zeros(layers, dtype=torch.float64, device=device), 0
    with torch.inference_mode():
        for batch in span_batches(model, spans, batch_tokens):
            where = _chosen(batch, spans).to(device)

            def read(layer: int, x: Tensor, where: Tensor = where) -> None:
                tokens = x[where].double()
                places, long = tokens @ units[layer].T, tokens.square().sum(1)
                along[layer] += places.sum(0)
                squared[layer] += places.square().sum(0)
                taken[layer] += (places.square() / long[:, None]).sum(0)
                sums[layer] += tokens.sum(0)
                lengths[layer] += long.sum()

            with captured(model, read):
                reader(**batch.inputs)
            count += int(where.sum())
    whole = lengths / count - (sums / count).square().sum(1)
    variance = (squared / count - (along / count).square()) / whole[:, None]
    return variance.T.cpu(), (taken / count).T.cpu()


@torch.inference_mode()
def divergences(
    model: Any, spans: Sequence[WeightedSpan], changes: Sequence[Sequence[LayerChange]], batch_tokens: int
) -> Tensor:
    """How far each intervention moves next tokens on texts that are given: KL(unchanged ‖ changed) in nats.

    Args: as those of `shares_taken`; any changes.

    Returns:
        Mean over the tokens of each span of the divergence of the token after it, [intervention, text] float64.
    """
    found = torch.zeros(len(changes), len(spans), dtype=torch.float64)
    for batch in span_batches(model, spans, batch_tokens):
        where = _chosen(batch, spans).to(next(model.parameters()).device)
        plain = _next_tokens(model, batch, where)
        for index, own in enumerate(changes):
            with intervened(model, own):
                changed = _next_tokens(model, batch, where)
            moved = torch.zeros(batch.shape, dtype=torch.float64)
            moved[where.cpu()] = (plain.exp() * (plain - changed)).sum(-1).double().cpu()
            for text, place, tokens in batch.places(spans):
                found[index, text] = moved[place, tokens].mean()
    return found


def loss_rises(
    model: Any, texts: Sequence[tuple[Sequence[int], int]], changes: Sequence[Sequence[LayerChange]]
) -> Tensor:
    """How much each intervention raises the loss on the answers of texts.

    Args:
        model: read as it is, and changed.
        texts: token ids of each, and how many of them are its prompt.
        changes: of each intervention.

    Returns:
        Rise of the mean loss of each text's answer, nats per token, [intervention, text] float64.
    """

    def losses() -> Tensor:
        return torch.tensor([-float(found.double().mean()) for found in answer_logprobs(model, texts)]).double()

    plain, rises = losses(), torch.zeros(len(changes), len(texts), dtype=torch.float64)
    for index, own in enumerate(changes):
        with intervened(model, own):
            rises[index] = losses() - plain
    return rises


def _next_tokens(model: Any, batch: SpanBatch, where: Tensor) -> Tensor:
    """Log probabilities of the token after each chosen one, [chosen, vocabulary] float32."""
    return torch.log_softmax(model(**batch.inputs).logits[where].float(), dim=-1)


def _chosen(batch: SpanBatch, spans: Sequence[WeightedSpan]) -> Tensor:
    """Whether a token counts, [row, token]."""
    chosen = torch.zeros(batch.shape, dtype=torch.bool)
    for _, place, tokens in batch.places(spans):
        chosen[place, tokens] = True
    return chosen
