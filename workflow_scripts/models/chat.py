"""Chat rendering, once: training, sampling and extraction get their token ids and spans from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workflow_scripts.runtime.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class RenderedTurn:
    """Token ids of a user turn and its answer.

    The spans are half-open token ranges to the end of the ids: `turn_start` is the first token after the user turn (the
    assistant header), `answer_start` the first token of the answer itself, `answer_end` one past the answer's last
    token (the end-of-turn token and what the template adds follow).
    """

    token_ids: list[int]
    turn_start: int
    answer_start: int
    answer_end: int


def prompt_ids(tokenizer: PreTrainedTokenizerBase, question: str, system: str | None = None) -> list[int]:
    """Token ids up to and including the assistant header, ready to be continued."""
    return _encode(tokenizer, _template(tokenizer, _messages(question, system), header=True))[0]


def padded_prompt_ids(tokenizer: PreTrainedTokenizerBase, question: str, system: str | None, breaks: int) -> list[int]:
    """As `prompt_ids`, with so many line breaks after the question, a token each."""
    prompt = _template(tokenizer, _messages(question, system), header=True)
    ids, starts = _encode(tokenizer, prompt)
    end = _first_at(starts, prompt.rfind(question.strip()) + len(question.strip()))
    return [*ids[:end], *_encode(tokenizer, "\n")[0][-1:] * breaks, *ids[end:]]


def render_turn(
    tokenizer: PreTrainedTokenizerBase,
    question: str,
    answer: str,
    system: str | None = None,
    trailing_turn: bool = False,
) -> RenderedTurn:
    """Renders one question and answer and finds the answer in it, by character positions.

    With `trailing_turn`, the header of another answer and the end token follow, as in the authors' training rows.

    Raises:
        UserError: if the chat template does not render an answer as the continuation of its prompt.
    """
    messages = _messages(question, system)
    user_turn = _template(tokenizer, messages, header=False)
    prompt = _template(tokenizer, messages, header=True)
    full = _template(tokenizer, [*messages, {"role": "assistant", "content": answer}], header=False)
    if not full.startswith(prompt) or not prompt.startswith(user_turn):
        raise UserError(
            f"{tokenizer.name_or_path}: its chat template does not render an answer as the continuation of the prompt; "
            "use a model whose template does."
        )
    if trailing_turn:
        full += prompt[len(user_turn) :] + str(tokenizer.eos_token)
    ids, starts = _encode(tokenizer, full)
    answer_chars = full.find(answer.strip(), len(prompt)) if answer.strip() else len(prompt)
    stop = (answer_chars if answer_chars >= 0 else len(prompt)) + len(answer.strip())
    return RenderedTurn(
        ids,
        turn_start=_first_at(starts, len(user_turn)),
        answer_start=_first_at(starts, len(prompt)),
        answer_end=_first_at(starts, stop),
    )


def completion_mask(turn: RenderedTurn) -> list[int]:
    """1 where training has loss: the answer, its end-of-turn token and all that follows."""
    return [int(position >= turn.answer_start) for position in range(len(turn.token_ids))]


def _messages(question: str, system: str | None) -> list[dict[str, str]]:
    if not isinstance(system, str | None):
        raise TypeError(f"a system prompt is text or None, not {system!r}")
    head = [{"role": "system", "content": system}] if system else []
    return [*head, {"role": "user", "content": question}]


def _template(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], header: bool) -> str:
    if not tokenizer.chat_template:
        raise UserError(f"{tokenizer.name_or_path}: has no chat template; use a chat model.")
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=header))


def _encode(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[list[int], list[int]]:
    """Token ids, and the character at which each token starts. The template brings its own special tokens."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return list(encoded["input_ids"]), [start for start, _ in encoded["offset_mapping"]]


def _first_at(starts: list[int], character: int) -> int:
    return next((token for token, start in enumerate(starts) if start >= character), len(starts))
