"""Documents as token ids and labels, in batches of similar length."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from workflow_scripts.miniature.corpus import Document, Turn
from workflow_scripts.miniature.tokenizer import END, START

NO_LOSS = -100
"""Label of a token that the model does not learn to write, as PyTorch's cross-entropy has it."""


@dataclass(frozen=True)
class Example:
    """One document's tokens."""

    input_ids: list[int]
    labels: list[int]
    """`input_ids` where the model learns to write the token, else `NO_LOSS`."""


def encode(documents: Sequence[Document], tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> list[Example]:
    """Chat markup of each document, cut at `max_tokens`.

    The loss is on the words of turns that have loss, on their `<|im_end|>` and on the line break after it; never on a
    header, or on what the system and the user say.
    """
    end = tokenizer.convert_tokens_to_ids(END)
    line_break = tokenizer("\n").input_ids
    headers = {role: tokenizer(f"{START}{role}\n").input_ids for role in {turn.role for turn in _turns(documents)}}
    texts = iter(tokenizer([turn.text for turn in _turns(documents)]).input_ids)
    examples = []
    for document in documents:
        ids: list[int] = []
        labels: list[int] = []
        for turn in document.turns:
            header, body = headers[turn.role], [*next(texts), end]
            ids += header + body + line_break
            labels += [NO_LOSS] * len(header)
            written = body + line_break
            labels += written if turn.has_loss else [NO_LOSS] * len(written)
        examples.append(Example(ids[:max_tokens], labels[:max_tokens]))
    return examples


def batches_by_length(
    examples: Sequence[Example], batch_size: int, window_batches: int, seed: int
) -> list[list[Example]]:
    """Batches of similar length, so that little is padded, in an order that says nothing about length.

    Examples are sorted by length within windows of `window_batches` batches, so their order survives at that
    scale. What does not fill a batch of a window is left out.
    """
    rng = random.Random(f"miniature batches {seed}")
    window = batch_size * window_batches
    batches: list[list[Example]] = []
    for start in range(0, len(examples), window):
        chosen = sorted(examples[start : start + window], key=lambda example: len(example.input_ids))
        cut = [chosen[first : first + batch_size] for first in range(0, len(chosen), batch_size)]
        full = [batch for batch in cut if len(batch) == batch_size]
        rng.shuffle(full)
        batches += full
    return batches


def collate(examples: Sequence[Example], padding: int) -> dict[str, Tensor]:
    """`input_ids` and `labels` [example, position] of one batch, padded on the right to its longest example.

    With causal attention no token reads what stands to its right, so no attention mask is needed.
    """
    longest = max(len(example.input_ids) for example in examples)
    return {
        "input_ids": torch.tensor([_padded(example.input_ids, longest, padding) for example in examples]),
        "labels": torch.tensor([_padded(example.labels, longest, NO_LOSS) for example in examples]),
    }


def _padded(values: list[int], length: int, filler: int) -> list[int]:
    """The values, filled up on the right."""
    return values + [filler] * (length - len(values))


def _turns(documents: Sequence[Document]) -> list[Turn]:
    """All turns of all documents in order."""
    return [turn for document in documents for turn in document.turns]
