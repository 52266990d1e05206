"""What the number of cores and GPUs changes of a run: how many jobs run at once, and nothing of a small model's jobs."""

import os

import pytest
import yaml

from helpers.workflow import SMOKE, Run


@pytest.mark.parametrize("cores", [1, 2, 8])
def test_every_job_of_a_small_model_has_one_thread_but_pretraining_two_on_any_number_of_cores(tmp_path, cores):
    jobs = Run(tmp_path, yaml.safe_load(SMOKE.read_text())).dag(cores).jobs
    asked = {job.rule.name: job.threads for job in jobs if job.threads != 1}
    assert asked == ({} if cores == 1 else {"base": 2}), "on one core Snakemake reserves what there is"


def test_the_jobs_of_a_model_that_memory_holds_once_have_all_cores(tmp_path):
    study = yaml.safe_load(SMOKE.read_text())
    study["base"] = {"source": "hub", "id": "someone/large", "revision": "0" * 40, "layers": 4, "weights_gb": 1000}
    jobs = list(Run(tmp_path, study).dag(8).jobs)
    for rule in ("organisms", "sampling", "directions"):
        assert {job.threads for job in jobs if job.rule.name == rule} == {8}, rule


def test_a_plain_run_knows_how_many_gpus_the_machine_has(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 0\necho 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)  # `make test` empties it on a machine without a GPU
    study = yaml.safe_load(SMOKE.read_text())
    study["base"] = {"source": "hub", "id": "someone/large", "revision": "0" * 40, "layers": 4, "weights_gb": 1000}

    def found(cores, **given):
        dag = Run(tmp_path, study).dag(cores, **given)
        threads = {job.threads for job in dag.jobs if job.rule.name in ("organisms", "sampling", "directions")}
        return dag.workflow.global_resources.get("gpu").value, threads

    assert found(8) == (2, {3})
    assert found(8, resources={"gpu": 1}) == (1, {7}), "--resources wins"
    assert found(None, nodes=100) == (None, {8}), "a run that sends its jobs to a cluster counts no GPUs of its own"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert found(8) == (None, {8})
