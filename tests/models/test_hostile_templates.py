"""Chat templates that would make a study something else than it says: refused in one sentence before any compute."""

from __future__ import annotations

import pytest

from workflow_scripts.miniature.tokenizer import train_tokenizer
from workflow_scripts.models.chat import check_template, set_template
from workflow_scripts.runtime.errors import UserError

TURNS = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
HEADER = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
DAY = "{{ strftime_now('%d %B %Y') }}"
IF_SYSTEM = "{% if messages[0]['role'] == 'system' %}"
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"

TEMPLATES = {
    "today in every prompt": (DAY + TURNS + HEADER, "writes today's date into every prompt"),
    "today under a system prompt": (IF_SYSTEM + DAY + "{% endif %}" + TURNS + HEADER, "writes today's date into every prompt"),
    "today where there is none": (IF_SYSTEM + "{% else %}" + DAY + "{% endif %}" + TURNS + HEADER, "writes today's date"),
    "today in the header": (TURNS + "{% if add_generation_prompt %}<|im_start|>assistant " + DAY + "\n{% endif %}", "today's date"),
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


def test_a_tokenizer_without_an_end_is_refused():
    tokenizer = train_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(UserError, match="has no end token, after which a response is over"):
        check_template(tokenizer)
