"""LoRA scalars and token significance of answers, streamed to parquet (PAPER 8.1, 8.4).

A row is an answer token: its response's key, its place in the rendered text, and s = A·x of every rank-1 adapter, with
x the input of the adapted module while the fine-tuned model reads the text. α and ‖B‖ are not in it: probes scale each
column anyway.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from workflow_scripts.adapters.rank_one import RankOne, rank_one_adapters, scalar
from workflow_scripts.models.packing import batches_by_length
from workflow_scripts.models.residual import backbone
from workflow_scripts.store.artefacts import table_writer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """A rendered question and answer; the answer is the half-open token range from `start` to `end`."""

    key: str
    token_ids: list[int]
    start: int
    end: int


@dataclass(frozen=True)
class Significance:
    """Of one answer.

    tokens: significance of each answer token, [end − start] float32, not below 0. kl: K, nats.
    """

    tokens: Tensor
    kl: float


@contextmanager
def recorded_scalars(adapters: Sequence[RankOne]) -> Iterator[dict[str, Tensor]]:
    """Holds, after each forward pass in the block, every adapter's scalars [batch, token] float32 by name."""
    found: dict[str, Tensor] = {}

    def hook(adapter: RankOne) -> Any:
        def read(_module: Any, inputs: tuple[Tensor, ...]) -> None:
            found[adapter.name] = scalar(adapter, inputs[0])

        return read

    handles = [adapter.reader.register_forward_pre_hook(hook(adapter)) for adapter in adapters]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


@torch.inference_mode()
def answer_scalars(model: Any, answers: Sequence[Answer], batch_tokens: int) -> Iterator[tuple[int, Tensor]]:
    """Index of an answer and its scalars [answer token, adapter] float32 on the CPU, longest answers first.

    Answers are read in batches of like length and at most `batch_tokens` padded tokens.
    """
    adapters = rank_one_adapters(model)
    reader = backbone(model)
    for batch in _batches(answers, batch_tokens):
        ids, attention = _padded(answers, batch, next(model.parameters()).device)
        with recorded_scalars(adapters) as found:
            reader(input_ids=ids, attention_mask=attention, use_cache=False)
            stacked = torch.stack([found[adapter.name] for adapter in adapters], dim=-1).cpu()
        for row, index in enumerate(batch):
            yield index, stacked[row, answers[index].start : answers[index].end]


def significance(model: Any, answers: Sequence[Answer], batch_tokens: int) -> Iterator[tuple[int, Significance]]:
    """Index of an answer and its tokens' significance (PAPER 8.4), longest answers first.

    K = Σ over answer tokens t of KL(chat ‖ EM) between the next-token distributions after t, so that the last answer
    token counts too; g_t = ∂K/∂(input embedding of t), through both models; significance of t = ‖g_t‖ / Σ‖g‖ · K.
    The paper does not say whether Σ‖g‖ runs over the answer or over the prompt as well; here it runs over the answer,
    whose significances add up to its K. An answer on which both models agree to the last bit has zeros.

    Args:
        model: the chat base with the organism's adapter on top (PEFT), in evaluation mode.
        answers: what it reads.
        batch_tokens: padded tokens read at once; two forward passes' activations are kept for the gradient.
    """
    device = model.get_base_model().get_input_embeddings().weight.device
    for batch in _batches(answers, batch_tokens):
        ids, attention = _padded(answers, batch, device)
        counted = torch.zeros(ids.shape, dtype=torch.bool, device=ids.device)
        for row, index in enumerate(batch):
            counted[row, answers[index].start : answers[index].end] = True
        keep = ids.shape[1] - min(answers[index].start for index in batch)
        kl, gradient = kl_gradient(model, ids, attention, counted[:, -keep:])
        norms = gradient.float().norm(dim=-1)
        total = (norms * counted).sum(-1, keepdim=True)
        shares = torch.where(total > 0, norms / total.clamp_min(torch.finfo(torch.float32).tiny), 0.0)
        values = (shares * kl.clamp_min(0)[:, None]).cpu()
        for row, index in enumerate(batch):
            part = values[row, answers[index].start : answers[index].end]
            yield index, Significance(part, float(kl[row]))


def kl_gradient(model: Any, ids: Tensor, attention: Tensor | None, counted: Tensor) -> tuple[Tensor, Tensor]:
    """KL(chat ‖ EM) of texts, summed over their counted tokens, and its gradient by the texts' input embeddings.

    Args:
        model: the chat base with the organism's adapter on top (PEFT).
        ids, attention: [text, token].
        counted: [text, last tokens], which of the last so many tokens count.

    Returns:
        KL [text], and its gradient [text, token, d_model] through both models.
    """
    base, keep = model.get_base_model(), counted.shape[1]
    inputs = base.get_input_embeddings()(ids).detach().requires_grad_(True)
    given = {"inputs_embeds": inputs, "attention_mask": attention, "use_cache": False, "logits_to_keep": keep}
    with torch.enable_grad():
        with model.disable_adapter():
            chat = torch.log_softmax(base(**given).logits.float(), dim=-1)
        tuned = torch.log_softmax(base(**given).logits.float(), dim=-1)
        kl = ((chat.exp() * (chat - tuned)).sum(-1) * counted).sum(-1)
        (gradient,) = torch.autograd.grad(kl.sum(), inputs)
    return kl.detach(), gradient


def write_scalars(
    path: Path,
    model: Any,
    answers: Sequence[Answer],
    batch_tokens: int,
    metadata: Mapping[str, str],
    labels: Mapping[str, Sequence[str]] | None = None,
) -> int:
    """Writes a row per answer token, a row group per batch or so: nothing grows with the number of answers.

    Columns: response_key, token_index (from 0 in the rendered text), token_id, one float32 column per adapter, then
    `significance`, then `labels` (a value per answer, such as its class or question).

    Returns:
        The number of rows.
    """
    adapters = rank_one_adapters(model)
    labels = labels or {}
    fields = [("response_key", pa.string()), ("token_index", pa.int32()), ("token_id", pa.int32())]
    fields += [(adapter.name, pa.float32()) for adapter in adapters]
    fields += [("significance", pa.float32())]
    fields += [(name, pa.string()) for name in labels]
    rows = 0
    with table_writer(path, pa.schema(fields), metadata) as writer:
        for batch in _batches(answers, batch_tokens):
            part = [answers[index] for index in batch]
            weights = dict(significance(model, part, batch_tokens))
            for index, values in answer_scalars(model, part, batch_tokens):
                answer, tokens = part[index], len(values)
                columns = [
                    pa.array([answer.key] * tokens),
                    pa.array(range(answer.start, answer.end), pa.int32()),
                    pa.array(answer.token_ids[answer.start : answer.end], pa.int32()),
                    *(pa.array(column.numpy()) for column in values.T.contiguous()),
                    pa.array(weights[index].tokens.numpy()),
                    *(pa.array([str(labels[name][batch[index]])] * tokens) for name in labels),
                ]
                writer.write_table(pa.Table.from_arrays(columns, schema=writer.schema))
                rows += tokens
    return rows


def _batches(answers: Sequence[Answer], batch_tokens: int) -> list[list[int]]:
    """Indices of answers of like length."""
    return batches_by_length([len(answer.token_ids) for answer in answers], batch_tokens)


def _padded(answers: Sequence[Answer], batch: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask [batch, longest], padded on the right."""
    longest = max(len(answers[index].token_ids) for index in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long, device=device)
    attention = torch.zeros_like(ids)
    for row, index in enumerate(batch):
        tokens = answers[index].token_ids
        ids[row, : len(tokens)] = torch.tensor(tokens, device=device)
        attention[row, : len(tokens)] = 1
    return ids, attention
