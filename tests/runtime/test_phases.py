"""Where a stage's seconds go, as its log says it."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from helpers.workflow import environment
from workflow_scripts.runtime import phases
from workflow_scripts.runtime.phases import phase, read, told

STAGE = """
import time
from workflow_scripts.runtime import command
from workflow_scripts.runtime.phases import phase

def main(arguments):
    with phase("loading"):
        time.sleep(0.2)
    if arguments:
        raise ValueError("no")

command.run(main)
"""


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(phases, "_spent", {})


def test_phases_add_up_and_one_within_another_counts_once():
    began = time.time()
    for _ in range(2):
        with phase("engine"):
            time.sleep(0.05)
            with phase("loading"):
                time.sleep(0.05)
    time.sleep(0.1)
    found = read(told(began))
    assert found is not None
    assert set(found) == {"start", "engine", "work", "CPU"}
    assert found["engine"] >= 0.2
    assert found["work"] >= 0.1
    assert found["engine"] + found["work"] == pytest.approx(time.time() - began, abs=0.05)
    assert found["start"] > 0


def test_a_phase_that_fails_is_over():
    with pytest.raises(ValueError, match="broken"), phase("engine"):
        raise ValueError("broken")
    with phase("loading"):
        pass
    assert set(phases._spent) == {"engine", "loading"}


@pytest.mark.parametrize("within", [True, False])
def test_only_a_job_of_the_workflow_that_ends_well_tells(within):
    variables = {name: value for name, value in environment().items() if name != phases.TOLD}
    if within:
        variables[phases.TOLD] = "1"
    variables["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run([sys.executable, "-c", STAGE], env=variables, capture_output=True, text=True)
    assert (read(done.stderr) is not None) == within
    failed = subprocess.run([sys.executable, "-c", STAGE, "fail"], env=variables, capture_output=True, text=True)
    assert failed.returncode
    assert read(failed.stderr) is None


def test_of_several_runs_in_a_log_the_last_counts_and_other_texts_are_none():
    log = "seconds: start 1.00, work 2.00, of CPU 2.50\nother\n2026 seconds: start 3.00, engine 1.50, work 4.00, of CPU 5.25\n"
    assert read(log) == {"start": 3.0, "engine": 1.5, "work": 4.0, "CPU": 5.25}
    assert read("nothing of it\n") is None
