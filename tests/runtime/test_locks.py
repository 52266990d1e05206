"""Two jobs on one part of a store wait for each other; a killed run's lock on a folder is no lock."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.workflow import REPOSITORY
from workflow_scripts.runtime.locks import exclusive, making, still_worked_on

HOLD = """
import sys, time
from pathlib import Path
from workflow_scripts.{module} import {name}
held = {call}
{enter}
Path("held").touch()
time.sleep(float(sys.argv[1]))
Path("ended").touch()
"""
STORE = HOLD.format(
    module="runtime.locks", name="exclusive", call='exclusive(Path("part.lock"))', enter="held.__enter__()"
)
FOLDER = HOLD.format(
    module="runtime.run_lock", name="take_over", call='take_over(Path(".snakemake"), Path(sys.argv[2]))', enter=""
)


def holder(program: str, folder: Path, seconds: float, study: str = "results/a") -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(seconds), study], cwd=folder, env={"PYTHONPATH": str(REPOSITORY)}
    )
    end = time.monotonic() + 30
    while not (folder / "held").exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    return process


def marked(folder: Path, study: str = "results/a") -> Path:
    """What a killed Snakemake leaves behind."""
    mark = folder / ".snakemake" / "locks" / f"{Path(study).name}.output.lock"
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(f"{study}/tables/em_rates.parquet\n")
    return mark


def test_a_second_job_waits_until_the_first_has_ended(tmp_path):
    holder(STORE, tmp_path, 1.5)
    with exclusive(tmp_path / "part.lock"):
        assert (tmp_path / "ended").exists()


def test_a_killed_job_keeps_nobody_waiting(tmp_path):
    holder(STORE, tmp_path, 600).send_signal(signal.SIGKILL)
    with exclusive(tmp_path / "part.lock"):
        pass


def take_over(folder: Path) -> None:
    """As a run that begins and ends."""
    program = 'from pathlib import Path; from workflow_scripts.runtime.run_lock import take_over; a = take_over(Path(".snakemake"), Path("results/a"))'
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


@pytest.mark.parametrize("study", ["results/a", "results/b"])
def test_the_marks_of_a_living_run_stay_when_another_in_the_same_folder_was_killed(tmp_path, study):
    """Two studies in one folder: the first is killed while the second runs, and its study is started again."""
    first = holder(FOLDER, tmp_path, 600)
    (tmp_path / "held").unlink()
    second = holder(FOLDER, tmp_path, 600, study)
    marks = [marked(tmp_path), marked(tmp_path, "results/b"), marked(tmp_path, "results/of_nobody_known")]
    first.kill()
    first.wait()
    take_over(tmp_path)
    assert [mark.exists() for mark in marks] == [study == "results/a", True, True]
    second.kill()
    second.wait()


def test_a_run_that_ended_by_itself_leaves_nothing(tmp_path):
    take_over(tmp_path)
    assert list((tmp_path / ".snakemake" / "em-runs").iterdir()) == []


def test_marks_of_another_host_or_of_nobody_known_stay(tmp_path):
    mark = marked(tmp_path)
    take_over(tmp_path)
    assert mark.exists(), "no run of ours was killed here"
    (tmp_path / ".snakemake" / "em-runs" / "1-of-another").write_text(f"not-{socket.gethostname()}\nresults/a\n")
    take_over(tmp_path)
    assert mark.exists(), "a run on another host may be alive"


MAKER = """
import sys, time
from pathlib import Path
from workflow_scripts.runtime.locks import making
with making(Path("folder"), Path("folder/file"), sys.argv[2]) as wanted:
    Path("held").touch()
    time.sleep(float(sys.argv[1]))
    if wanted:
        Path("folder").mkdir(exist_ok=True)
        Path("folder/file").write_text("made")
"""


@pytest.mark.parametrize(("work", "wanted"), [("same", False), ("other", True)])
def test_what_an_orphaned_job_makes_is_waited_for_and_not_made_beside_it(tmp_path, work, wanted):
    holder(MAKER, tmp_path, 1, "same")
    (told,) = still_worked_on(tmp_path)
    assert re.search(r"folder: a job of an earlier run, process \d+ on .*, still works on it; this run waits", told)
    with making(tmp_path / "folder", tmp_path / "folder" / "file", work) as found:
        assert found is wanted
        assert (tmp_path / "folder" / "file").is_file()
    assert still_worked_on(tmp_path) == []


def test_what_a_killed_job_left_unmade_is_made(tmp_path):
    holder(MAKER, tmp_path, 600, "same").kill()
    with making(tmp_path / "folder", tmp_path / "folder" / "file", "same") as wanted:
        assert wanted
