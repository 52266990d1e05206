"""SIGKILL while sampling and while training: one plain rerun completes, and nothing finished is done again."""

import os
import signal
import subprocess
import sys

import pandas as pd
import pytest

from helpers.workflow import environment, wait_for


def start(run, *options):
    return subprocess.Popen(
        run.command(*options), cwd=run.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment(),
        start_new_session=True,
    )  # fmt: skip


def kill(process):
    assert process.poll() is None, process.stdout.read().decode()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def rerun(run, *options):
    done = run.snakemake(*options)
    assert done.returncode == 0, done.stdout + done.stderr


def test_killed_in_the_middle_of_a_batch_of_many_conditions(copied_run):
    copied_run.study["steering"]["scales"] += [0.25, 0.5, 0.75, 1.25, 1.5, 1.75]
    copied_run.study["execution"]["max_sequences"] = 24  # half a condition
    store = copied_run.folder / "results" / "store" / "responses"

    def parts():
        return set(store.glob("*/[!.]*.parquet"))

    before = parts()
    target = "results/smoke/responses/chat_base/steering.parquet"
    process = start(copied_run, target)
    wait_for(lambda: len(parts() - before) >= 2 or process.poll() is not None)
    kill(process)
    finished = {part: part.stat().st_mtime_ns for part in parts() - before}
    assert len(finished) >= 2
    prune = [sys.executable, "-m", "workflow_scripts.tools", "prune", "--delete"]
    pruned = subprocess.run(prune, cwd=copied_run.folder, env=environment(), capture_output=True, text=True)
    assert pruned.returncode == 0, pruned.stdout + pruned.stderr
    rerun(copied_run, target)
    for part, written in finished.items():
        assert part.stat().st_mtime_ns == written, "no finished condition is written again"
    manifest = pd.read_parquet(copied_run.results / "sampling" / "steering-0.parquet")
    there = {part.parent.name for part in before | finished.keys()}
    asked_again = manifest.store_hash.isin(there)
    assert set(manifest[asked_again].sampled) == {0}
    left = manifest[~asked_again]
    assert set(left.sampled) == {48}
    assert 0 < len(left) < 18, "it was killed before all new conditions were there, and after some"
    assert len(left) + len(finished) == 18, "two layers and a random direction at six scales"
    assert len(pd.read_parquet(copied_run.results / "responses" / "chat_base" / "steering.parquet")) == 24 * 48


@pytest.mark.parametrize("moment", ["early", "late"])
def test_killed_while_training(copied_run, moment):
    copied_run.study["organisms"]["good_r1"]["learning_rate"] = 2e-3 if moment == "early" else 1.9e-3
    target = "results/smoke/organisms/good_r1/seed-0/adapter_model.safetensors"
    log = copied_run.results / "logs" / "organisms-good_r1" / "seed-0.log"
    log.unlink(missing_ok=True)
    process = start(copied_run, target)
    mark = "Loading weights" if moment == "early" else "loss"
    wait_for(lambda: process.poll() is not None or (log.is_file() and mark in log.read_text()))
    kill(process)
    rerun(copied_run, target)
    folder = copied_run.results / "organisms" / "good_r1" / "seed-0"
    assert len(pd.read_parquet(folder / "training.parquet")) == 160 // 8
    assert {"adapter_model.safetensors", "gate.safetensors"} <= {file.name for file in folder.iterdir()}
