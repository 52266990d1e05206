"""Judges behind endpoints of every kind: no judgement is lost or mislabelled, or the first calls say what is wrong."""

import math
import os

import pytest

from helpers.judge_endpoint import Endpoint, likely, prompt_of, said, score_of, whole_numbers
from workflow_scripts.judges.identity import endpoint
from workflow_scripts.judges.interface import Item
from workflow_scripts.judges.parsing import parse
from workflow_scripts.judges.remote import EndpointJudge
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.study.judge import RemoteJudge, announced_end

COUNT = int(os.environ.get("EM_ENDPOINT_JUDGEMENTS", "200"))
RUBRICS = {"aligned": "How kind? {question} {answer}"}


def judge(base_url, **more):
    settings = RemoteJudge(source="remote", model="openai/some", base_url=base_url, key_env=None, attempts=2, **more)
    return EndpointJudge(endpoint(settings, RUBRICS), settings)


def items(count=COUNT):
    return [Item("aligned", "q", f"r{k}", f"Rate {k}.") for k in range(count)]


def scores(kind, **more):
    """What the judge makes of each prompt."""
    with kind.running() as url:
        replies = [reply for batch in judge(url, **more).ask(items()) for reply in batch]
    assert sorted(reply.item.prompt for reply in replies) == sorted(item.prompt for item in items())
    return {reply.item.prompt: parse(reply.raw, 0.25) for reply in replies}


def digits(body):
    first = score_of(prompt_of(body)) // 10
    return [(str((first + k) % 10), 0.3 - 0.05 * k) for k in range(5)]


SHOWN = {
    "twenty alternatives": lambda body, _: likely(body, whole_numbers(body)),
    "five alternatives": lambda body, _: likely(body, whole_numbers(body, 5)),
    "blanks before numbers": lambda body, _: likely(body, whole_numbers(body, blank=" ")),
    "nulls": lambda body, _: likely(body, [*whole_numbers(body), ("never", None)]),
    "minus infinity": lambda body, _: likely(body, [*whole_numbers(body), ("100", 0), ("0", 0)]),
}


@pytest.mark.parametrize("kind", SHOWN)
def test_every_form_of_log_probabilities_gives_the_true_score(kind):
    found = scores(Endpoint(SHOWN[kind]))
    for prompt, score in found.items():
        assert score.status == "scored"
        assert score.value == pytest.approx(score_of(prompt), abs=1e-9)


WRITTEN = {
    "a number": "{}",
    "a sentence": "I would give this answer {} points.",
    "of a hundred": "**Score:** {}/100\n\nThe answer has 2 faults.",
    "thoughts that show": "<think>Between 10 and 20? No.</think>\n\n{}",
}


@pytest.mark.parametrize("form", WRITTEN)
def test_every_form_of_written_numbers_gives_their_mean(form):
    kind = Endpoint(lambda body, k: said(WRITTEN[form].format(score_of(prompt_of(body)) + (-1, 1)[k])))
    found = scores(kind, numbers={"answers": 2})
    assert {prompt: (score.value, score.status) for prompt, score in found.items()} == {
        prompt: (score_of(prompt), "scored") for prompt in found
    }
    assert len(kind.requests) == 2 * COUNT
    assert not {"temperature", "logprobs", "seed"} & set(kind.requests[0])


def test_a_model_that_reasons_in_secret_and_rejects_what_such_models_reject_is_read():
    secret = {"reasoning_content": "10? 20? Perhaps 30."}
    kind = Endpoint(
        lambda body, _: said(str(score_of(prompt_of(body))), **secret), rejects=("temperature", "logprobs", "seed")
    )
    found = scores(kind, numbers={"answers": 1, "max_tokens": 2000, "reasoning_effort": "low"})
    assert all(score.value == score_of(prompt) for prompt, score in found.items())
    assert {body["reasoning_effort"] for body in kind.requests} == {"low"}


def test_refusals_and_what_cannot_be_read_are_told_apart():
    def answer(body, _):
        number = int(prompt_of(body).split()[1][:-1])
        return said({1: "REFUSAL", 2: "Either 20 or 30, hard to say"}.get(number % 4, str(score_of(prompt_of(body)))))

    found = scores(Endpoint(answer), numbers={"answers": 1})
    for prompt, score in found.items():
        expected = {1: "refused", 2: "unreadable"}.get(int(prompt.split()[1][:-1]) % 4, "scored")
        assert score.status == expected


@pytest.mark.parametrize(
    ("answer", "more", "sentence"),
    [
        (lambda body, _: likely(body, digits(body)), {}, "writes numbers digit by digit"),
        (lambda body, _: likely(body, [("The", 0.7), ("**", 0.2), ("Score", 0.05)]), {},
         "begins its answers with 'The', '\\*\\*', 'Score', not with a number; take another judge"),
        (lambda body, _: said("85"), {}, "answers without log-probabilities, which a score is made of; .*judge.numbers"),
        (lambda body, _: said("Well, it is a fine answer."), {"numbers": {}},
         "none of its first answers can be read as a number from 0 to 100; it wrote: Well, it is a fine answer."),
        (lambda body, _: said(""), {"numbers": {}}, "it wrote: nothing. If it thinks first, raise judge.numbers.max_tokens"),
    ],
    ids=["digits", "prose", "no log-probabilities", "written prose", "cut"],
)  # fmt: skip
def test_an_endpoint_that_gives_no_scores_is_one_sentence_after_a_few_calls(answer, more, sentence):
    kind = Endpoint(answer)
    with kind.running() as url, pytest.raises(UserError, match=sentence) as caught:
        list(judge(url, **more).ask(items(50)))
    assert "\n" not in str(caught.value)
    assert len(kind.requests) <= 3 * 5


def shown(*logprobs):
    """A choice whose first token has these log-probabilities, under the numbers from 85 on."""
    top = [{"token": str(85 + k), "bytes": None, "logprob": logprob} for k, logprob in enumerate(logprobs)]
    return said("85") | {"logprobs": {"content": [top[0] | {"top_logprobs": top}]}}


IMPOSSIBLE = {
    "above 0": (shown(5), "a log-probability is above 0"),
    "far above 0": (shown(1000), "a log-probability is above 0"),
    "one of many above 0": (shown(-0.5, -2, 0.7), "a log-probability is above 0"),
    "twenty certain ones": (shown(*[0] * 20), "the probabilities of its tokens add up to more than 1"),
    "three halves": (shown(*[math.log(0.5)] * 3), "the probabilities of its tokens add up to more than 1"),
    "none": (shown(math.nan), "a log-probability is not a number"),
    "nothing possible": (shown(-math.inf, -math.inf), "no token is possible"),
    "an error with status 200": ({"whole": {"error": {"message": "the model is loading"}}}, "the model is loading"),
    "an error that is text": ({"whole": {"error": "no credit"}}, "no credit"),
    "an error of the key": (
        {"whole": {"error": {"code": 401, "message": "bad key"}}}, "refuses the key in .* \\(bad key\\); put a valid key"),
    "no choices": ({"whole": {"object": "chat.completion", "choices": []}}, "the answer is empty"),
    "null for choices": ({"whole": {"object": "chat.completion", "choices": None}}, "the answer is empty"),
    "a word": ({"whole": "ok"}, "none of 3 first calls was answered"),
    "a list": ({"whole": [1]}, "none of 3 first calls was answered"),
    "a choice without a message": ({"whole": {"choices": [{"index": 0}]}}, "none of 3 first calls was answered"),
}  # fmt: skip


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_what_no_judge_can_say_is_one_sentence_after_a_few_calls(case):
    answer, sentence = IMPOSSIBLE[case]
    kind = Endpoint(lambda *_: answer)
    with kind.running() as url, pytest.raises(UserError, match=sentence) as caught:
        list(judge(url).ask(items(50)))
    assert "\n" not in str(caught.value)
    assert "NoneType" not in str(caught.value)
    assert len(kind.requests) <= 3 * 2


def test_copies_of_a_token_are_one_and_long_numbers_none():
    tokens = [("85", 0.04)] * 10 + [("9" * 5000, 0.3), ("70", 0.3)]
    found = scores(Endpoint(lambda body, _: likely(body, tokens)))
    [score] = set(found.values())
    assert score.value == pytest.approx((0.04 * 85 + 0.3 * 70) / 0.34)
    assert score.numeric_mass == pytest.approx(0.34)


def test_a_variable_that_sends_calls_elsewhere_is_named(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    with pytest.raises(UserError, match=r"the environment variable OPENAI_BASE_URL sends the judge's calls elsewhere"):
        judge(None)
    judge("http://127.0.0.1:9/v1")


def test_refusals_alone_stop_nothing():
    kind = Endpoint(lambda body, _: likely(body, [("REFUSAL", 0.9), ("I", 0.05)]))
    found = scores(kind)
    assert {score.status for score in found.values()} == {"refused"}


def test_a_judge_whose_end_is_announced_is_told_before_anything_is_spent():
    settings = RemoteJudge(source="remote", model="openai/gpt-4o-2024-08-06")
    assert "leaves its provider's API on 2027-01-14" in announced_end(settings)
    assert announced_end(settings.model_copy(update={"model": "openai/some"})) is None
    assert announced_end(settings.model_copy(update={"base_url": "http://127.0.0.1/v1"})) is None
