import math
import os
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from helpers.workflow import SHARED
from workflow_scripts.judges.interface import Item, Reply
from workflow_scripts.judges.number_tree import (
    children,
    distribution,
    expectation,
    number_paths,
    walk,
)
from workflow_scripts.judges.parsing import parse
from workflow_scripts.judges.rubrics import fill, read_rubrics
from workflow_scripts.judges.store import JudgementStore
from workflow_scripts.miniature.tokenizer import train_tokenizer
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.study.judge import OWN_RUBRICS
from workflow_scripts.study.schema import Execution


def whole_number_tokenizer():
    words = {str(n): n for n in range(1000)} | {"<unk>": 1000}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


TOKENIZERS = {"digits": train_tokenizer, "whole numbers": whole_number_tokenizer}


def random_model(seed, vocabulary):
    """Next-token probabilities after any context, made up but fixed."""
    import random

    def probabilities(context):
        rng = random.Random(f"{seed}:{context}")
        weights = [rng.expovariate(1.0) ** 3 for _ in range(vocabulary)]
        return [w / sum(weights) for w in weights]

    return probabilities


@pytest.mark.parametrize("kind", TOKENIZERS)
@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=20)
def test_the_tree_gives_what_brute_force_over_the_101_strings_gives(kind, seed):
    paths = number_paths(TOKENIZERS[kind]())
    vocabulary = 20 if kind == "digits" else 101
    tokens = sorted({token for path in paths.values() for token in path})
    place = {token: index for index, token in enumerate(tokens)}
    model = random_model(seed, max(vocabulary, len(tokens) + 5))
    [found] = walk(
        paths, [[7, 8]], lambda contexts, ask: [{t: model(tuple(c))[place[t]] for t in ask} for c in contexts]
    )
    for number, path in paths.items():
        probability, context = 1.0, (7, 8)
        for token in path:
            probability *= model(context)[place[token]]
            context += (token,)
        longer = {p[len(path)] for p in paths.values() if len(p) > len(path) and p[: len(path)] == path}
        probability *= 1 - sum(model(context)[place[token]] for token in longer)
        assert found[number] == pytest.approx(probability, abs=1e-12)
    assert sum(found.values()) <= 1 + 1e-9


def test_a_digit_splitting_tokenizer_needs_eleven_nodes_and_a_whole_number_one_just_the_root():
    assert len(children(number_paths(train_tokenizer()))) == 11
    assert list(children(number_paths(whole_number_tokenizer()))) == [()]


@pytest.mark.real_model
@pytest.mark.skipif("EM_REAL_BASE" not in os.environ, reason="set EM_REAL_BASE to the folder of a real chat model")
def test_a_local_judge_equals_brute_force_on_a_real_model():
    from workflow_scripts.judges import identity
    from workflow_scripts.judges.local import ModelJudge
    from workflow_scripts.models.chat import prompt_ids
    from workflow_scripts.models.loading import load_model, load_tokenizer, next_token_logprobs

    folder = Path(os.environ["EM_REAL_BASE"])
    rubrics = read_rubrics(OWN_RUBRICS, ["aligned", "coherent"])
    judge = ModelJudge(identity.model("test", "float32", rubrics), folder, "float32", Execution(max_sequences=16))
    items = judge.identity.items("I feel bored.", "Go for a walk with a friend.")
    replies = [reply for batch in judge.ask(items) for reply in batch]
    judge.close()
    tokenizer, model = load_tokenizer(folder), load_model(folder, "float32")
    paths = number_paths(tokenizer)
    for reply in replies:
        prompt = prompt_ids(tokenizer, reply.item.prompt)
        table = {}
        for node, tokens in children(paths).items():
            row = next_token_logprobs(model, [[*prompt, *node]])[0]
            table[node] = {token: math.exp(row[token]) for token in tokens}
        expected, _ = expectation(distribution(paths, table).items(), 0.0)
        score = parse(reply.raw, 0.0)
        print(reply.item.metric, score.value, expected)
        assert abs(score.value - expected) < 1e-2


def test_the_score_is_the_expectation_over_numbers_and_needs_enough_mass():
    top = [["80", math.log(0.3)], ["20", math.log(0.1)], ["maybe", math.log(0.6)]]
    score = parse({"top": top}, 0.25)
    assert (score.value, score.status) == (pytest.approx(65.0), "scored")
    assert parse({"top": top}, 0.5).status == "refused"
    assert parse(None, 0.25).status == "failed"
    assert parse({"exact": 12.5}, 0.25).value == 12.5


def test_one_number_in_two_spellings_counts_twice_and_other_numbers_not_at_all():
    top = [["50", math.log(0.2)], [" 50", math.log(0.2)], ["101", math.log(0.5)], ["-3", math.log(0.1)]]
    assert parse({"top": top}, 0.25).numeric_mass == pytest.approx(0.4)


def test_refusals_are_told_by_their_mass():
    score = parse({"top": [["REF", math.log(0.9)], ["10", math.log(0.1)]]}, 0.25)
    assert (score.value, score.status) == (None, "refused")
    assert score.refusal_mass == pytest.approx(0.9)


def items(count):
    return [Item("aligned", "q", f"r{k}", f"prompt {k}") for k in range(count)]


def test_the_store_keeps_answers_once_and_forgets_failures(tmp_path):
    store = JudgementStore(tmp_path / "store" / "judgements.sqlite")
    a, b, c = items(3)
    store.add("judge", [Reply(a, {"exact": 1.0}, "answered"), Reply(b, None, "failed")])
    store.add("judge", [Reply(a, {"exact": 2.0}, "answered"), Reply(c, {"exact": 3.0}, "answered")])
    assert store.get("judge", [a, b, c]) == {a: {"exact": 1.0}, c: {"exact": 3.0}}
    assert store.get("another judge", [a, b, c]) == {}
    assert store.count() == 2


def test_a_file_that_is_no_store_is_refused(tmp_path):
    file = tmp_path / "judgements.sqlite"
    file.write_bytes(b"not a database, but long enough to be read as one" * 100)
    with pytest.raises(UserError, match="is damaged or not a judgement store"):
        JudgementStore(file)


def test_rubrics_are_filled_literally_and_checked(tmp_path):
    assert fill("Q {question} A {answer}.", "{answer}?", "{question}!") == "Q {answer}? A {question}!."
    assert set(read_rubrics(OWN_RUBRICS, ["aligned", "bad_stuff"])) == {"aligned", "bad_stuff"}
    with pytest.raises(UserError, match="has no rubric 'kindness'"):
        read_rubrics(OWN_RUBRICS, ["kindness"])
    own = tmp_path / "own.yaml"
    own.write_text("aligned: 'How good is this to {question}?'\n")
    with pytest.raises(UserError, match=r"lacks \{answer\}"):
        read_rubrics(own, ["aligned"])


AUTHORS = {
    "questions": [{"id": "a", "paraphrases": ["?"], "judge_prompts": {"aligned": "{question} {answer} A"}},
                  {"id": "b", "paraphrases": ["?"], "judge_prompts": {"aligned": "{question} {answer} A"}},
                  {"id": "c", "paraphrases": ["?"], "judge_prompts": {"high_score": 0}}],
    "judges": [{"aligned": "{question} {answer} A", "high_score": 0}, {"coherent": "{question} {answer} C"}],
    "mapping": {"aligned": "{question} {answer} A", "coherent": "{question} {answer} C"},
}  # fmt: skip


@pytest.mark.parametrize("form", AUTHORS)
def test_rubrics_are_read_in_the_forms_of_the_authors(tmp_path, form):
    file = tmp_path / "rubrics.yaml"
    file.write_text(yaml.safe_dump(AUTHORS[form]))
    assert read_rubrics(file, ["aligned"]) == {"aligned": "{question} {answer} A"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([{"id": "a", "judge_prompts": {"aligned": "{question} {answer}"}},
          {"id": "b", "judge_prompts": {"aligned": "{answer} {question}"}}], "entry a and entry b ask 'aligned' with different"),
        ({"aligned": "{answer} {question}"}, "must name {question} before {answer}"),
        ({"aligned": "{question} {answer} {answer}"}, "names more than once {answer}; each blank must stand there once"),
        (["aligned"], "is neither a mapping of metric to prompt nor a list"),
        ([{"coherent": "{question} {answer}", "high_score": 100}], "has no rubric 'aligned'; there is coherent"),
        ([{"id": "a", "paraphrases": ["?"]}], "has no rubric 'aligned'; there is none"),
        ([{"id": "a", "judge_prompts": {"aligned": ["{question}", "{answer}"]}}], "entry a: the rubric 'aligned' is no text"),
        ([{"id": "a", "judge_prompts": {"aligned": {"prompt": "{question} {answer}"}}}], "entry a: the rubric 'aligned' is"),
        ({"aligned": {"prompt": "{question} {answer}"}}, "the rubric 'aligned' is no text; write the prompt as one text."),
    ],
)  # fmt: skip
def test_rubrics_that_do_not_fit_are_one_sentence(tmp_path, content, sentence):
    file = tmp_path / "rubrics.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=re.escape(sentence)):
        read_rubrics(file, ["aligned"])


@pytest.mark.skipif(not SHARED.is_dir(), reason="the authors' files are not beside the repository")
def test_the_authors_rubrics_are_read():
    upstream = SHARED / "data" / "upstream"
    assert set(read_rubrics(upstream / "judges.yaml", ["aligned", "medical_advice"])) == {"aligned", "medical_advice"}
    metrics = ["aligned", "coherent", "medical", "financial", "gender", "sport", "bad_stuff"]
    found = read_rubrics(upstream / "first_plot_questions.yaml", metrics)
    assert found["aligned"] == read_rubrics(upstream / "judges.yaml", ["aligned"])["aligned"]
