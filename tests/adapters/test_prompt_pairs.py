"""Pairs of prompts of equal length."""

from __future__ import annotations

from typing import ClassVar

import pytest

from helpers.tables import STUDY
from workflow_scripts.adapters.prompt_pairs import Question, equal_pairs, pairs_of
from workflow_scripts.models import chat
from workflow_scripts.models.chat import padded_prompt_ids, prompt_ids
from workflow_scripts.runtime.errors import NotPossible, UserError
from workflow_scripts.study import reading
from workflow_scripts.study.layout import Layout


class Words:
    """A tokenizer of one token a character; an answer's header follows the question."""

    name_or_path, chat_template, eos_token = "words", "…", "."
    all_special_tokens: tuple[str, ...] = ()
    added_tokens_decoder: ClassVar[dict] = {}

    def apply_chat_template(self, messages, tokenize, add_generation_prompt):
        turns = {"user": "<{}>", "assistant": "A:{}."}
        said = "".join(turns[message["role"]].format(message["content"]) for message in messages)
        return said + ("A:" if add_generation_prompt else "")

    def __call__(self, text, add_special_tokens, return_offsets_mapping):
        return {"input_ids": [ord(c) for c in text], "offset_mapping": [(i, i + 1) for i in range(len(text))]}


def of(*texts, side=""):
    return [Question(f"{side}{number}", text, None) for number, text in enumerate(texts)]


def spelt(ids):
    return "".join(map(chr, ids))


def test_line_breaks_stand_after_the_question_and_before_what_follows():
    assert spelt(padded_prompt_ids(Words(), "Why?", None, 2)) == "<Why?\n\n>A:"
    assert padded_prompt_ids(Words(), "Why?", None, 0) == prompt_ids(Words(), "Why?")
    assert chat.prompt_ids(Words(), "Why?") == [ord(c) for c in "<Why?>A:"]


def test_pairs_that_need_no_padding_come_first_and_a_seed_draws_among_equals():
    outside, domain = of("aa", "bbbb", "cc", side="o"), of("x", "yyyy", "zz", side="d")
    (first,) = equal_pairs(Words(), outside, domain, 1, 2, 0)
    assert len(first.questions[0].text) == len(first.questions[1].text)
    made = equal_pairs(Words(), outside, domain, 3, 1, 0)
    assert {len(p.prompts[0]) - len(p.prompts[1]) for p in made} == {0}
    assert sum("\n" in spelt(prompt) for pair in made for prompt in pair.prompts) == 1
    drawn = {equal_pairs(Words(), outside, domain, 2, 0, seed)[0].questions[0].question_id for seed in range(20)}
    assert len(drawn) > 1
    with pytest.raises(NotPossible, match="only 2 pairs"):
        equal_pairs(Words(), outside, domain, 3, 0, 0)


def study_of(**patching):
    return reading.parse({**STUDY, "adapters": {**STUDY["adapters"], "patching": patching}}, "by hand")


def test_pairs_of_the_study_are_taken_as_they_are_and_told_when_too_far_apart(tmp_path):
    given = [{"name": "one", "outside": "Why me?", "domain": "Why him?"}]
    (pair,) = pairs_of(study_of(pairs=given, padding=1), Layout(tmp_path), Words())
    assert [q.question_id for q in pair.questions] == ["one_outside", "one_domain"]
    assert [spelt(prompt) for prompt in pair.prompts] == ["<Why me?\n>A:", "<Why him?>A:"]
    with pytest.raises(NotPossible, match="one_outside and one_domain have 11 and 12 tokens, more than 0 apart"):
        pairs_of(study_of(pairs=given), Layout(tmp_path), Words())
    with pytest.raises(UserError, match="two pairs are called 'one'"):
        study_of(pairs=given * 2)
