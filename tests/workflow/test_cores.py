"""What the number of cores changes of a run: how many jobs run at once, and nothing of a small model's jobs."""

import pytest
import yaml

from helpers.workflow import SMOKE, Run


@pytest.mark.parametrize("cores", [1, 2, 8])
def test_every_job_of_a_small_model_has_one_thread_on_any_number_of_cores(tmp_path, cores):
    jobs = Run(tmp_path, yaml.safe_load(SMOKE.read_text())).dag(cores).jobs
    assert {job.rule.name: job.threads for job in jobs if job.threads != 1} == {}


def test_the_jobs_of_a_large_model_have_all_cores(tmp_path):
    study = yaml.safe_load(SMOKE.read_text())
    study["base"] = {"source": "hub", "id": "someone/large", "revision": "0" * 40, "layers": 4, "weights_gb": 1}
    jobs = list(Run(tmp_path, study).dag(8).jobs)
    for rule in ("organisms", "sampling", "directions"):
        assert {job.threads for job in jobs if job.rule.name == rule} == {8}, rule
