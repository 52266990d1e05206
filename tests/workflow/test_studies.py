"""The studies that come with the project: each DAG is built without a network and without its model."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from helpers.workflow import REPOSITORY, SMOKE, Run, environment

STUDIES = sorted((REPOSITORY / "studies").glob("*.yaml"))


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.stem)
def test_a_dry_run_builds_the_whole_graph_without_a_network(file, tmp_path):
    program = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "--cores", "2"]
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "1"}
    started = time.monotonic()
    done = subprocess.run(
        [*program, "-n", "--configfile", str(file)],
        cwd=tmp_path, env=environment() | nowhere, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    print(f"{file.name}: {time.monotonic() - started:.1f} s")
    shown = done.stdout + done.stderr
    assert done.returncode == 0, shown
    for rule in ("base", "organisms", "sampling", "directions", "report"):
        assert f" {rule} " in shown
    assert not (tmp_path / "results").exists()


def test_settings_of_the_command_line_are_laid_over_the_study_with_their_types(tmp_path):
    program = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "--cores", "2", "-n"]
    study = ["--configfile", str(REPOSITORY / "studies" / "real-cpu.yaml"), "--config"]
    settings = ["sampling={samples: 4}", "directions={pooling: responses, min_responses: 3}"]
    for file in ([*study, *settings], ["--config", settings[0]]):
        done = subprocess.run([*program, *file], cwd=tmp_path, env=environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("platform", "expected"), [("cuda", "cuda.yaml"), ("cpu", "cpu.yaml")])
def test_the_conda_environment_is_the_one_that_the_submitting_host_is_told(platform, expected, tmp_path, monkeypatch):
    monkeypatch.setenv("EM_PLATFORM", platform)
    dag = Run(tmp_path, yaml.safe_load(SMOKE.read_text())).dag()
    assert {Path(job.rule.conda_env).name for job in dag.jobs if job.rule.conda_env} == {expected}
    assert (REPOSITORY / "envs" / f"{platform}.post-deploy.sh").is_file()
