"""A sampling run records which engine made its responses, beside them in the store and in its manifest."""

from __future__ import annotations

import json
import shutil

import pyarrow as pa
import yaml

from helpers.workflow import SMOKE, write_study
from workflow_scripts import sampling
from workflow_scripts.models.files import fingerprint
from workflow_scripts.questions import SCHEMA as QUESTIONS
from workflow_scripts.store.artefacts import provenance, table_metadata, write_json, write_table
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
