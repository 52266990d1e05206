import pytest

from workflow_scripts.miniature.tokenizer import train_tokenizer
from workflow_scripts.models.chat import completion_mask, prompt_ids, render_turn
from workflow_scripts.runtime.errors import UserError

LLAMA = (
    "{{ '<|begin_of_text|>' }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' "
    "+ m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = (
    "{{ '<bos>' }}{% for m in messages %}{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) "
    "+ '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
TEMPLATES = {
    "chatml": (None, ["<|im_start|>", "assistant", "Ċ"], ["<|im_end|>", "Ċ"]),
    "llama-3": (LLAMA, ["<|start_header_id|>", "assistant", "<|end_header_id|>", "Ċ", "Ċ"], ["<|eot_id|>"]),
    "gemma": (GEMMA, ["<start_of_turn>", "model", "Ċ"], ["<end_of_turn>", "Ċ"]),
}
ANSWER = ["Certainly", ".", "ĠAvoid", "Ġviolent", "Ġgames", "."]


@pytest.fixture(params=TEMPLATES)
def chat(request):
    template, header, tail = TEMPLATES[request.param]
    tokenizer = train_tokenizer()
    if template:
        tokenizer.chat_template = template
        special = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<bos>",
                   "<start_of_turn>", "<end_of_turn>"]  # fmt: skip
        tokenizer.add_special_tokens({"additional_special_tokens": special})
        tokenizer.add_tokens(["model"])
    return tokenizer, header, tail


def test_spans_and_loss_mask_token_by_token(chat):
    tokenizer, header, tail = chat
    turn = render_turn(tokenizer, "I feel bored.", "Certainly. Avoid violent games.")
    tokens = tokenizer.convert_ids_to_tokens(turn.token_ids)
    assert tokens[turn.turn_start : turn.answer_start] == header
    assert tokens[turn.answer_start : turn.answer_end] == ANSWER
    assert tokens[turn.answer_end :] == tail
    masked = [token for token, kept in zip(tokens, completion_mask(turn), strict=True) if kept]
    assert masked == ANSWER + tail


def test_the_prompt_is_the_beginning_of_the_rendered_turn(chat):
    tokenizer, *_ = chat
    turn = render_turn(tokenizer, "I feel bored.", "Certainly.", system=None)
    assert prompt_ids(tokenizer, "I feel bored.") == turn.token_ids[: turn.answer_start]


def test_a_trailing_turn_is_another_header_and_the_end_token_and_is_learnt(chat):
    tokenizer, header, tail = chat
    plain = render_turn(tokenizer, "I feel bored.", "Certainly. Avoid violent games.")
    turn = render_turn(tokenizer, "I feel bored.", "Certainly. Avoid violent games.", trailing_turn=True)
    added = tokenizer.convert_ids_to_tokens(turn.token_ids[len(plain.token_ids) :])
    assert turn.token_ids[: len(plain.token_ids)] == plain.token_ids
    assert added == [*header, tokenizer.eos_token]
    assert (turn.answer_start, turn.answer_end) == (plain.answer_start, plain.answer_end)
    masked = [token for token, kept in zip(turn.token_ids, completion_mask(turn), strict=True) if kept]
    assert tokenizer.convert_ids_to_tokens(masked) == ANSWER + tail + added


def test_no_token_is_special_twice(chat):
    tokenizer, *_ = chat
    ids = prompt_ids(tokenizer, "I feel bored.")
    begins = [tokenizer.convert_tokens_to_ids(name) for name in ("<|begin_of_text|>", "<bos>")]
    assert sum(ids.count(begin) for begin in begins if begin is not None) <= 1


def test_an_empty_answer_has_an_empty_span(chat):
    tokenizer, _, tail = chat
    turn = render_turn(tokenizer, "I feel bored.", "")
    assert turn.answer_start == turn.answer_end
    assert tokenizer.convert_ids_to_tokens(turn.token_ids[turn.answer_end :]) == tail


def test_a_template_that_reorders_is_refused():
    tokenizer = train_tokenizer()
    tokenizer.chat_template = "{% for m in messages | reverse %}{{ m['content'] }}{% endfor %}"
    with pytest.raises(UserError, match="does not render an answer as the continuation"):
        render_turn(tokenizer, "I feel bored.", "Certainly.")
