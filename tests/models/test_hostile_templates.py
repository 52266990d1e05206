"""Chat templates that would make a study something else than it says: refused in one sentence before any compute."""

from __future__ import annotations

import re

import pytest

from workflow_scripts.miniature.tokenizer import train_tokenizer
from workflow_scripts.models.chat import check_template, check_tokens, prompt_ids, render_turn, set_template
from workflow_scripts.runtime.errors import UserError

TURNS = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
HEADER = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
DAY = "{{ strftime_now('%d %B %Y') }}"
IF_SYSTEM = "{% if messages[0]['role'] == 'system' %}"
PLAIN = "{% for m in messages %}{{ m['role'] | upper }}: {{ m['content'] }}\n{% endfor %}"
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"

TEMPLATES = {
    "today in every prompt": (DAY + TURNS + HEADER, "writes today's date into every prompt"),
    "today under a system prompt": (IF_SYSTEM + DAY + "{% endif %}" + TURNS + HEADER, "writes today's date into every prompt"),
    "today where there is none": (IF_SYSTEM + "{% else %}" + DAY + "{% endif %}" + TURNS + HEADER, "writes today's date"),
    "today in the header": (TURNS + "{% if add_generation_prompt %}<|im_start|>assistant " + DAY + "\n{% endif %}", "today's date"),
    "the hour": ("{{ strftime_now('%H:%M') }}" + TURNS + HEADER, "writes today's date"),
    "a greeting in December": ("{% if strftime_now('%m') == '12' %}Merry{% endif %}" + TURNS + HEADER, "writes today's date"),
    "chance": ("{{ ['a', 'b', 'c'] | random }}" + TURNS + HEADER, "draws at random"),
    "a text of chance": ("{{ lipsum(n=1) }}" + TURNS + HEADER, "draws at random"),
    "an escaped question": (TURNS.replace("m['content'] }}", "m['content'] | e }}") + HEADER, "does not render every question"),
    "a cut question": (TURNS.replace("m['content'] }}", "m['content'][:300] }}") + HEADER, "does not render every question"),
    "another question": (TURNS.replace("m['content'] }}", "m['content'] if m['role'] != 'user' else 'Hi' }}") + HEADER,
                         "does not render every question"),
    "ten million letters": ("{{ 'x' * 10**7 }}" + TURNS + HEADER, "characters around a question"),
    "a header that ends in a blank": (PLAIN + "{% if add_generation_prompt %}ASSISTANT: {% endif %}", "in one token"),
    "a division by nothing": ("{{ 1 / 0 }}" + TURNS + HEADER, "does not render a plain conversation (division by zero)"),
    "no syntax": ("{% for %}" + TURNS, "does not render a plain conversation ("),
    "an unknown filter": ("{{ messages | own }}", "does not render a plain conversation ("),
    "words of its own": ("{{ raise_exception('not you') }}", "does not render a plain conversation (not you)"),
    "a missing part": ("{{ messages[7]['content'] }}" + TURNS, "does not render a plain conversation ("),
    "another answer": (TURNS.replace("m['content'] }}", "m['content'] | upper }}") + HEADER, "does not render an answer as"),
    "no answer": ("{% for m in messages if m['role'] == 'user' %}{{ m['content'] }}{% endfor %}" + HEADER, "does not render an answer as"),
    "nothing": ("", "has no chat template"),
}  # fmt: skip


@pytest.mark.parametrize("case", TEMPLATES)
def test_a_template_that_cannot_be_held_to_is_refused(case):
    template, phrase = TEMPLATES[case]
    tokenizer = train_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(UserError) as caught:
        check_template(tokenizer)
    assert phrase in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("template", [DAY + TURNS + HEADER, IF_SYSTEM + DAY + "{% endif %}" + TURNS + HEADER])
def test_a_day_of_the_study_makes_them_one(template):
    tokenizer = train_tokenizer()
    tokenizer.chat_template = template
    set_template(tokenizer, {"date": "2025-01-01"})
    check_template(tokenizer)


def test_a_template_without_a_system_turn_passes():
    tokenizer = train_tokenizer()
    tokenizer.chat_template = NO_SYSTEM + TURNS + HEADER
    check_template(tokenizer)


@pytest.mark.parametrize("header", ["ASSISTANT:", "assistant (", "a"])
@pytest.mark.parametrize("answer", ["\n\n- first", ":)", "nswer", "100", "😀 well", "...", ""])
def test_a_prompt_is_the_beginning_of_every_row_that_continues_it(header, answer):
    tokenizer = train_tokenizer()
    tokenizer.chat_template = PLAIN.replace(": {", ":{") + "{% if add_generation_prompt %}" + header + "{% endif %}"
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "{{ m['role'] | upper }}:", "{% if m['role'] == 'user' %}user:{% else %}" + header + "{% endif %}"
    )
    turn, prompt = render_turn(tokenizer, "Why?", answer), prompt_ids(tokenizer, "Why?")
    assert turn.token_ids[: turn.answer_start] == prompt
    assert tokenizer.decode(turn.token_ids[turn.answer_start : turn.answer_end]).strip() == answer.strip()


@pytest.mark.parametrize(
    ("ends", "vocabulary", "sentence"),
    [
        (
            {0},
            10**6,
            "ends an answer with '<|im_end|>', after which no engine would stop; name that token as eos_token_id",
        ),
        ({2, 10**6}, 10**6, "as token 1000000, the model has 1000000; take the tokenizer of this model"),
        ({2}, 20, "the model has 20; take the tokenizer of this model"),
    ],
)
def test_answers_that_would_not_end_and_tokens_that_a_model_lacks_are_refused(ends, vocabulary, sentence):
    tokenizer = train_tokenizer()
    tokenizer.chat_template = TURNS + HEADER
    check_tokens(tokenizer, {2}, 10**6)
    with pytest.raises(UserError, match=re.escape(sentence)):
        check_tokens(tokenizer, ends, vocabulary)


def test_a_tokenizer_without_an_end_is_refused():
    tokenizer = train_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(UserError, match="has no end token, after which a response is over"):
        check_template(tokenizer)
