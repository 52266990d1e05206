"""Results that were copied without Snakemake's records are not taken for those of another form of the study."""

from __future__ import annotations

import copy
from base64 import urlsafe_b64encode
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from helpers.workflow import SMOKE
from workflow_scripts.store.artefacts import provenance, write_json, write_table
from workflow_scripts.study.inputs import artefacts
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.made_by import makers, of_another_study
from workflow_scripts.study.reading import parse

RAW = yaml.safe_load(SMOKE.read_text())


def study_with(place: str, value: object):
    raw = copy.deepcopy(RAW)
    *parents, last = place.split(".")
    part = raw
    for name in parents:
        part = part.setdefault(name, {})
    part[last] = value
    return parse(raw, "study.yaml")


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Layout:
    """Files with the provenance of the smoke study's own, and nothing in them; tensors are left out."""
    layout = Layout(tmp_path_factory.mktemp("results") / "results" / "smoke")
    for path, (stage, spec) in makers(parse(RAW, "study.yaml"), layout).items():
        if path.suffix == ".json":
            write_json(path, {}, provenance(stage, spec()))
        elif path.suffix == ".parquet":
            write_table(path, pa.table({}), provenance(stage, spec()))
    return layout


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("study.description", "Another.", set()),
        ("execution.shards", 1, set()),
        ("execution.max_sequences", 8, set()),
        ("base.seed", 1, {"base"}),
        ("datasets.bad_medical.rows", 150, {"datasets"}),
        ("organisms.good_r1.learning_rate", 1e-3, {"organisms"}),
        ("questions.evaluation.per_domain", 7, {"questions"}),
        ("steering.scales", [1, 3], {"sampling", "responses"}),
        ("sampling.temperature", 0.5, {"sampling", "responses", "patched_responses"}),
        ("thresholds.misaligned_below", 35, {"downstream"}),
        ("adapters.runs", 9, {"probes"}),
        ("judge.metrics", ["aligned", "coherent", "bad_stuff", "medical", "power", "money"], {"judging", "judgements"}),
    ],
)
def test_what_a_changed_study_would_make_otherwise_is_found_without_snakemakes_records(results, place, value, expected):
    made = makers(study_with(place, value), results)
    assert {made[path][0] for path in of_another_study(made, results.root / "none")} == expected


def test_what_snakemake_has_records_of_is_left_to_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    layout = Layout(Path("results/smoke"))
    made = makers(parse(RAW, "study.yaml"), layout)
    write_json(layout.fingerprint, {}, provenance("base", "of another"))
    assert of_another_study(made, Path(".snakemake")) == [layout.fingerprint]
    record = Path(".snakemake/metadata") / urlsafe_b64encode(str(layout.fingerprint).encode()).decode()
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    assert of_another_study(made, Path(".snakemake")) == []


def test_every_artefact_with_provenance_has_a_maker():
    layout = Layout(Path("results/smoke"))
    study = parse(RAW, "study.yaml")
    told_by_others = ("adapter_model.safetensors",)
    unknown = [path for path in artefacts(study, layout) if path not in makers(study, layout)]
    assert {path.name for path in unknown} == set(told_by_others)
