"""Leases of GPUs with faked device lists: never two holders at once, and a crashed holder's lease is free again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from helpers.workflow import REPOSITORY
from workflow_scripts.runtime import gpu_lease
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.runtime.gpu_lease import devices_to_lease, lease_folder, leased

HOLDER = """
import os, sys, time
from pathlib import Path
folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
devices = os.environ["CUDA_VISIBLE_DEVICES"].split(",")
for device in devices:
    os.close(os.open(folder / f"in-use-{device}", os.O_CREAT | os.O_EXCL))  # fails where another holds it
time.sleep(seconds)
for device in devices:
    (folder / f"in-use-{device}").unlink()
    with (folder / "used").open("a") as log:
        log.write(device + "\\n")
"""


def holder(folder: Path, devices: str | None, count: int, seconds: float, **variables: str) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "CUDA"))}
    environment |= {"EM_GPU_LEASES": str(folder / "leases"), "PYTHONPATH": str(REPOSITORY)} | variables
    environment |= {} if devices is None else {"EM_GPU_DEVICES": devices}
    program = [sys.executable, "-m", "workflow_scripts.runtime.gpu_lease", "--count", str(count), "--"]
    return subprocess.Popen([*program, sys.executable, "-c", HOLDER, str(folder), str(seconds)], env=environment)


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.mark.parametrize(("devices", "counts"), [("0,1", [1] * 8), ("0", [1] * 8), ("0,1,2", [1, 2, 1, 2, 3, 1, 2, 1])])
def test_of_eight_contending_processes_no_two_hold_a_device_and_all_get_one(tmp_path, devices, counts):
    started = [holder(tmp_path, devices, count, 0.2) for count in counts]
    assert [process.wait(timeout=120) for process in started] == [0] * 8
    used = (tmp_path / "used").read_text().split()
    assert len(used) == sum(counts)
    assert set(used) == set(devices.split(","))


def test_the_lease_of_a_killed_holder_is_free_again(tmp_path):
    first = holder(tmp_path, "0", 1, 600)
    wait_for((tmp_path / "in-use-0").exists)
    second = holder(tmp_path, "0", 1, 0)
    time.sleep(2)
    assert second.poll() is None, "the second waits as long as the first lives"
    first.send_signal(signal.SIGKILL)
    first.wait()
    (tmp_path / "in-use-0").unlink()
    assert second.wait(timeout=60) == 0


def test_who_waits_for_two_devices_holds_none_meanwhile(tmp_path):
    with leased(1, ["0", "1"], tmp_path / "leases") as one:
        waiting = holder(tmp_path, "0,1", 2, 0)
        time.sleep(2)
        assert waiting.poll() is None
        with leased(1, ["0", "1"], tmp_path / "leases") as other:
            assert {*one, *other} == {"0", "1"}
    assert waiting.wait(timeout=60) == 0


def test_a_lease_ends_with_its_block_even_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), leased(1, ["0"], tmp_path):
        raise ZeroDivisionError
    with leased(1, ["0"], tmp_path) as taken:
        assert taken == ["0"]


def test_more_devices_than_there_are_is_a_sentence(tmp_path):
    with (
        pytest.raises(UserError, match=r"2 GPUs are wanted for this job, 1 are visible \(0\)"),
        leased(2, ["0"], tmp_path),
    ):
        pass


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "0"}, []),
        ({"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "0", "SLURM_STEP_GPUS": "2"}, []),
        ({"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "0,1", "SLURM_STEP_GPUS": "2,3"}, ["0", "1"]),  # srun --pty
        ({"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"}, ["GPU-a", "GPU-b"]),
        ({"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "MIG-a"}, []),
        ({"SLURM_JOB_ID": "7"}, []),
        ({"SLURM_JOB_ID": "7", "EM_GPU_DEVICES": "0,1"}, []),
        ({"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "0,1"}, ["0", "1"]),  # Snakemake within an allocation
        ({"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "0,1", "EM_GPU_DEVICES": ""}, []),
    ],
)
def test_what_slurm_has_given_to_a_job_is_not_leased_again(environment, expected):
    assert devices_to_lease(1, environment) == expected


def test_jobs_of_an_interactive_allocation_share_its_devices_out(tmp_path):
    given = {"SLURM_JOB_ID": "7", "SLURM_STEP_GPUS": "4,5,6,7", "CUDA_VISIBLE_DEVICES": "0,1,2,3"}
    started = [holder(tmp_path, None, 1, 3, **given) for _ in range(4)]
    wait_for(lambda: len(list(tmp_path.glob("in-use-*"))) == 4)
    assert [process.wait(timeout=120) for process in started] == [0] * 4
    assert sorted((tmp_path / "used").read_text().split()) == ["0", "1", "2", "3"]


@pytest.fixture
def machine(tmp_path, nvidia_smi):
    """Makes a machine with four cards on which these processes compute; returns the environment of its jobs."""

    def made(processes: dict[int, int]) -> dict[str, str]:
        apps = [f"GPU-{card}, {process}" for card, process in processes.items()]
        return {"PATH": nvidia_smi([f"{k}, GPU-{k}, Disabled" for k in range(4)], apps=apps)}

    return made


@pytest.fixture
def of_another_user():
    """A process of another user."""
    if os.getuid() != 0:
        yield 1
        return
    process = subprocess.Popen(["sleep", "600"], user=65534)
    yield process.pid
    process.kill()
    process.wait()


def taken(machine, folder, count, devices):
    with leased(count, devices, folder, machine) as found:
        return found


def test_cards_on_which_others_compute_are_passed_over_and_those_with_own_processes_come_last(
    machine, of_another_user, tmp_path
):
    there = machine({0: of_another_user, 1: os.getpid()})
    assert taken(there, tmp_path, 1, ["0", "1", "2", "3"]) == ["2"]
    assert taken(there, tmp_path, 3, ["0", "1", "2", "3"]) == ["2", "3", "1"]
    assert taken(there, tmp_path, 1, ["GPU-0", "GPU-3"]) == ["GPU-3"]
    assert taken(there, tmp_path, 1, ["0"]) == ["0"], "where there is no choice"
    ended = machine({0: 2**22 + 1})  # larger than any process id of Linux: in another container, or hidden
    assert taken(ended, tmp_path, 1, ["0", "1"]) == ["1"]


def test_who_finds_others_on_all_cards_waits_until_they_are_gone(machine, of_another_user, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_lease, "LOOK_SECONDS", 0.1)
    there = machine({0: of_another_user, 1: of_another_user})
    gone = threading.Event()

    def leave() -> None:
        gone.set()
        machine({0: of_another_user})

    threading.Timer(1.5, leave).start()
    assert taken(there, tmp_path, 1, ["0", "1"]) == ["1"]
    assert gone.is_set()


def test_a_card_is_one_lease_by_its_number_and_by_its_uuid(machine, tmp_path):
    there = machine({})
    with leased(1, ["1", "2"], tmp_path, there) as first:
        assert first == ["1"]
        assert taken(there, tmp_path, 1, ["GPU-1", "GPU-2"]) == ["GPU-2"]
    with leased(1, ["MIG-GPU-a/1/0", "MIG-b"], tmp_path, there) as first:
        assert first == ["MIG-GPU-a/1/0"]
        assert taken(there, tmp_path, 1, ["MIG-GPU-a/1/0", "MIG-b"]) == ["MIG-b"]


def test_two_allocations_on_one_node_do_not_wait_for_each_other():
    assert lease_folder({"SLURM_JOB_ID": "7"}) != lease_folder({"SLURM_JOB_ID": "8"})


def test_the_wrapper_hands_on_the_exit_code_and_names_a_missing_program():
    program = [sys.executable, "-m", "workflow_scripts.runtime.gpu_lease", "--count", "0", "--"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    assert subprocess.run([*program, "sh", "-c", "exit 7"], env=environment).returncode == 7
    done = subprocess.run([*program, "no-such-program"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "error: gpu_lease: no-such-program cannot be run (No such file or directory).\n"
