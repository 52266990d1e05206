"""Raw replies that no judge can give: never believed, never stored, and asked for again where they are stored."""

from __future__ import annotations

import math

import pytest
import yaml

from helpers.workflow import SMOKE
from workflow_scripts.judges.identity import JudgeIdentity
from workflow_scripts.judges.interface import Item, Reply
from workflow_scripts.judges.parsing import parse, unsound
from workflow_scripts.judges.run import ask_missing
from workflow_scripts.judges.store import JudgementStore
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.study.reading import parse as study_of

UNSOUND = [
    {}, [], "85", {"exact": math.nan}, {"exact": 101}, {"exact": -1}, {"exact": "85"}, {"exact": True}, {"texts": []},
    {"texts": "85"}, {"texts": [85]}, {"top": [["85", 1000]]}, {"top": [["85", 5.0]]}, {"top": [["85", math.nan]]},
    {"top": [["85", math.inf]]}, {"top": [["85", None]]}, {"top": [["85"]]}, {"top": "85"}, {"top": [[85, -1.0]]},
    {"top": [["85", 0.0]] * 20}, {"top": [], "numbers": {"85": 2.0}}, {"top": [], "numbers": {"85": math.nan}},
    {"top": [], "numbers": {"85": -0.5}}, {"top": [], "numbers": [85]},
]  # fmt: skip
SOUND = [
    {"exact": 0}, {"exact": 100.0}, {"texts": ["85"]}, {"top": []}, {"top": [["85", 0.0], ["x", -math.inf]]},
    {"top": [["85", 1e-4]]}, {"top": [["é", -3.0]], "numbers": {"85": 0.4, "90": 0.6}},
    {"top": [], "stop_reason": "content_filter", "model": "m"},
]  # fmt: skip


@pytest.mark.parametrize("raw", UNSOUND, ids=repr)
def test_an_unsound_reply_is_no_score_and_says_why(raw):
    assert unsound(raw)
    found = parse(raw, 0.25)
    assert (found.value, found.status) == (None, "failed")


@pytest.mark.parametrize("raw", SOUND, ids=repr)
def test_a_sound_one_is_read(raw):
    assert unsound(raw) is None
    assert parse(raw, 0.25).status in ("scored", "refused")


class Judge:
    """Answers everything with one raw reply."""

    identity = JudgeIdentity("some", ("aligned",))

    def __init__(self, raw):
        self.raw, self.asked = raw, []

    def ask(self, items):
        self.asked += items
        yield [Reply(item, self.raw, "answered") for item in items]

    def close(self):
        pass


@pytest.fixture
def study():
    return study_of(yaml.safe_load(SMOKE.read_text()), "study.yaml")


def test_stored_answers_that_are_poisoned_are_asked_for_again_and_no_others(study, tmp_path):
    items = [Item("aligned", "q", f"r{k}", f"p{k}") for k in range(4)]
    store = JudgementStore(tmp_path / "judgements.sqlite")
    told = [{"exact": 10.0}, {"top": [["85", 1000]]}, {"top": [["85", 0.0]] * 20}, {"exact": 20.0}]
    store.add("some", [Reply(item, raw, "answered") for item, raw in zip(items, told, strict=True)])
    judge = Judge({"exact": 50.0})
    assert ask_missing(study, judge, store, items, "baseline", "study") == 2
    assert judge.asked == items[1:3]
    assert [raw["exact"] for raw in store.get("some", items).values()] == [10.0, 50.0, 50.0, 20.0]


def test_what_no_judge_can_give_is_not_stored(study, tmp_path):
    items = [Item("aligned", "q", "r", "p")]
    store = JudgementStore(tmp_path / "judgements.sqlite")
    with pytest.raises(UserError, match="1 of 1 judgements failed"):
        ask_missing(study, Judge({"exact": math.nan}), store, items, "baseline", "study")
    assert store.count() == 0
