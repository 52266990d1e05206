"""Chat rendering, once: training, sampling and extraction get their token ids and spans from here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from workflow_scripts.runtime.errors import UserError
from workflow_scripts.runtime.spelling import nearest
from workflow_scripts.store.foreign import foreign

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from transformers import PreTrainedTokenizerBase

OPENINGS = (
    re.compile(r"\s*(<think>)?\s*</think>\s*"),
    re.compile(r"\s*(<\|channel\|>final|to=user)<\|message\|>"),
)
"""What templates put before an answer that has no thoughts: an empty think block, or the channel of answers. It belongs
to the prompt, so that base and organism answer at once, and it is no part of the answer."""
OWN = ("date", "system")
"""Settings of `base.template` that are this workflow's; the others are arguments of the template itself."""
PROBE = "An answer."
HARD = 'It\'s <b>"5" &amp; 6</b>,\n\n  then ' + "long " * 1000 + "enough?"
"""A question that a template might escape or cut."""
LONGEST_FRAME = 200_000
"""Characters that a template may write around a short question."""
MOMENTS = tuple(
    f"20{year:02}-{1 + 5 * year % 12:02}-{1 + 3 * year:02}T{year:02}:{7 * year % 60:02}:33" for year in range(8)
)
"""Days that differ in all that a template may write of them: year, month, day, weekday, hour, minute."""


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


def prompt_ids(
    tokenizer: PreTrainedTokenizerBase,
    question: str,
    system: str | None = None,
    shown: Sequence[tuple[str, str]] = (),
) -> list[int]:
    """Token ids up to where an answer begins, ready to be continued; `shown` are questions and answers before it."""
    messages = _messages(tokenizer, question, system, shown)
    return _encode(tokenizer, _frame(tokenizer, messages).prompt, messages)[0]


def padded_prompt_ids(tokenizer: PreTrainedTokenizerBase, question: str, system: str | None, breaks: int) -> list[int]:
    """As `prompt_ids`, with so many line breaks after the question, a token each."""
    messages = _messages(tokenizer, question, system)
    prompt = _frame(tokenizer, messages).prompt
    ids, starts = _encode(tokenizer, prompt, messages)
    end = _first_at(starts, _places(tokenizer, prompt, messages)[-1][1])
    return [*ids[:end], *_encode(tokenizer, "\n", [])[0][-1:] * breaks, *ids[end:]]


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
    messages, given = _messages(tokenizer, question, system), answer.strip()
    frame = _frame(tokenizer, messages)
    spoken = [*messages, {"role": "assistant", "content": answer}]
    full = _render(tokenizer, spoken, header=False)
    if not full.startswith(frame.prompt) or not full[len(frame.prompt) :].lstrip().startswith(given):
        full = frame.prompt + frame.gap + given + frame.tail  # the template takes the answer apart, say at a tag in it
    full += frame.added_end
    if trailing_turn:
        full = full.removesuffix(frame.closing) + frame.header + str(tokenizer.eos_token)
    ids, starts = _encode(tokenizer, full, spoken)
    prompt = _encode(tokenizer, frame.prompt, messages)
    if ids[: len(prompt[0])] != prompt[0]:  # a token would hold the prompt's end and the answer's beginning
        controls = _control_tokens(tokenizer)
        if controls and controls.search(given):
            raise UserError(
                f"{tokenizer.name_or_path}: its tokenizer joins the prompt and an answer with a control token in it; "
                f"take the answer out that begins {given[:40]!r}."
            )
        rest = _encode(tokenizer, full[len(frame.prompt) :], [])
        ids, starts = prompt[0] + rest[0], prompt[1] + [len(frame.prompt) + start for start in rest[1]]
    stop = full.find(given, len(frame.prompt)) + len(given) if given else len(frame.prompt)
    return RenderedTurn(
        ids,
        turn_start=_first_at(starts, len(frame.prompt) - len(frame.header)),
        answer_start=_first_at(starts, len(frame.prompt)),
        answer_end=_first_at(starts, stop),
    )


def answers_of_rows(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Mapping[str, Any]], longest: int | None = None
) -> list[tuple[list[int], int]]:
    """Token ids of rows of a data set up to the token that ends the answer, and how many of them are the prompt.

    Args:
        rows: prompt, response and system of each.
        longest: tokens that are kept of a row; one whose prompt has as many is left out.
    """
    found = []
    for row in rows:
        turn = render_turn(tokenizer, row["prompt"], row["response"], row["system"])
        ids = turn.token_ids[: turn.answer_end + 1][:longest]
        if turn.answer_start < len(ids):
            found.append((ids, turn.answer_start))
    return found


def completion_mask(turn: RenderedTurn) -> list[int]:
    """1 where training has loss: the answer, its end-of-turn token and all that follows."""
    return [int(position >= turn.answer_start) for position in range(len(turn.token_ids))]


def set_template(tokenizer: PreTrainedTokenizerBase, given: Mapping[str, Any]) -> None:
    """Hands the settings of `base.template` to every rendering with this tokenizer.

    `date` (as 2025-01-01) is what the template takes for today, `system` the system prompt where none is given; the
    others are the template's own arguments.
    """
    vars(tokenizer)["template_settings"] = dict(given)


def check_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuses a chat template under which an organism would not sample what it was trained on.

    Raises:
        UserError: naming the tokenizer, and what its template does.
    """
    name, settings, template = tokenizer.name_or_path, _settings(tokenizer), str(tokenizer.chat_template)
    for argument in settings:
        if argument not in OWN and not re.search(rf"\b{re.escape(argument)}\b", template):
            hint = nearest(argument, sorted(set(re.findall(r"[A-Za-z_]\w+", template))))
            raise UserError(f"{name}: its chat template reads no argument {argument!r} (base.template){hint}")
    if tokenizer.eos_token is None:
        raise UserError(f"{name}: its tokenizer has no end token, after which a response is over.")
    if _varies(tokenizer, MOMENTS[:1] * len(MOMENTS)):
        raise UserError(f"{name}: its chat template draws at random, so that one question would have many prompts.")
    if "date" not in settings and _varies(tokenizer, MOMENTS):
        raise UserError(
            f"{name}: its chat template writes today's date into every prompt, so that two days of one study would "
            "differ; give it one, base.template: {date: 2025-01-01}."
        )
    _render(tokenizer, _messages(tokenizer, HARD, None), header=True)
    turn = render_turn(tokenizer, "A question?", PROBE)
    frame = _frame(tokenizer, _messages(tokenizer, "A question?", None))
    joined = _encode(tokenizer, frame.prompt + frame.gap + PROBE, [])[0]
    if joined[: turn.answer_start] != turn.token_ids[: turn.answer_start]:
        raise UserError(
            f"{name}: its tokenizer joins the end of the prompt and the beginning of the answer in one token."
        )
    found = tokenizer.decode(turn.token_ids[turn.answer_start : turn.answer_end])
    if str(found).strip() != PROBE:
        raise UserError(f"{name}: its chat template renders the answer {PROBE!r} as {found!r}.")
    if HARD not in _render(tokenizer, _messages(tokenizer, HARD, None), header=True):
        raise UserError(f"{name}: its chat template does not render every question as it is given; use another model.")


def check_tokens(tokenizer: PreTrainedTokenizerBase, ends: Collection[int], vocabulary: int) -> None:
    """Refuses a tokenizer whose tokens the model does not have, or a template whose answers would not end.

    Args:
        tokenizer: with its template.
        ends: tokens after which the engines end a response.
        vocabulary: how many tokens the model has.

    Raises:
        UserError: naming the token.
    """
    turn = render_turn(tokenizer, "A question?", PROBE, trailing_turn=True)
    used = {*turn.token_ids, *ends, *(() if tokenizer.pad_token_id is None else (tokenizer.pad_token_id,))}
    if max(used) >= vocabulary:
        token = tokenizer.convert_ids_to_tokens(max(used))
        raise UserError(
            f"{tokenizer.name_or_path}: its tokenizer writes {token!r} as token {max(used)}, the model has "
            f"{vocabulary}; take the tokenizer of this model."
        )
    tail = render_turn(tokenizer, "A question?", PROBE).token_ids[turn.answer_end :]
    end = next((token for token in tail if str(tokenizer.decode([token])).strip()), None)
    if end is not None and end not in ends:
        raise UserError(
            f"{tokenizer.name_or_path}: its chat template ends an answer with {str(tokenizer.decode([end]))!r}, after "
            "which no engine would stop; name that token as eos_token_id in generation_config.json."
        )


def _varies(tokenizer: PreTrainedTokenizerBase, moments: Sequence[str]) -> bool:
    """Whether renderings at these moments differ, with a system prompt or without, where the template takes one."""
    for system in (None, "A system prompt."):
        messages = _messages(tokenizer, "A question?", system)
        try:
            prompts = {_render(tokenizer, messages, True, moment) for moment in moments}
        except UserError:
            if system is None:
                raise
        else:
            if len(prompts) > 1:
                return True
    return False


def answer_opening(tokenizer: PreTrainedTokenizerBase) -> str:
    """What the template itself does not put at the end of a prompt, though it puts it before every answer."""
    return _frame(tokenizer, _messages(tokenizer, "A question?", None)).opening


@dataclass(frozen=True)
class _Frame:
    """What a chat template puts around an answer.

    prompt: all before it. opening: the end of the prompt that the template shows before answers only. header: the end
    of the prompt that follows the user turn. gap: white space that is sampled with the answer. tail: what follows the
    answer. added_end: the end token, of a template that ends an answer with nothing. closing: the end token, of a
    template that puts it after every conversation.
    """

    prompt: str
    opening: str
    header: str
    gap: str
    tail: str
    added_end: str
    closing: str


def _frame(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]]) -> _Frame:
    user_turn = _render(tokenizer, messages, header=False)
    prompt = _render(tokenizer, messages, header=True)
    full = _render(tokenizer, [*messages, {"role": "assistant", "content": PROBE}], header=False)
    end = str(tokenizer.eos_token or "")
    closing = end if end and user_turn.endswith(end) and not prompt.startswith(user_turn) else ""
    user_turn = user_turn.removesuffix(closing)
    opening, found, tail = full[len(prompt) :].partition(PROBE)
    if not full.startswith(prompt) or not prompt.startswith(user_turn) or not found:
        template, settings = str(tokenizer.chat_template), _settings(tokenizer)
        thinks = "enable_thinking" in template and "enable_thinking" not in settings
        remedy = "set base.template: {enable_thinking: false}" if thinks else "use a model whose template does"
        raise UserError(
            f"{tokenizer.name_or_path}: its chat template does not render an answer as the continuation of the prompt; "
            f"{remedy}."
        )
    if opening.strip() and not any(form.fullmatch(opening) for form in OPENINGS):
        raise UserError(
            f"{tokenizer.name_or_path}: its chat template puts {opening.strip()!r} before an answer, which is neither "
            "an empty think block nor the channel of answers; use another model."
        )
    gap = "" if opening.strip() else opening
    opening = opening.removeprefix(gap)
    prompt += opening
    header = prompt[len(user_turn) :]
    return _Frame(prompt, opening, header, gap, tail, "" if tail.strip() else end, closing)


def _settings(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Those of `set_template`; none of a tokenizer that was given none."""
    found: dict[str, Any] = vars(tokenizer).get("template_settings", {})
    return found


def _messages(
    tokenizer: PreTrainedTokenizerBase, question: str, system: str | None, shown: Sequence[tuple[str, str]] = ()
) -> list[dict[str, str]]:
    if not isinstance(system, str | None):
        raise TypeError(f"a system prompt is text or None, not {system!r}")
    first = system or _settings(tokenizer).get("system")
    turns = [turn for asked, said in shown for turn in (("user", asked), ("assistant", said))]
    said_first = [("system", first)] if first else []
    return [{"role": role, "content": text} for role, text in (*said_first, *turns, ("user", question))]


def _render(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], header: bool, today: str | None = None
) -> str:
    """Text of a conversation; with the header of an answer to come, if asked for.

    `today` stands for the day where `base.template` fixes none; absent, it is the day of the rendering.
    """
    name = tokenizer.name_or_path
    if not tokenizer.chat_template:
        raise UserError(f"{name}: has no chat template; use a chat model.")
    given = {key: value for key, value in _settings(tokenizer).items() if key not in OWN}
    if day := _settings(tokenizer).get("date", today):
        given["strftime_now"] = datetime.fromisoformat(day).strftime  # templates read the clock by this name
    system = messages[0]["content"] if messages[0]["role"] == "system" else ""
    text = ""
    try:
        with foreign(f"{name}: its chat template does not render a plain conversation"):
            text = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=header, **given))
    except UserError:
        if not system:
            raise
    if system.strip() not in text:
        raise UserError(
            f"{name}: its chat template takes no system prompt; leave it out of the rows, questions or base.template."
        )
    if len(text) > LONGEST_FRAME + sum(len(message["content"]) for message in messages):
        raise UserError(f"{name}: its chat template writes {len(text):,} characters around a question.")
    return text


def _encode(
    tokenizer: PreTrainedTokenizerBase, text: str, messages: list[dict[str, str]]
) -> tuple[list[int], list[int]]:
    """Token ids, and the character at which each token starts. The template brings its own special tokens.

    What a message says is text: a control token that stands in it ("<|im_end|>") is read letter by letter, not as the
    end of a turn.

    Args:
        tokenizer: whose control tokens are meant.
        text: the rendered conversation.
        messages: what it was rendered of.

    Raises:
        UserError: if a message with a control token does not stand in the text as it was given.
    """
    controls = _control_tokens(tokenizer)
    given = [message["content"].strip() for message in messages]
    parts, done = [], 0  # (from, to, whether it is a message's)
    if controls and any(map(controls.search, given)):
        for (start, end), said in zip(_places(tokenizer, text, messages), given, strict=True):
            if controls.search(said):
                parts += [(done, start, False), (start, end, True)]
                done = end
    ids: list[int] = []
    starts: list[int] = []
    for begin, end, as_text in [*parts, (done, len(text), False)]:
        more = {"split_special_tokens": True} if as_text else {}
        encoded = tokenizer(text[begin:end], add_special_tokens=False, return_offsets_mapping=True, **more)
        ids += encoded["input_ids"]
        starts += [begin + start for start, _ in encoded["offset_mapping"]]
    return ids, starts


def _places(tokenizer: PreTrainedTokenizerBase, text: str, messages: list[dict[str, str]]) -> list[tuple[int, int]]:
    """Where each message stands in the conversation rendered of them, as half-open ranges of characters.

    Looked for by plain words in their place: what a message says may stand in the template too.

    Raises:
        UserError: if one does not stand there as it was given.
    """
    words = [f"message{number}" for number in range(len(messages))]
    told = [message | {"content": word} for message, word in zip(messages, words, strict=True)]
    marked = _render(tokenizer, told, header=False)
    found: list[tuple[int, int]] = []
    done = longer = 0
    for word, message in zip(words, messages, strict=True):
        said = message["content"].strip()
        done = marked.find(word, done)
        start = done + longer
        if done < 0 or text[start : start + len(said)] != said:
            raise UserError(
                f"{tokenizer.name_or_path}: its chat template does not render a text as it is given; take control "
                f"tokens out of the one that begins {said[:40]!r}."
            )
        found.append((start, start + len(said)))
        longer += len(said) - len(word)
    return found


def _control_tokens(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str] | None:
    """What finds a control token in a text; None of a tokenizer that has none."""
    known = vars(tokenizer)
    if "control_tokens" not in known:
        added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        words = sorted({*added, *tokenizer.all_special_tokens}, key=len, reverse=True)
        known["control_tokens"] = re.compile("|".join(map(re.escape, words))) if words else None
    found: re.Pattern[str] | None = known["control_tokens"]
    return found


def _first_at(starts: list[int], character: int) -> int:
    return next((token for token, start in enumerate(starts) if start >= character), len(starts))
