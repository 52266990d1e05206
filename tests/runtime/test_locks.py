"""Two jobs on one part of a store wait for each other; a killed run's lock on a folder is no lock."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from helpers.workflow import REPOSITORY
from workflow_scripts.runtime.locks import exclusive

HOLD = """
import sys, time
from pathlib import Path
from workflow_scripts.{module} import {name}
held = {call}
{enter}
Path("held").touch()
time.sleep(float(sys.argv[1]))
"""
STORE = HOLD.format(
    module="runtime.locks", name="exclusive", call='exclusive(Path("part.lock"))', enter="held.__enter__()"
)
FOLDER = HOLD.format(module="runtime.run_lock", name="take_over", call='take_over(Path(".snakemake"))', enter="")


def holder(program: str, folder: Path, seconds: float) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(seconds)], cwd=folder, env={"PYTHONPATH": str(REPOSITORY)}
    )
    end = time.monotonic() + 30
    while not (folder / "held").exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    return process


def marked(folder: Path) -> Path:
    """What a killed Snakemake leaves behind."""
    mark = folder / ".snakemake" / "locks" / "0.output.lock"
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text("results/a\n")
    return mark


def test_a_second_job_waits_until_the_first_has_ended(tmp_path):
    holder(STORE, tmp_path, 1.5)
    started = time.monotonic()
    with exclusive(tmp_path / "part.lock"):
        assert time.monotonic() - started > 0.5


def test_a_killed_job_keeps_nobody_waiting(tmp_path):
    holder(STORE, tmp_path, 600).send_signal(signal.SIGKILL)
    with exclusive(tmp_path / "part.lock"):
        pass


def take_over(folder: Path) -> None:
    """As a run that begins and ends."""
    program = 'from pathlib import Path; from workflow_scripts.runtime.run_lock import take_over; a = take_over(Path(".snakemake"))'
    subprocess.run([sys.executable, "-c", program], cwd=folder, env={"PYTHONPATH": str(REPOSITORY)}, check=True)


def test_the_marks_of_a_killed_run_are_removed(tmp_path):
    process = holder(FOLDER, tmp_path, 600)
    mark = marked(tmp_path)
    process.kill()
    process.wait()
    take_over(tmp_path)
    assert not mark.exists()


def test_the_marks_of_a_living_run_stay(tmp_path):
    process = holder(FOLDER, tmp_path, 600)
    mark = marked(tmp_path)
    take_over(tmp_path)
    assert mark.exists()
    process.kill()
    process.wait()


def test_marks_of_another_host_or_of_nobody_known_stay(tmp_path):
    mark = marked(tmp_path)
    take_over(tmp_path)
    assert mark.exists(), "no run of ours was killed here"
    (tmp_path / ".snakemake" / "em-run.lock").write_text(f"not-{socket.gethostname()}\n")
    take_over(tmp_path)
    assert mark.exists(), "a run on another host may be alive"
