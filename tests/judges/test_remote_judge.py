"""The remote judge against a real OpenAI-compatible server, vLLM's own, behind what breaks calls or makes batches."""

import asyncio
import json
import math
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from helpers.batch_front import BatchFront
from helpers.fault_proxy import ANSWERED, FAULTS, GONE, FaultProxy
from helpers.judge_endpoint import Endpoint, likely, whole_numbers
from helpers.workflow import SMOKE, environment, wait_for
from workflow_scripts.judges.batches import BatchJudge
from workflow_scripts.judges.concurrency import Pace
from workflow_scripts.judges.cost import check_budget, estimate
from workflow_scripts.judges.identity import endpoint
from workflow_scripts.judges.interface import Item
from workflow_scripts.judges.number_tree import expectation
from workflow_scripts.judges.parsing import splits_digits
from workflow_scripts.judges.remote import OPENING, EndpointJudge, read_key
from workflow_scripts.judges.store import JudgementStore
from workflow_scripts.responses import SCHEMA
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import digest, provenance, write_json, write_table
from workflow_scripts.study.conditions import battery_subjects
from workflow_scripts.study.judge import RemoteJudge as Settings
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.reading import parse, resolved
from workflow_scripts.tools.bench_judge import NAME, Server, number_model, serve

JUDGEMENTS = int(os.environ.get("EM_REMOTE_JUDGEMENTS", "2000"))
"""Of the test with faults; 2,000 take about a minute on two cores."""
KEY = "EM_TEST_KEY"
RUBRICS = {"aligned": "How kind? {question} {answer}", "coherent": "How clear? {question} {answer}"}
CONNECTIONS = 16
PATIENCE = 5.0
"""Seconds until the client gives a call up."""


def opened(settings: Settings) -> EndpointJudge:
    return EndpointJudge(endpoint(settings, RUBRICS), settings)


@pytest.fixture(scope="session")
def number_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return number_model(tmp_path_factory.mktemp("judge") / "model")


@pytest.fixture(scope="session")
def server(number_base: Path):
    try:
        running = serve(number_base)
        found = running.__enter__()
    except UserError as error:
        pytest.skip(f"no OpenAI-compatible server: {error}")
    yield found
    running.__exit__(None, None, None)


@pytest.fixture
def key(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(KEY, server.key)
    return server.key


def settings(base_url, **more):
    return Settings(
        source="remote", model=f"openai/{NAME}", base_url=base_url, key_env=KEY,
        **{"max_connections": CONNECTIONS, "timeout_s": PATIENCE} | more,
    )  # fmt: skip


def some_items(count, word="r"):
    return [Item("aligned", "q", f"{word}{k}", f"Rate {word} {k}.") for k in range(count)]


def ask(judge, items):
    return [reply for replies in judge.ask(items) for reply in replies]


@pytest.fixture
def study(tmp_path):
    """Makes a study with so many judgements of a remote judge to make, as its earlier stages leave it."""

    def make(base_url, judgements, **judge):
        rubrics = tmp_path / "rubrics.yaml"
        rubrics.write_text(yaml.safe_dump(RUBRICS))
        raw = yaml.safe_load(SMOKE.read_text())
        del raw["semantic"], raw["adapters"]  # they need more metrics
        raw["judge"] = settings(base_url, rubrics={"path": str(rubrics)}, **judge).model_dump(mode="json")
        found = parse(raw, "study.yaml")
        layout = Layout(tmp_path / "results" / "remote")
        write_json(layout.study, resolved(found))
        subjects = battery_subjects(found, "baseline")
        for place, subject in enumerate(subjects):
            rows = [
                {"response_key": f"{place} {k}", "condition": "none", "question_set": "evaluation",
                 "question_id": f"q{k % 8}", "system": None, "question": f"Q {k % 8}?", "sample": k // 8,
                 "response": f"{place} {k}", "tokens": 1, "finish_reason": "stop", "seed": k, "prompt_token_ids": []}
                for k in range(judgements // len(RUBRICS) // len(subjects))
            ]  # fmt: skip
            table = pa.Table.from_pylist(rows, SCHEMA)
            write_table(layout.responses(subject, "baseline"), table, provenance("responses", "{}"))
        return layout, subjects

    return make


def judging(layout, *options, key, **more):
    """The command line of a judging run, started in its own process."""
    command = [sys.executable, "-m", "workflow_scripts.judging", "--study", str(layout.study), "--battery", "baseline"]
    variables = environment() | ({KEY: key} if key else {})
    variables = {name: value for name, value in variables.items() if key or name != KEY}
    goal = options or ("--output", str(layout.judged("baseline")))
    return subprocess.Popen(
        [*command, *goal], env=variables | more, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def stored(layout):
    """Prompt hashes with their raw answers, as the store holds them."""
    with sqlite3.connect(layout.judgement_store) as database:
        rows = database.execute("select prompt_hash, raw from judgements").fetchall()
    return {prompt_hash: json.loads(raw) for prompt_hash, raw in rows}


def test_a_fifth_of_calls_broken_and_a_kill_half_way_lose_and_double_nothing(study, monkeypatch):
    monkeypatch.setenv(KEY, key := "sk-any")
    quick = Endpoint(lambda body, _: likely(body, whole_numbers(body)))  # a model would be too slow on a busy machine
    with (
        quick.running() as url,
        FaultProxy(int(url.split(":")[2].partition("/")[0]), share=0.2, patience=PATIENCE, seed=1).running() as proxy,
    ):
        layout, subjects = study(proxy.base_url, JUDGEMENTS)
        total = JUDGEMENTS

        process = judging(layout, key=key)
        while len(proxy.answered()) < total // 2:
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(0.5)
        kept, first = stored(layout), list(proxy.answered())
        assert len(first) == len(set(first)), "no call is repeated once it is answered"
        lost = len(first) - len(kept)
        assert 0 <= lost <= 2 * CONNECTIONS + OPENING, "a kill loses what was in flight"

        proxy.calls.clear()
        second = judging(layout, key=key)
        output, _ = second.communicate(timeout=600)
        assert second.returncode == 0, output
        again = proxy.answered()
        assert len(again) == len(set(again)) == total - len(kept)
        assert not {digest(prompt) for prompt, _ in proxy.calls} & set(kept), "no finished call is made again"
        assert set(proxy.outcomes()) - {GONE} == {ANSWERED, *FAULTS}
        outcomes = proxy.outcomes()
        broken = sum(outcomes[fault] for fault in FAULTS) / len(proxy.calls)
        assert 0.1 < broken < 0.3

        found = stored(layout)
        assert len(found) == total
        truth = {digest(prompt): proxy.top_logprobs(prompt) for prompt in proxy.truth}
        assert all(found[prompt_hash]["top"] == truth[prompt_hash] for prompt_hash in found)

        proxy.calls.clear()
        third = judging(layout, key=key)
        assert third.wait(timeout=120) == 0
        assert proxy.calls == []
        assert pq.read_table(layout.judged("baseline")).to_pylist()[0]["asked"] == 0

        target = layout.judgements(subjects[1], "baseline")
        command = [sys.executable, "-m", "workflow_scripts.judgements", "--study", str(layout.study), "--subject",
                   subjects[1], "--battery", "baseline", "--output", str(target)]  # fmt: skip
        subprocess.run(command, check=True, env=environment())
        rows = pq.read_table(target).to_pylist()
        assert len(rows) == total // len(subjects)

        for row in rows:
            top = truth[row["prompt_hash"]]
            numbers = [(int(t), math.exp(p)) for t, p in top if t.strip().isdecimal() and int(t) <= 100]
            score, mass = expectation(numbers, 0.25)
            assert row["numeric_mass"] == pytest.approx(mass)
            assert row["status"] == ("refused" if score is None else "scored")
            assert row["score"] == (score if score is None else pytest.approx(score))
        print(f"{total} judgements, {lost} in flight lost at the kill; second run: {dict(outcomes)}")


def test_the_servers_answers_are_those_of_the_model(server, number_base, key):
    from workflow_scripts.models.chat import prompt_ids
    from workflow_scripts.models.loading import load_model, load_tokenizer, next_token_logprobs

    items = some_items(8)
    replies = ask(opened(settings(server.base_url)), items)
    assert {reply.item for reply in replies} == set(items)
    tokenizer, model = load_tokenizer(number_base), load_model(number_base, "float32")
    rows = next_token_logprobs(model, [prompt_ids(tokenizer, reply.item.prompt) for reply in replies])
    for reply, row in zip(replies, rows, strict=True):
        expected = row.topk(20).values.tolist()
        assert [logprob for _, logprob in reply.raw["top"]] == pytest.approx(expected, abs=1e-3)
        assert reply.raw["model"] == NAME


@pytest.mark.parametrize("fault", FAULTS)
def test_a_call_that_stays_broken_is_failed_and_never_a_refusal(server, key, fault):
    with FaultProxy(server.port, limit=3, after_limit=fault).running() as proxy:
        judge = opened(settings(proxy.base_url, attempts=2, timeout_s=1.0))
        replies = ask(judge, some_items(5))
    assert sorted(reply.state for reply in replies) == ["answered"] * 3 + ["failed"] * 2
    assert all(reply.raw is None for reply in replies if reply.state == "failed")
    assert proxy.outcomes() == {ANSWERED: 3, fault: 4}, "two tries each, no more"


def test_retry_after_is_waited_for(server, key):
    with FaultProxy(server.port, limit=0, after_limit="429 with Retry-After").running() as proxy:
        start = time.monotonic()
        with pytest.raises(UserError, match="none of 1 first calls was answered, at last: too many calls"):
            ask(opened(settings(proxy.base_url, attempts=4)), some_items(1))
    assert time.monotonic() - start >= 0.6  # three waits of 0.2 seconds


def test_a_run_stops_when_the_endpoint_goes_down(server, key):
    with FaultProxy(server.port, limit=5, after_limit="500").running() as proxy:
        judge = opened(settings(proxy.base_url, attempts=1))
        replies = []
        with pytest.raises(UserError, match="50 calls in a row failed, the last with: status 500"):
            replies.extend(reply for batch in judge.ask(some_items(500)) for reply in batch)
    assert len(proxy.calls) < 150
    assert [reply.state for reply in replies].count("answered") == proxy.outcomes()[ANSWERED]


def fails(judge, count=5):
    with pytest.raises(UserError) as caught:
        ask(judge, some_items(count))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_wrong_settings_are_one_sentence_each_after_a_few_calls(server, key, monkeypatch):
    with FaultProxy(server.port).running() as proxy:
        sentence = fails(opened(replace_model(settings(proxy.base_url), "openai/tiny-jugde")), 2000)
        assert "judge.model: " in sentence
        assert "has no 'tiny-jugde'" in sentence
        monkeypatch.setenv(KEY, "sk-wrong-4711")
        sentence = fails(opened(settings(proxy.base_url)), 2000)
        assert f"refuses the key in {KEY}" in sentence
        assert "4711" not in sentence
        assert len(proxy.calls) <= 6
    monkeypatch.setenv(KEY, key)
    with FaultProxy(server.port, share=1.0, faults=("empty logprobs",)).running() as proxy:
        sentence = fails(opened(settings(proxy.base_url)), 2000)
        assert "answers without log-probabilities" in sentence
        assert len(proxy.calls) <= 6
    sentence = fails(opened(settings("http://127.0.0.1:9/v1", attempts=2)))
    assert "none of 3 first calls was answered, at last: Connection error." in sentence
    monkeypatch.delenv(KEY)
    assert fails(opened(settings(server.base_url))) == (
        f"judge.key_env: the environment variable {KEY} is not set; export it with your key and run again."
    )
    monkeypatch.setenv(KEY, "sk abc")
    with pytest.raises(UserError, match="holds characters that no key has"):
        read_key(KEY)


def replace_model(found, model):
    return found.model_copy(update={"model": model})


def test_the_key_is_in_no_log_artefact_error_or_process_list(server, study, key):
    with FaultProxy(server.port, share=0.3, seed=3).running() as proxy:
        layout, _ = study(proxy.base_url, 50, timeout_s=0.5)
        process = judging(layout, "--debug", "--output", str(layout.judged("baseline")), key=key, EM_LOG_LEVEL="DEBUG")
        listed = []
        while process.poll() is None:
            found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True)
            listed.append(found.stdout)
            time.sleep(0.1)
            if len(listed) > 20:
                break
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
        assert key not in output
        assert not any(key in found for found in listed)
        files = [file for file in layout.root.parent.rglob("*") if file.is_file()]
        assert files
        assert not [file for file in files if key.encode() in file.read_bytes()]

        wrong = f"{key}-but-wrong"
        layout, _ = study(proxy.base_url, 60)
        process = judging(
            layout, "--debug", "--output", str(layout.judged("baseline")), key=wrong, EM_LOG_LEVEL="DEBUG"
        )
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 1
        assert "refuses the key" in output
        assert key not in output


def test_a_dry_run_counts_and_a_budget_stops_before_the_first_call(server, study, key):
    prices = {"input_per_million": 1000.0}
    with FaultProxy(server.port).running() as proxy:
        layout, _ = study(proxy.base_url, calls := 100, prices=prices, budget_usd=0.01)
        dry = judging(layout, "--dry", key=None)
        output, _ = dry.communicate(timeout=120)
        assert dry.returncode == 0, output
        assert f"baseline: {calls} of {calls} judgements are missing: {calls} calls, " in output
        assert re.search(r"prompt tokens \(by 4 characters each\), 1\.\d\d USD", output)
        stopped = judging(layout, key=key)
        output, _ = stopped.communicate(timeout=120)
        assert stopped.returncode == 1
        assert "are more than the budget of 0.01 USD; nothing was spent" in output
        assert proxy.calls == []


def test_the_estimate_is_tokens_times_prices():
    judge = settings("http://127.0.0.1:1/v1", prices={"input_per_million": 2.5, "output_per_million": 10.0})
    found = estimate(judge, [Item("aligned", "q", "r", "x" * 4000)] * 1000)
    assert (found.calls, found.prompt_tokens) == (1000, 1_007_000)
    assert found.usd == pytest.approx(1.007 * 2.5 + 0.001 * 10)
    check_budget(judge.model_copy(update={"budget_usd": 3.0}), found)
    with pytest.raises(UserError, match=r"1,000 calls, 1,007,000 prompt tokens .*2.53 USD are more than"):
        check_budget(judge.model_copy(update={"budget_usd": 2.0}), found)
    assert estimate(judge.model_copy(update={"prices": None}), []).usd is None


def test_digits_instead_of_numbers_are_told_apart():
    digits = {"top": [[str(n), -2.3] for n in range(10)] + [["a", -9.0]]}
    numbers = {"top": [[str(n), -2.3] for n in (*range(9), 10)]}
    assert splits_digits(digits)
    assert not splits_digits(numbers)
    assert not splits_digits({"top": [["0", -0.01], ["REF", -5.0]]})


def test_the_pace_halves_on_complaints_and_recovers():
    async def run():
        pace = Pace(8)
        pace.too_many()
        assert pace.limit == 5
        pace.too_many()
        assert pace.limit == 5, "complaints about the same calls count once"
        inside = most = 0

        async def call():
            nonlocal inside, most
            async with pace.slot():
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0.001)
                inside -= 1

        await asyncio.gather(*(call() for _ in range(40)))
        assert most == 5
        for _ in range(60):
            pace.went_well()
        assert pace.limit == 8

    asyncio.run(run())


def test_an_interrupted_consumer_stops_the_calls(server, key):
    with FaultProxy(server.port).running() as proxy:
        replies = opened(settings(proxy.base_url)).ask(some_items(2000, "stop"))
        next(replies)
        replies.close()
        seen = len(proxy.calls)
        time.sleep(0.5)
        assert len(proxy.calls) - seen <= CONNECTIONS
        assert len(proxy.calls) < 1000


def test_the_store_is_shared_by_the_judges_of_two_names(tmp_path, server, key):
    judge = opened(settings(server.base_url))
    other = opened(replace_model(settings(server.base_url), "openai/other"))
    assert judge.identity.name == f"openai/{NAME}@{server.base_url}" != other.identity.name
    store = JudgementStore(tmp_path / "judgements.sqlite")
    items = some_items(3)
    for batch in judge.ask(items):
        store.add(judge.identity.name, batch)
    assert store.missing(judge.identity.name, items) == []
    assert store.missing(other.identity.name, items) == items


def batches(front, store, size=50, **more):
    chosen = settings(front.base_url, batch=size, **more)
    return BatchJudge(endpoint(chosen, RUBRICS), chosen, store)


@pytest.fixture
def store(tmp_path):
    return JudgementStore(tmp_path / "judgements.sqlite")


@pytest.fixture
def front(server, key):
    with BatchFront(server.base_url).running() as running:
        yield running


def states(replies):
    return {reply.item.response: reply.state for reply in replies}


def test_judgements_of_batches_equal_those_of_direct_calls(server, front, store):
    items = some_items(43)
    direct = {reply.item: reply.raw for reply in ask(opened(settings(server.base_url)), items)}
    batched = {reply.item: reply.raw for reply in ask(batches(front, store, size=30), items)}
    assert batched.keys() == direct.keys() == set(items)
    assert sorted(front.direct) == sorted(item.prompt for item in items[:OPENING]), "in any order, they go side by side"
    assert front.made == [[item.prompt for item in items[3:33]], [item.prompt for item in items[33:]]]
    for item in items:
        assert batched[item]["model"] == direct[item]["model"] == NAME
        expected = dict(direct[item]["top"])
        assert dict(batched[item]["top"]) == pytest.approx(expected, abs=1e-4)


def test_a_failed_line_of_a_batch_is_failed_and_asked_again_by_the_next_run(front, store):
    items = some_items(20)
    faults = ("server error", "bad request", "expired", "no logprobs", "no line")
    front.broken = {items[4 + k].prompt: fault for k, fault in enumerate((*faults, "filtered"))}
    judge = batches(front, store)
    for replies in judge.ask(items):
        store.add(judge.identity.name, replies)
    lost = items[4:9]
    assert store.missing(judge.identity.name, items) == lost
    assert store.ordered(judge.identity.name, items) == {}
    assert store.get(judge.identity.name, [items[9]])[items[9]] == {
        "top": [],
        "model": "",
        "stop_reason": "content_filter",
    }
    front.broken = {}
    again = ask(judge, store.missing(judge.identity.name, items))
    assert states(again) == {item.response: "answered" for item in lost}
    assert sorted(front.direct[OPENING:] + front.made[1]) == sorted(item.prompt for item in lost)


def test_a_run_killed_while_it_waits_is_followed_by_one_that_takes_the_same_batch(front, study, key):
    front.open.clear()
    layout, _ = study(front.base_url, 60, batch=200, prices={"input_per_million": 1000.0}, budget_usd=0.8)
    first = judging(layout, key=key)
    wait_for(lambda: front.made or first.poll() is not None)
    time.sleep(1)
    first.kill()
    output = first.communicate()[0]
    assert len(stored(layout)) == OPENING, output
    dry, _ = judging(layout, "--dry", key=None).communicate(timeout=120)
    assert "57 of 60 judgements are missing, 57 of them ordered already: 0 calls, " in dry
    front.open.set()
    second = judging(layout, key=key)
    output, _ = second.communicate(timeout=300)
    assert second.returncode == 0, output
    assert key not in output
    assert len(stored(layout)) == 60
    assert [len(prompts) for prompts in front.made] == [57]
    assert len(front.direct) == OPENING


def test_a_batch_that_is_not_at_the_endpoint_is_failed_and_ordered_anew_later(front, store):
    items, judge = some_items(6), batches(front, store)
    store.order(judge.identity.name, "file-lost", items[:2])
    for replies in judge.ask(items):
        store.add(judge.identity.name, replies)
    assert store.missing(judge.identity.name, items) == items[:2]
    assert states(ask(judge, items[:2])) == {"r0": "answered", "r1": "answered"}


def test_looks_at_a_batch_that_fail_do_not_end_the_wait(front, store):
    front.busy = 2
    replies = ask(batches(front, store, attempts=1), some_items(5))
    assert set(states(replies).values()) == {"answered"}
    assert front.busy == 0


def test_an_endpoint_without_batches_is_told_before_anything_is_spent(server, store, key):
    with FaultProxy(server.port).running() as proxy:
        sentence = fails(batches(proxy, store))
        assert sentence.startswith(f"judge.batch: {proxy.base_url} has no batch mode (")
        assert sentence.endswith("leave it out, and calls are made one by one. Nothing was spent.")
        assert [request.split()[0] for request, _ in proxy.calls] == ["GET"]


def test_what_stops_batches_is_one_sentence_and_leaves_nothing_ordered(front, store, key, monkeypatch):
    def fails_at_once(**more):
        judge = batches(front, store, **more)
        with pytest.raises(UserError) as caught:
            for replies in judge.ask(some_items(20)):
                store.add(judge.identity.name, replies)
        assert store.ordered(judge.identity.name, some_items(20)) == {}
        assert key not in str(caught.value)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    monkeypatch.setenv(KEY, "sk-wrong-4711")
    assert f"refuses the key in {KEY}" in fails_at_once()
    assert not front.direct
    monkeypatch.setenv(KEY, key)
    front.refuse = 400
    assert "the endpoint rejects the call with status 400 (Not now.)" in fails_at_once()
    front.refuse, front.reject = None, "Enqueued token limit reached."
    sentence = "the batch was rejected (Enqueued token limit reached.; judge.batch makes smaller ones)"
    assert sentence in fails_at_once(size=5)
    assert [len(prompts) for prompts in front.made] == [5], "no further batch is tried"
    front.reject = None
    front.broken = dict.fromkeys((item.prompt for item in some_items(20)), "server error")
    assert "not one of 17 calls of batch batch_1 was answered: status 500 (Oops.)." in fails_at_once()
    front.broken, front.gone = {}, True
    assert "not one of 17 calls of batch batch_2 was answered: the batch completed without them." in fails_at_once()
    front.broken, front.gone = {some_items(20)[7].prompt: "no quota"}, False
    assert "has no quota left (Pay.); add credit and run again." in fails_at_once()
    assert store.missing(batches(front, store).identity.name, some_items(20)) == [some_items(20)[7]]


def test_a_batch_that_may_have_been_made_is_looked_for_by_the_next_run(front, store):
    items = some_items(8)
    front.refuse = 502
    judge = batches(front, store)
    with pytest.raises(UserError, match="status 502"):
        for replies in judge.ask(items):
            store.add(judge.identity.name, replies)
    assert set(store.ordered(judge.identity.name, items)) == set(items[OPENING:])


def test_batches_cost_what_the_prices_say():
    prices = {"input_per_million": 2.5, "output_per_million": 10.0}
    items = [Item("aligned", "q", "r", "x" * 4000)] * 1000
    direct = estimate(settings("http://127.0.0.1:1/v1", prices=prices), items)
    half = estimate(settings("http://127.0.0.1:1/v1", batch=1000, prices=prices), items)
    fifth = estimate(settings("http://127.0.0.1:1/v1", batch=1000, prices=prices | {"batch_discount": 0.8}), items)
    assert half.usd == pytest.approx(direct.usd / 2)
    assert fifth.usd == pytest.approx(direct.usd / 5)
    assert str(half).endswith("1.26 USD in batches at 50% off")
    check_budget(settings("http://127.0.0.1:1/v1", batch=1000, prices=prices, budget_usd=1.3), half)
    with pytest.raises(UserError, match=r"1.26 USD in batches at 50% off are more than the budget of 1.00 USD"):
        check_budget(settings("http://127.0.0.1:1/v1", batch=1000, prices=prices, budget_usd=1.0), half)
