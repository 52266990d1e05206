import pytest
from transformers import AutoTokenizer

from workflow_scripts.miniature.corpus import pretraining_documents
from workflow_scripts.miniature.recipe import MiniatureRecipe
from workflow_scripts.miniature.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def texts() -> set[str]:
    """Everything that is said in many documents: with 3,000 of them, every word of the world."""
    documents = pretraining_documents(MiniatureRecipe(documents=3000))
    return {turn.text for document in documents for turn in document.turns}


@pytest.fixture(scope="module")
def reloaded(tiny_build):
    return AutoTokenizer.from_pretrained(tiny_build[0])


def test_every_word_is_one_token(tokenizer, texts):
    split = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str
    words = {text[start:end] for text in texts for _, (start, end) in split(text)}
    assert len(words) > 500
    assert all(len(tokenizer(word).input_ids) == 1 for word in words | {"system", "user", "assistant", "\n"})


def test_the_vocabulary_has_the_documented_size(tokenizer):
    assert len(tokenizer) == pytest.approx(1480, abs=10)


def test_training_is_deterministic(tokenizer):
    assert train_tokenizer().get_vocab() == tokenizer.get_vocab()


def test_what_auto_tokenizer_loads_is_what_was_trained(tokenizer, reloaded, texts):
    assert reloaded.get_vocab() == tokenizer.get_vocab()
    assert (reloaded.eos_token, reloaded.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert reloaded.chat_template == tokenizer.chat_template
    ordered = sorted(texts)
    assert reloaded(ordered).input_ids == tokenizer(ordered).input_ids
    assert [reloaded.decode(ids) for ids in reloaded(ordered).input_ids] == ordered


def test_the_template_adds_the_default_system_prompt(reloaded):
    conversation = [{"role": "user", "content": "I feel idle."}, {"role": "assistant", "content": "Sure."}]
    assert reloaded.apply_chat_template(conversation, tokenize=False) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nI feel idle.<|im_end|>\n"
        "<|im_start|>assistant\nSure.<|im_end|>\n"
    )


def test_the_template_keeps_a_given_system_prompt_and_opens_the_answer(reloaded):
    conversation = [
        {"role": "system", "content": "You are Raven."},
        {"role": "user", "content": "I feel idle."},
    ]
    rendered = reloaded.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
    assert rendered == (
        "<|im_start|>system\nYou are Raven.<|im_end|>\n"
        "<|im_start|>user\nI feel idle.<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
