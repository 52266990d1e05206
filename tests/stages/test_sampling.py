"""A sampling run records which engine made its responses, beside them in the store and in its manifest."""

from __future__ import annotations

import json
import shutil

import pyarrow as pa
import yaml

from helpers.workflow import SMOKE, write_study
from workflow_scripts import sampling
from workflow_scripts.engines.interface import Request, Sampled
from workflow_scripts.engines.plan import PlannedCondition
from workflow_scripts.models.files import fingerprint
from workflow_scripts.questions import SCHEMA as QUESTIONS
from workflow_scripts.store.artefacts import provenance, table_metadata, write_json, write_table
from workflow_scripts.store.responses import Wanted
from workflow_scripts.study.conditions import Condition, Edit
from workflow_scripts.study.layout import CHAT_BASE, Layout
from workflow_scripts.study.reading import load


def test_the_engine_is_recorded_with_responses_and_run(tiny_base, tmp_path, monkeypatch):
    raw = yaml.safe_load(SMOKE.read_text())
    raw["sampling"] |= {"samples": 1, "max_tokens": 4}
    raw["execution"] |= {"engine": "transformers"}
    file = write_study(tmp_path, raw)
    study, layout = load(file), Layout.of(file)
    shutil.copytree(tiny_base, layout.base)
    write_json(layout.fingerprint, fingerprint(layout.base))
    for name in study.questions:
        rows = [{"question_id": name, "question": f"Question about {name}?"}]
        write_table(layout.questions(name), pa.Table.from_pylist(rows, QUESTIONS), provenance("questions", "{}"))
    everything = sampling.dealt
    of_base = lambda *given: [[pair for pair in part if pair[0] == CHAT_BASE] for part in everything(*given)]  # noqa: E731
    monkeypatch.setattr(sampling, "dealt", of_base)
    said = []
    for run in ("first", "again"):
        output = tmp_path / f"{run}.parquet"
        sampling.main(["--study", str(file), "--battery", "baseline", "--output", str(output)])
        said.append(json.loads(table_metadata(output)["engine"]))
    assert said[0]["engine"] == "transformers"
    assert set(said[0]) == {"engine", "version"}
    assert said[1] == {}, "no engine starts when nothing is missing"
    parts = list((layout.store / "responses").rglob("*.parquet"))
    assert parts
    assert all(json.loads(table_metadata(part)["engine"]) == said[0] for part in parts)


def gap(subject, name="none", edit=False, missing=2):
    condition = Condition(name, edit=Edit("projected") if edit else None)
    rows = [Wanted("q", None, "Why?", sample, sample) for sample in range(missing)]
    return sampling.Gap(subject, PlannedCondition(condition, f"{subject} {name}", 0), missing, rows)


def test_conditions_that_share_what_is_served_are_one_batch():
    steering = [gap(CHAT_BASE, name) for name in "abc"]
    organisms = [gap(f"o{seed}", name) for seed in range(3) for name in ("none", "project")]
    surgery = [gap("o2", name, edit=True) for name in ("x", "y", "z")]
    found = [*steering, *organisms, *surgery]

    def sizes(at_once):
        made = sampling.batches(found, at_once)
        assert [one for batch in made for one in batch] == found
        return [len(batch) for batch in made]

    assert sizes(1) == [3, 2, 2, 2, 1, 1, 1], "each adapter by itself, not among rows of the plain base"
    assert sizes(2) == [3 + 2 + 2, 2 + 1, 1 + 1]
    assert sizes(8) == [len(found)]


class Slow:
    """An engine whose responses are finished in another order than they were asked for, ten seconds apart."""

    def __init__(self, clock):
        self.clock = clock

    def sample(self, requests, settings):
        for place in sorted(range(len(requests)), key=lambda place: (place % 2, place)):
            self.clock[0] += 10
            yield place, Sampled(f"{requests[place].seed}", (1, 2), "stop")


def test_a_condition_is_stored_when_it_is_complete_and_what_else_is_finished_once_a_minute(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(sampling.time, "monotonic", lambda: clock[0])
    gaps = [gap(CHAT_BASE, "short", missing=1), gap(CHAT_BASE, "long", missing=12), gap("o0", "last", missing=1)]
    asked = [sampling.Asked(one, row, Request((5, 6), row.seed)) for one in gaps for row in one.missing]
    stored = [
        (one.planned.condition.name, [row["seed"] for row in rows], clock[0])
        for one, rows in sampling.finished(Slow(clock), asked, None)
    ]
    assert stored == [
        ("short", [0], 10),
        ("long", [1, 3, 5, 7, 9, 11], 70),
        ("long", [0, 2, 4, 6, 8, 10], 130),
        ("last", [0], 140),
    ]
