"""The smoke study on a real SLURM: jobs requeued, cancelled and killed, and still the tables of a local run.

`tests/slurm/start.sh` starts the SLURM; without it the tests are skipped with a reason.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest

from helpers.studies import optional_sections
from helpers.workflow import REPOSITORY, Run, environment

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(
        not os.environ.get("SLURM_CONF"),
        reason=os.environ.get("EM_NO_SLURM") or "no SLURM is started; use `make test-slurm`",
    ),
]

PROFILE = [
    "--profile", str(REPOSITORY / "profiles" / "slurm"), "--configfile", "study.yaml",
    # This machine is small, and nobody else asks its controller.
    "--latency-wait", "10", "--slurm-init-seconds-before-status-checks", "5", "--max-status-checks-per-second", "1",
]  # fmt: skip


def text(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def jobs(rule: str, state: str = "RUNNING") -> list[str]:
    """SLURM ids of a rule's jobs in a state; the plugin names the rule in the comment."""
    lines = text("squeue", "--noheader", "--format=%i|%T|%k").splitlines()
    parts = [line.strip().split("|", 2) for line in lines]
    return [id_ for id_, found, comment in parts if found == state and comment.startswith(f"rule_{rule}")]


def stage_processes(folder: Path, stage: str) -> list[int]:
    """Processes of a stage in a run's folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().split(b"\0")
            if f"workflow_scripts.{stage}".encode() in line and str((process / "cwd").readlink()) == str(folder):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def wait_for(condition, workflow, seconds=900):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert workflow.poll() is None, "the workflow has ended"
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
    return found


def start(run: Run, log: Path) -> subprocess.Popen[bytes]:
    """Snakemake with the SLURM profile in a run's folder."""
    command = [part for part in run.command() if part not in ("--cores", "2")][:5] + PROFILE
    with log.open("w") as file:
        return subprocess.Popen(command, cwd=run.folder, env=environment(), stdout=file, stderr=subprocess.STDOUT)


def interrupt(workflow: subprocess.Popen[bytes]) -> None:
    if workflow.poll() is None:
        workflow.send_signal(signal.SIGINT)
        workflow.wait(timeout=600)  # a hang, not a matter of a slow machine


def parts(run: Run) -> dict[Path, int]:
    """What is in the store of responses, with its time."""
    return {file: file.stat().st_mtime_ns for file in (run.folder / "results/store/responses").glob("*/[!.]*.parquet")}


def tables(run: Run) -> dict[str, pd.DataFrame]:
    return {file.stem: pd.read_parquet(file) for file in sorted((run.results / "tables").glob("*.parquet"))}


def test_a_study_whose_jobs_are_requeued_cancelled_and_killed_ends_with_the_tables_of_a_local_run(smoke_run, tmp_path):
    run, log = smoke_run.copy(tmp_path / "run"), tmp_path / "snakemake.log"
    for section in optional_sections(
        "misalign_at", "steering", "ablation", "adapters"
    ):  # no other job here than those of the other sections
        run.study.pop(section, None)
    run.study["adapters"] |= {"steering": None, "patching": None}
    shutil.rmtree(run.folder / "results" / "store")
    for part in run.results.iterdir():
        if part.is_dir() and part.name not in ("base", "datasets", "questions", "logs", "benchmarks"):
            shutil.rmtree(part)
    for file in (run.results / "logs").rglob("*.log"):
        file.unlink()
    workflow = start(run, log)
    try:
        wait_for(lambda: stage_processes(run.folder, "organisms"), workflow)
        text("scancel", jobs("organisms")[0])
        wait_for(lambda: parts(run), workflow)
        requeued = jobs("sampling")[0]
        text("scontrol", "requeue", requeued)
        finished = parts(run)
        wait_for(lambda: "Restarts=1" in text("scontrol", "show", "job", requeued), workflow)
        text("scontrol", "update", f"JobId={requeued}", "StartTime=now")  # SLURM lets it wait for two minutes
        victim = wait_for(lambda: stage_processes(run.folder, "directions"), workflow)[0]
        os.kill(victim, signal.SIGKILL)
        assert workflow.wait(timeout=2400) == 0, log.read_text()
    finally:
        interrupt(workflow)
    shown = log.read_text()
    assert shown.count("Trying to restart job") >= 2, "the cancelled job and the killed step are sent again"
    assert "Traceback" not in shown
    expected, found = tables(smoke_run), tables(run)
    assert {"em_rates", "directions", "convergence", "steering", "ablation"} <= found.keys() <= expected.keys()
    for name, table in found.items():
        pd.testing.assert_frame_equal(table, expected[name], check_exact=True, obj=name)
    assert finished.items() <= parts(run).items(), "a requeued job samples nothing again"
    assert list((run.folder / ".snakemake" / "slurm_logs").rglob("*.log")), "SLURM's logs are kept"
    leases = [file.read_text() for file in (run.results / "logs").rglob("*.log")]
    assert not any("on GPU" in file for file in leases), "nothing is leased under SLURM"


def test_jobs_ask_slurm_for_what_the_rules_say_and_end_with_an_interrupted_workflow(smoke_run, tmp_path):
    run = smoke_run.copy(tmp_path / "run")
    run.study["sampling"]["seed"] = 3
    workflow = start(run, tmp_path / "snakemake.log")
    try:
        job = wait_for(lambda: jobs("sampling") or jobs("sampling", "PENDING"), workflow)[0]
        asked = text("scontrol", "show", "job", job)
    finally:
        interrupt(workflow)
    assert "gres/gpu=1" in asked or "gres:gpu:1" in asked, asked
    assert "CPUs/Task=1" in asked, asked
    assert "TimeLimit=12:00:00" in asked, asked
    assert "Requeue=1" in asked, asked
    assert re.search(r"mem=30\d\dM|MinMemoryNode=30\d\dM", asked), asked
    end = time.monotonic() + 60
    while job in text("squeue", "--noheader", "--format=%i").split():
        assert time.monotonic() < end, "an interrupted workflow takes its jobs out of the queue"
        time.sleep(0.5)
