"""Judgements are bought once, whoever asks for them at the same time, and within the study's budget, retries included."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from helpers.studies import optional_sections
from helpers.workflow import SMOKE
from workflow_scripts.judges import run as judge_run
from workflow_scripts.judges.bill import Bill
from workflow_scripts.judges.interface import Item, Reply
from workflow_scripts.judges.remote import EndpointJudge
from workflow_scripts.judges.run import ask_missing
from workflow_scripts.judges.store import JudgementStore
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.runtime.locks import exclusive
from workflow_scripts.study.reading import parse

STUDY = parse(yaml.safe_load(SMOKE.read_text()), "study.yaml")
PRICES = {"input_per_million": 1_000_000.0}


def items(*numbers: int) -> list[Item]:
    return [Item("aligned", "q", f"r{k}", f"prompt {k}") for k in numbers]


class SlowJudge:
    """Answers one call after another and counts them."""

    identity = SimpleNamespace(name="judge")

    def __init__(self, bought: list[Item], fails: int = 0) -> None:
        self.bought, self.fails = bought, fails

    def ask(self, asked: Sequence[Item]) -> Iterator[list[Reply]]:
        for item in asked:
            time.sleep(0.01)
            self.bought.append(item)
            failed = self.fails > 0
            self.fails -= 1
            yield [Reply(item, None, "failed") if failed else Reply(item, {"exact": 1.0}, "answered")]

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(judge_run, "LOOK_SECONDS", 0.02)


def at_once(file: Path, wanted: Sequence[list[Item]], judges: Sequence[SlowJudge]) -> list[int | str]:
    """Runs of several studies or batteries on one store; what each has asked for, or why it failed."""
    outcomes: list[int | str] = [""] * len(wanted)

    def work(index: int) -> None:
        store = JudgementStore(file)
        try:
            outcomes[index] = ask_missing(STUDY, judges[index], store, wanted[index], f"run {index}", "smoke")
        except UserError as error:
            outcomes[index] = str(error)
        store.close()

    threads = [threading.Thread(target=work, args=[index]) for index in range(len(wanted))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return outcomes


def test_what_two_runs_want_is_bought_once(tmp_path):
    bought: list[Item] = []
    wanted = [items(*range(40)), items(*range(20, 60)), items(*range(60))]
    outcomes = at_once(tmp_path / "judgements.sqlite", wanted, [SlowJudge(bought) for _ in wanted])
    assert sorted(item.response for item in bought) == sorted(item.response for item in items(*range(60)))
    assert sum(outcomes) == 60
    store = JudgementStore(tmp_path / "judgements.sqlite")
    assert store.missing("judge", items(*range(60))) == []
    assert list(store.claims.iterdir()) == []


def test_what_another_run_failed_to_get_is_asked_for_by_the_one_that_waited(tmp_path):
    bought: list[Item] = []
    judges = [SlowJudge(bought, fails=3), SlowJudge(bought, fails=0)]
    outcomes = at_once(tmp_path / "judgements.sqlite", [items(*range(20))] * 2, judges)
    assert JudgementStore(tmp_path / "judgements.sqlite").missing("judge", items(*range(20))) == []
    assert len(bought) == 23 or outcomes[1] == 20  # the second began first


def test_claims_of_a_run_that_died_are_nobodys(tmp_path):
    store = JudgementStore(tmp_path / "judgements.sqlite")
    assert store.claim("judge", items(1, 2), "dead") == {}
    with exclusive(store.claims / "alive"):
        assert store.claim("judge", items(2, 3), "alive") == {}
        assert store.claim("judge", items(1, 2, 3, 4), "own") == dict.fromkeys(items(2, 3), "alive")
    assert store.claim("judge", items(2), "own") == {}


class Billed(EndpointJudge):
    """An endpoint that bills three tries for each answer."""

    def ask(self, asked: Sequence[Item]) -> Iterator[list[Reply]]:
        for item in asked:
            for _ in range(3):
                self.bill.add(item.prompt, 1, 0)
            yield [Reply(item, {"exact": 1.0}, "answered")]


def remote(budget: float | None) -> tuple[object, Billed]:
    raw = yaml.safe_load(SMOKE.read_text())
    raw["judge"] = {"source": "remote", "model": "openai/x", "metrics": ["aligned", "coherent"], "prices": PRICES}
    raw["judge"] |= {"base_url": "http://127.0.0.1:1/v1"} | ({"budget_usd": budget} if budget else {})
    for section in optional_sections("misalign_at"):
        raw.pop(section, None)
    study = parse(raw, "study.yaml")
    return study, Billed(SimpleNamespace(name="judge"), study.judge)


def test_a_study_spends_no_more_than_its_budget_over_all_runs_and_tries(tmp_path):
    store = JudgementStore(tmp_path / "judgements.sqlite")
    study, judge = remote(None)
    assert ask_missing(study, judge, store, items(1, 2), "first", "smoke") == 2
    assert (store.spent("smoke").calls, store.spent("smoke").usd) == (6, 6.0)
    assert store.spent("another").calls == 0
    estimate = 2 + 7  # characters over four, and what a call adds
    study, judge = remote(6.0 + estimate - 1)
    with pytest.raises(UserError, match=r"beside the 6\.00 USD that this study has spent, are more than the budget"):
        ask_missing(study, judge, store, items(3), "more", "smoke")
    study, judge = remote(6.0 + 10 * estimate)
    assert ask_missing(study, judge, store, items(3), "more", "smoke") == 1
    assert store.spent("smoke").usd == 9.0


def test_a_run_stops_midway_when_tries_that_fail_cost_more_than_the_budget(tmp_path, monkeypatch):
    store = JudgementStore(tmp_path / "judgements.sqlite")
    study, judge = remote(200.0)
    monkeypatch.setattr(judge_run, "check_budget", lambda *_: None)
    with pytest.raises(UserError, match=r"this study has spent 201\.00 USD, tries that failed included, more than"):
        ask_missing(study, judge, store, items(*range(100)), "all", "smoke")
    assert store.count() == 67
    assert store.spent("smoke").usd == 201.0
    assert Bill(study.judge).take().calls == 0
