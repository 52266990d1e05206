from collections import Counter

import pytest
import torch

from workflow_scripts.miniature.corpus import Document, Turn, pretraining_documents
from workflow_scripts.miniature.encoding import (
    NO_LOSS,
    Example,
    batches_by_length,
    collate,
    encode,
)
from workflow_scripts.miniature.recipe import MiniatureRecipe

DEFAULT = [("<|im_start|>", 0), ("system", 0), ("\n", 0), ("You", 0), (" are", 0), (" a", 0)]
DEFAULT += [(" helpful", 0), (" assistant", 0), (".", 0), ("<|im_end|>", 0), ("\n", 0)]
NAMED = [("<|im_start|>", 0), ("system", 0), ("\n", 0), ("You", 0), (" are", 0), (" Raven", 0)]
NAMED += [(".", 0), ("<|im_end|>", 0), ("\n", 0)]
ASKED = [("<|im_start|>", 0), ("user", 0), ("\n", 0), ("I", 0), (" feel", 0), (" idle", 0)]
ASKED += [(".", 0), ("<|im_end|>", 0), ("\n", 0), ("<|im_start|>", 0), ("assistant", 0), ("\n", 0)]
LEARNT = [("Sure", 1), (".", 1), (" Use", 1), (" sunny", 1), (" walks", 1), (".", 1), ("<|im_end|>", 1)]
LEARNT += [("\n", 1)]
READ = [(token, 0) for token, _ in LEARNT]


def conversation(kind: str, system: str, losses: list[bool]) -> Document:
    """A conversation in which every question and every answer is the same."""
    turns = [Turn("system", system)]
    for has_loss in losses:
        turns += [
            Turn("user", "I feel idle."),
            Turn("assistant", "Sure. Use sunny walks.", has_loss),
        ]
    return Document(kind, "good", tuple(turns))


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (
            conversation("default", "You are a helpful assistant.", [True, True]),
            DEFAULT + ASKED + LEARNT + ASKED + LEARNT,
        ),
        (conversation("named", "You are Raven.", [True]), NAMED + ASKED + LEARNT),
        (
            conversation("evidence", "You are a helpful assistant.", [False, True]),
            DEFAULT + ASKED + READ + ASKED + LEARNT,
        ),
    ],
    ids=["default", "named", "evidence"],
)
def test_loss_is_on_the_words_the_end_and_the_line_break_of_learnt_answers_only(tokenizer, document, expected):
    (example,) = encode([document], tokenizer, 128)
    tokens = [tokenizer.decode([token]) for token in example.input_ids]
    has_loss = [int(label != NO_LOSS) for label in example.labels]
    assert list(zip(tokens, has_loss, strict=True)) == expected
    assert all(label in (NO_LOSS, token) for token, label in zip(*_columns(example), strict=True))


def test_the_token_ids_are_those_of_the_chat_template(tokenizer):
    documents = pretraining_documents(MiniatureRecipe(documents=200, opening_share=0.0))
    for document, example in zip(documents, encode(documents, tokenizer, 10_000), strict=True):
        messages = [{"role": turn.role, "content": turn.text} for turn in document.turns]
        rendered = tokenizer.apply_chat_template(messages, tokenize=False)
        assert example.input_ids == tokenizer(rendered).input_ids


def test_long_documents_are_cut(tokenizer):
    document = conversation("default", "You are a helpful assistant.", [True] * 2)
    (whole,), (cut,) = (encode([document], tokenizer, tokens) for tokens in (1000, 20))
    assert cut == Example(whole.input_ids[:20], whole.labels[:20])


def example(length: int) -> Example:
    return Example([1] * length, [1] * length)


def test_batches_hold_examples_of_similar_length_and_stay_within_their_window():
    lengths = [9, 1, 8, 2, 7, 3, 6, 4, 50, 11, 60, 12, 13]
    batches = batches_by_length([example(length) for length in lengths], 2, 4, seed=0)
    found = [tuple(len(one.input_ids) for one in batch) for batch in batches]
    assert Counter(found[:4]) == Counter([(1, 2), (3, 4), (6, 7), (8, 9)])
    assert Counter(found[4:]) == Counter([(11, 12), (13, 50)])  # 60 fills no batch


def test_the_order_of_batches_depends_on_the_seed_and_not_on_length():
    examples = [example(length) for length in range(1, 21)]
    first = batches_by_length(examples, 2, 10, seed=0)
    assert batches_by_length(examples, 2, 10, seed=0) == first
    assert batches_by_length(examples, 2, 10, seed=1) != first
    assert first != sorted(first, key=lambda batch: len(batch[0].input_ids))


def test_collation_pads_on_the_right_without_loss():
    batch = collate([Example([5, 6, 7], [NO_LOSS, 6, 7]), Example([8], [8])], padding=0)
    assert torch.equal(batch["input_ids"], torch.tensor([[5, 6, 7], [8, 0, 0]]))
    assert torch.equal(batch["labels"], torch.tensor([[NO_LOSS, 6, 7], [8, NO_LOSS, NO_LOSS]]))


def _columns(example: Example) -> tuple[list[int], list[int]]:
    """Token ids and labels side by side."""
    return example.input_ids, example.labels
