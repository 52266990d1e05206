"""Texts laid end to end in rows: nothing is padded between them, and texts with one prompt share one copy of it.

A token sees its own text alone: the shared prompt, then what stands before it in its own answer. Positions are those in
the text. So activations are those of the texts read one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from workflow_scripts.models.residual import decoder_layers

ROW_TOKENS = 512
"""Rows are filled up to this length: attention is dense within a row, so that longer ones cost more than they save."""

_SHARED, _PADDING = -1, -2


@dataclass
class Row:
    """Some texts end to end; a list holds a value per token unless said otherwise.

    prompts: number of the token's prompt. answers: number of the text whose answer it belongs to, -1 in a prompt.
    texts: by text, the place in the row of the first token after its prompt.
    """

    token_ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    prompts: list[int] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    texts: dict[int, int] = field(default_factory=dict)

    def append(self, token_ids: Sequence[int], position: int, prompt: int, answer: int) -> None:
        """Further tokens, the first of them at `position` of its text."""
        self.token_ids += token_ids
        self.positions += range(position, position + len(token_ids))
        self.prompts += [prompt] * len(token_ids)
        self.answers += [answer] * len(token_ids)


@dataclass(frozen=True)
class Packed:
    """Rows side by side, the shorter ones filled up with tokens that no text sees.

    token_ids, positions: [row, token]. sees: whether the first token sees the second, [row, token, token].
    """

    token_ids: Tensor
    positions: Tensor
    sees: Tensor


def mixes_by_attention_alone(model: nn.Module) -> bool:
    """Whether nothing but attention carries anything from token to token, so that a mask keeps packed texts apart.

    Linear attention, convolution and state-space layers pass a state along the row, whatever the mask; such models have
    to read their texts apart.
    """
    config: Any = model.config
    kinds = getattr(config.get_text_config(), "layer_types", None) or []
    convolves = any(isinstance(module, nn.Conv1d) for module in decoder_layers(model).modules())
    return set(kinds) <= {"full_attention", "sliding_attention"} and not convolves


def packed_rows(texts: Sequence[tuple[Sequence[int], int]], limit: int) -> list[Row]:
    """Every text once, in rows of at most `limit` tokens (more only where a single text is longer).

    Args:
        texts: token ids of each, and how many of them are its prompt.
        limit: tokens of a row; 0 gives each text a row of its own.
    """
    by_prompt: dict[tuple[int, ...], list[int]] = {}
    for index, (token_ids, start) in enumerate(texts):
        by_prompt.setdefault(tuple(token_ids[:start]), []).append(index)
    rows = [Row()]
    for number, (prompt, indices) in enumerate(by_prompt.items()):
        holder: Row | None = None
        for index in indices:
            answer = texts[index][0][len(prompt) :]
            if holder is not rows[-1] or len(holder.token_ids) + len(answer) > limit:
                if rows[-1].texts and len(rows[-1].token_ids) + len(prompt) + len(answer) > limit:
                    rows.append(Row())
                holder = rows[-1]
                holder.append(prompt, 0, number, _SHARED)
            holder.texts[index] = len(holder.token_ids)
            holder.append(answer, len(prompt), number, index)
    return [row for row in rows if row.texts]


def packed(rows: Sequence[Row], device: torch.device) -> Packed:
    """The rows side by side, on the device that reads them."""

    def side_by_side(parts: list[list[int]], filler: int) -> Tensor:
        tensors = [torch.tensor(part) for part in parts]
        return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=filler)

    token_ids = side_by_side([row.token_ids for row in rows], 0)
    prompts = side_by_side([row.prompts for row in rows], _PADDING)
    answers = side_by_side([row.answers for row in rows], _PADDING)
    earlier = torch.ones(token_ids.shape[1], token_ids.shape[1], dtype=torch.bool).tril()
    own = (answers[:, None] == _SHARED) | (answers[:, None] == answers[:, :, None])
    sees = earlier & own & (prompts[:, None] == prompts[:, :, None])
    positions = side_by_side([row.positions for row in rows], 0)
    return Packed(token_ids.to(device), positions.to(device), sees.to(device))


def packed_mask(given: Packed, model: nn.Module, dtype: torch.dtype) -> Tensor | dict[str, Tensor]:
    """What a model's layers add to attention scores, [row, 1, token, token]: 0 where a token sees another.

    One mask for all layers, or one for each kind of layer where some slide: within a window, a token sees those that
    are less than so many positions of its own text away.
    """
    config: Any = model.config
    text = config.get_text_config()
    kinds, window = getattr(text, "layer_types", None), getattr(text, "sliding_window", None)
    full = _added(given.sees, dtype)
    if not window or (kinds is not None and "sliding_attention" not in kinds):
        return full
    distance = given.positions[:, :, None] - given.positions[:, None]
    sliding = _added(given.sees & (distance < window), dtype)
    return sliding if kinds is None else {"full_attention": full, "sliding_attention": sliding}


def _added(sees: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(sees.shape, dtype=dtype, device=sees.device).masked_fill(~sees, torch.finfo(dtype).min)[:, None]


def batches_by_length(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Indices of like length together, each batch at most `batch_tokens` tokens when padded (at least one)."""
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        current = batches[-1] if batches else None
        if current and (len(current) + 1) * lengths[current[0]] <= batch_tokens:
            current.append(index)
        else:
            batches.append([index])
    return batches
