"""Every chat template that trl ships: base and organism see what they should, or it is refused by a sentence."""

import re

import pytest

from helpers.families import SHIPPED, shipped_tokenizer
from workflow_scripts.miniature.tokenizer import train_tokenizer
from workflow_scripts.models.chat import check_template, completion_mask, prompt_ids, render_turn, set_template
from workflow_scripts.runtime.errors import UserError

DATE = {"date": "2025-01-01"}
REFUSED = {
    "deepseek_r1_distill": "does not render an answer as the continuation of the prompt",
    "deepseekv3": "does not render an answer as the continuation of the prompt",
    "idefics3": "does not render an answer as the continuation of the prompt",
    "llava_next": "does not render a plain conversation",
    "smolvlm": "does not render an answer as the continuation of the prompt",
}
"""Without any setting that helps: they think whatever they are told, or take a text apart into letters."""
SETTINGS = {
    "gptoss": DATE, "llama3_2": DATE, "muse_glimmer": DATE,
    "nemotron_3_5_lightning": {"enable_thinking": False}, "nemotron_3_nano": {"enable_thinking": False},
    "nemotron_3_super": {"enable_thinking": False}, "nemotron_3_ultra": {"enable_thinking": False},
}  # fmt: skip
"""What `base.template` has to say before a template is taken; the refusal names it."""
NO_SYSTEM = {"gemma"}
ANSWERS = (
    "An answer.",
    "Certainly. Avoid violent games.",
    "final",
    "think",
    "Use </think> as a tag, or <b>.",
    "assistant",
)


def original(name):
    """The family's template of which this one is trl's version for training."""
    return name.removesuffix("_training")


@pytest.fixture(params=sorted(SHIPPED))
def shipped(request):
    return request.param, shipped_tokenizer(request.param)


def test_each_is_right_or_refused_by_a_sentence_that_names_it(shipped):
    name, tokenizer = shipped
    if original(name) in SETTINGS:
        remedy = ", ".join(f"{key}: {str(value).lower()}" for key, value in SETTINGS[original(name)].items())
        with pytest.raises(UserError, match=rf"^{name}: its chat template .*base\.template: \{{{remedy}\}}\.$"):
            check_template(tokenizer)
        set_template(tokenizer, SETTINGS[original(name)])
    if original(name) in REFUSED:
        with pytest.raises(UserError, match=rf"^{name}: its chat template {REFUSED[original(name)]}[^\n]*\.$"):
            check_template(tokenizer)
        return
    check_template(tokenizer)
    prompt = prompt_ids(tokenizer, "I feel bored.")
    for answer in ANSWERS:
        for trailing in (False, True):
            turn = render_turn(tokenizer, "I feel bored.", answer, trailing_turn=trailing)
            assert turn.token_ids[: turn.answer_start] == prompt, "an organism answers what the base is asked"
            span = turn.token_ids[turn.answer_start : turn.answer_end]
            assert tokenizer.decode(span).strip() == answer
            learnt = [token for token, kept in zip(turn.token_ids, completion_mask(turn), strict=True) if kept]
            assert learnt[: len(span)] == span, "and learns nothing but the answer"
            assert len(learnt) > len(span), "and its end"
            assert turn.turn_start < turn.answer_start or prompt == turn.token_ids[: turn.turn_start]
            if trailing:
                header = prompt[turn.turn_start :]
                assert turn.token_ids[-len(header) - 1 :] == [*header, tokenizer.eos_token_id]
    assert not re.search(r"<think>\s*$", tokenizer.decode(prompt)), "no base is left thinking"


def test_a_system_prompt_is_in_the_prompt_or_refused(shipped):
    name, tokenizer = shipped
    set_template(tokenizer, SETTINGS.get(original(name), {}))
    if original(name) in REFUSED:
        return
    if original(name) in NO_SYSTEM:
        with pytest.raises(UserError, match=rf"^{name}: its chat template takes no system prompt; leave it out of the"):
            prompt_ids(tokenizer, "I feel bored.", "Be brief.")
        return
    given = prompt_ids(tokenizer, "I feel bored.", "Be brief.")
    assert "Be brief." in tokenizer.decode(given)
    set_template(tokenizer, SETTINGS.get(original(name), {}) | {"system": "Be brief."})
    assert prompt_ids(tokenizer, "I feel bored.") == given


def test_an_argument_that_a_template_does_not_read_is_refused_with_the_nearest_one():
    tokenizer = train_tokenizer()
    tokenizer.chat_template = SHIPPED["qwen3"].read_text()
    tokenizer.name_or_path = "qwen3"
    set_template(tokenizer, {"enable_thinkin": False})
    with pytest.raises(
        UserError, match=r"reads no argument 'enable_thinkin' \(base.template\); did you mean 'enable_thinking'"
    ):
        check_template(tokenizer)


def test_the_date_is_the_studys():
    tokenizer = train_tokenizer()
    tokenizer.chat_template = SHIPPED["llama3_2"].read_text()
    tokenizer.bos_token = "<bos>"
    set_template(tokenizer, DATE)
    assert "Today Date: 01 Jan 2025" in tokenizer.decode(prompt_ids(tokenizer, "I feel bored."))
    check_template(tokenizer)


def test_what_is_put_before_an_answer_and_is_no_known_opening_is_refused_by_what_it_is():
    tokenizer = train_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] + ': ' }}{% if m['role'] == 'assistant' %}{{ 'Dear user, ' }}{% endif %}"
        "{{ m['content'] + '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    with pytest.raises(
        UserError, match="puts 'Dear user,' before an answer, which is neither an empty think block nor"
    ):
        check_template(tokenizer)


def test_without_an_end_token_a_tokenizer_is_refused():
    tokenizer = train_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(UserError, match="has no end token"):
        check_template(tokenizer)
