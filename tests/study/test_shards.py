"""Shards of a battery: every condition in one of them, nearly equal tokens in each, none without work."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from helpers.workflow import REPOSITORY, SMOKE, Run, write_study
from workflow_scripts.study import inputs, reading
from workflow_scripts.study.conditions import battery_subjects, conditions, sampled_batteries
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.shards import dealt, even_runs, expected_tokens

LAYOUT = Layout(REPOSITORY / "results" / "x")
BATTERIES = ("baseline", "steering", "semantic", "ablation", "surgery")


def study_at(file, shards=1):
    raw = copy.deepcopy(yaml.safe_load(file.read_text()))
    raw.setdefault("execution", {})["shards"] = shards
    return reading.parse(raw, file.name)


@pytest.fixture(scope="module")
def paper():
    return study_at(REPOSITORY / "studies" / "qwen2.5-14b.yaml")


def tokens(study, battery, shards):
    deal = dealt(study, battery, shards)
    return [sum(expected_tokens(study, battery, subject) for subject, _ in pairs) for pairs in deal]


@pytest.mark.parametrize("shards", [2, 3, 4, 6, 8, 16])
def test_steering_of_the_papers_size_splits_within_ten_per_cent(paper, shards):
    found = tokens(paper, "steering", shards)
    assert len(found) == shards
    assert max(found) < 1.1 * min(found)
    assert sum(map(len, dealt(paper, "steering", shards))) == 343


@pytest.mark.parametrize("battery", BATTERIES)
def test_of_four_shards_of_every_battery_none_is_much_longer_than_a_fourth(paper, battery):
    """Of the baseline, the organism whose scalars are read is a sixth by itself, beside the base: none is cut in two."""
    found = tokens(paper, battery, 4)
    assert len(found) == 4
    assert max(found) < 1.2 * sum(found) / 4
    assert battery == "baseline" or max(found) < 1.2 * min(found)


@pytest.mark.parametrize("shards", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize("battery", BATTERIES)
def test_every_condition_is_in_one_shard_in_order_and_no_shard_is_empty(battery, shards):
    study = study_at(SMOKE)
    whole = [(who, what) for who in battery_subjects(study, battery) for what in conditions(study, battery, who)]
    deal = dealt(study, battery, shards)
    assert [pair for pairs in deal for pair in pairs] == whole
    assert all(deal)
    assert len(deal) == min(shards, len(whole))


@pytest.mark.parametrize(
    ("weights", "most", "expected"),
    [
        ([1, 1, 1, 1, 1, 1, 1], 3, [2, 3, 2]),
        ([5, 5, 5, 5, 5, 5, 1], 3, [2, 2, 3]),
        ([100, 1, 1, 1], 2, [1, 3]),
        ([1, 1, 1, 100], 2, [3, 1]),
        ([100, 1], 4, [1, 1]),
        ([7], 3, [1]),
        ([], 3, []),
    ],
)
def test_a_run_ends_where_it_is_nearest_to_its_share(weights, most, expected):
    runs = even_runs(weights, most)
    assert [len(weights[run]) for run in runs] == expected


def test_a_shard_waits_only_for_what_its_own_conditions_need():
    whole, study = study_at(SMOKE), study_at(SMOKE, shards=3)
    for battery in sampled_batteries(study):
        shards = range(len(dealt(study, battery)))
        parts = [inputs.sampling_inputs(study, LAYOUT, battery, shard) for shard in shards]
        assert {file for part in parts for file in part} == set(inputs.sampling_inputs(whole, LAYOUT, battery, 0))
    for shard, pairs in enumerate(dealt(study, "ablation")):
        found = inputs.sampling_inputs(study, LAYOUT, "ablation", shard)
        sources = {condition.intervention.source for _, condition in pairs if condition.intervention}
        assert {file for file in found if "directions" in file.parts} == set(map(LAYOUT.direction, sources))


def test_no_job_is_made_for_a_shard_without_conditions():
    study = study_at(SMOKE, shards=1000)
    made = [file for file in inputs.artefacts(study, LAYOUT) if file.parent == LAYOUT.manifest("steering", 0).parent]
    assert len(made) == sum(len(dealt(study, battery)) for battery in sampled_batteries(study)) < 200


def test_a_shard_waits_for_what_its_own_job_samples(tmp_path):
    """A job reads study.json, whose keys are sorted; the workflow a file in which organisms may stand in any order."""
    raw = yaml.safe_load(SMOKE.read_text())
    raw["organisms"] = dict(sorted(raw["organisms"].items(), reverse=True))
    raw["execution"]["shards"] = 3
    study, layout = reading.load(write_study(tmp_path, raw)), Layout(Path("results") / "smoke")
    jobs = [job for job in Run(tmp_path, raw).dag().jobs if job.rule.name == "sampling"]
    assert len(jobs) > 10
    for job in jobs:
        battery, shard = job.wildcards.battery, int(job.wildcards.shard)
        needed = {str(path) for path in inputs.sampling_inputs(study, layout, battery, shard)}
        assert needed <= set(map(str, job.input)), (battery, shard)
