"""What the jobs of a study ask a cluster for, and which of them never go there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from snakemake_executor_plugin_slurm.utils import set_gres_string

from helpers.workflow import REPOSITORY, SMOKE, Run

PROFILE = REPOSITORY / "profiles" / "slurm" / "config.yaml"


def paper():
    raw = yaml.safe_load((REPOSITORY / "studies" / "qwen2.5-14b.yaml").read_text())
    raw["directions"] |= {"also": "datasets", "bad": "bad_medical", "good": "good_medical"}
    published = {"hub": "someone/adapter", "revision": "0" * 40}
    raw["organisms"]["published_r32"] = {"dataset": "bad_medical", "rank": 32, "adapter": published}
    return raw


def sent(folder: Path, raw, **given):
    """Jobs that go to a cluster, and the rules of the others."""
    dag = Run(folder, raw).dag(None, nodes=100, **given)
    local = dag.workflow._localrules
    jobs = [job for job in dag.jobs if not job.rule.norun]
    return [job for job in jobs if job.rule.name not in local], {job.rule.name for job in jobs} & local


def rules(jobs):
    return {job.rule.name for job in jobs}


@pytest.fixture(scope="module")
def of_the_paper(tmp_path_factory):
    return sent(tmp_path_factory.mktemp("cluster"), paper())


def test_every_job_that_goes_to_the_cluster_asks_for_memory_time_cores_and_a_gpu(of_the_paper):
    jobs, _ = of_the_paper
    for job in jobs:
        assert job.resources["mem_mb"] > 40_000, job
        assert job.resources["runtime"] >= 4 * 60, job
        assert job.resources["gpu"] == 1, job
        assert job.threads == 8, job


def test_downloads_the_remote_judge_and_short_jobs_stay_beside_snakemake(of_the_paper, tmp_path):
    jobs, local = of_the_paper
    assert not rules(jobs) & local
    assert {"base", "datasets", "questions", "published_adapters", "judging", "probes", "tables", "report"} <= local
    raw = paper() | {"base": {"source": "folder", "path": str(tmp_path)}}
    raw["judge"] = {"source": "local", "metrics": raw["judge"]["metrics"]}
    (tmp_path / "config.json").write_text('{"num_hidden_layers": 48}')
    assert rules(sent(tmp_path, raw)[0]) == rules(jobs) | {"base", "judging"}


def test_the_profile_names_the_rules_that_go_to_the_cluster(of_the_paper):
    named = re.search(r"To the cluster go (.*?)\. Memory", PROFILE.read_text(), re.S)[1].replace("\n#", "")
    before, _, conditional = named.partition(", judging")
    # of sections that the paper's study does not have
    elsewhere = {"base_means", "trait_directions", "trained_vectors", "adapter_losses"}
    assert set(re.findall(r"\w+", before)) - {"and"} == rules(of_the_paper[0]) | elsewhere
    assert {"base"} <= set(re.findall(r"\w+", conditional))


@pytest.mark.parametrize(
    "given",
    [
        {"overwrite_resources": {"sampling": {"gres": "gpu:a100:1"}}},
        {"default_resources": {"gres": "gpu:a100:1", "mem_mb": 2000}},
    ],
    ids=["of a rule", "of all"],
)
def test_a_site_that_asks_by_gres_does_not_ask_by_gpu_as_well(tmp_path, given):
    jobs, _ = sent(tmp_path, yaml.safe_load(SMOKE.read_text()), **given)
    by_gres = [job for job in jobs if job.resources.get("gres")]
    assert "sampling" in rules(by_gres)
    assert {set_gres_string(job) for job in by_gres} == {" --gres=gpu:a100:1"}
    assert {set_gres_string(job) for job in jobs if job not in by_gres} <= {"", " --gpus=1"}
