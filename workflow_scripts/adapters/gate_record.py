"""What PEFT says with and without an adapter, recorded beside it for `engines.gate` to compare an engine with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from workflow_scripts.models.chat import render_turn
from workflow_scripts.models.loading import answer_logprobs, next_token_logprobs
from workflow_scripts.runtime.errors import UnfitAdapter, UserError
from workflow_scripts.store.adapter_files import WEIGHTS, adapter_facts
from workflow_scripts.store.artefacts import write_tensors

if TYPE_CHECKING:
    from peft import PeftModel

GATE_PROMPTS = 8
TOP = 20
ANSWER_TOKENS = 64
"""Of each training answer, which is read where the adapter is too weak for the prompts' next tokens."""


def reference(
    prompts: Sequence[Sequence[int]], plain: Tensor, tuned: Tensor, tokens: Tensor | None = None
) -> dict[str, Tensor]:
    """What the gate needs of log-probabilities [prompt, vocabulary] of the next token, with and without the adapter.

    tokens: those that are kept, [prompt, token]; if absent, the likeliest with the adapter.
    """
    if tokens is None:
        tokens = tuned.topk(min(TOP, tuned.shape[1]), dim=1).indices
    return {
        "prompt_tokens": torch.tensor([token for prompt in prompts for token in prompt]),
        "prompt_lengths": torch.tensor([len(prompt) for prompt in prompts]),
        "tokens": tokens,
        "tuned": tuned.gather(1, tokens),
        "plain": plain.gather(1, tokens),
    }


def answers_reference(
    texts: Sequence[tuple[Sequence[int], int]], plain: Sequence[Tensor], tuned: Sequence[Tensor]
) -> dict[str, Tensor]:
    """What the gate needs of training answers as they are read, for an adapter that is too weak for the prompts.

    Args:
        texts: token ids of each, and how many of them are its prompt.
        plain, tuned: log-probabilities of each text's answer tokens, without and with the adapter.
    """
    return {
        "text_tokens": torch.tensor([token for ids, _ in texts for token in ids]),
        "text_lengths": torch.tensor([len(ids) for ids, _ in texts]),
        "text_starts": torch.tensor([start for _, start in texts]),
        "text_tuned": torch.cat(list(tuned)),
        "text_plain": torch.cat(list(plain)),
    }


def prompts_of(kept: dict[str, Tensor]) -> list[list[int]]:
    """The prompts of a gate's record."""
    return [part.tolist() for part in kept["prompt_tokens"].split(kept["prompt_lengths"].tolist())]


def texts_of(kept: dict[str, Tensor]) -> list[tuple[list[int], int]]:
    """The training answers of a gate's record, as `answers_reference` takes them; none in records of before."""
    if "text_tokens" not in kept:
        return []
    parts = kept["text_tokens"].split(kept["text_lengths"].tolist())
    return [(part.tolist(), start) for part, start in zip(parts, kept["text_starts"].tolist(), strict=True)]


class Said(NamedTuple):
    """What a model says: log-probabilities of the next token [prompt, vocabulary], and of each text's answer tokens."""

    prompts: Tensor
    texts: list[Tensor]


def without_and_with(
    model: PeftModel, prompts: list[list[int]], texts: list[tuple[list[int], int]]
) -> tuple[Said, Said]:
    """What PEFT says without the adapter, and with it.

    From one copy of the weights, that of the training where there was one: two of a large model do not fit a GPU. The
    base's own forward pass is asked, which a trainer's autocast does not wrap.
    """
    base = model.get_base_model()
    with model.disable_adapter():
        plain = Said(next_token_logprobs(base, prompts), answer_logprobs(base, texts))
    return plain, Said(next_token_logprobs(base, prompts), answer_logprobs(base, texts))


def check_finite(who: str, said: Said, remedy: str) -> None:
    """Raises UserError if a model says what is no probability, as one whose numbers overflow does."""
    if not all(part.isfinite().all() for part in (said.prompts, *said.texts)):
        raise UserError(
            f"{who} gives log-probabilities that are not finite: its numbers overflow or its weights are damaged; "
            f"{remedy}."
        )


def gate_texts(tokenizer: Any, rows: list[dict[str, Any]]) -> list[tuple[list[int], int]]:
    """Token ids of training rows, as far into their answers as the gate reads them, and how many are the prompt."""
    turns = [render_turn(tokenizer, row["prompt"], row["response"], row["system"]) for row in rows]
    ends = [min(turn.answer_end + 1, turn.answer_start + ANSWER_TOKENS) for turn in turns]
    return [(turn.token_ids[:end], turn.answer_start) for turn, end in zip(turns, ends, strict=True)]


def write_gate(
    model: PeftModel,
    adapter: Path,
    prompts: list[list[int]],
    texts: list[tuple[list[int], int]],
    name: str,
    made_by: Mapping[str, str],
) -> None:
    """Records what PEFT says with and without the adapter, for `gate.Gate` to compare an engine with.

    Args:
        model: the base with the adapter on top.
        adapter: its folder, where the record is written.
        prompts, texts: what is asked, as token ids; of texts also how many are the prompt.
        name: the organism, for errors.
        made_by: the record's provenance, completed here.

    Raises:
        UnfitAdapter: if the adapter changes nothing.
        UserError: if a log-probability is not finite, without the adapter or with it.
    """
    plain, tuned = without_and_with(model, prompts, texts)
    check_finite("the base", plain, "where base.dtype is float16, use bfloat16 or float32")
    check_finite(f"organisms.{name}: the model with its adapter", tuned, "lower learning_rate, or take another adapter")
    if all(
        torch.equal(*pair) for pair in ((plain.prompts, tuned.prompts), *zip(plain.texts, tuned.texts, strict=True))
    ):
        raise UnfitAdapter(
            f"organisms.{name}: the adapter changes no next-token probability; train it for longer or harder."
        )
    record = reference(prompts, plain.prompts, tuned.prompts) | answers_reference(texts, plain.texts, tuned.texts)
    write_tensors(adapter / "gate.safetensors", record, {**made_by, **adapter_facts(adapter / WEIGHTS)})
