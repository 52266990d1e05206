"""Leases of GPUs: which devices a job may use, where nobody else hands them out.

Snakemake counts GPUs (`resources: gpu`) but does not say which one a job gets, so that two jobs of a workstation would
both take the first. A lease is an exclusive file lock per device, held as long as the job lives; the kernel frees the
lock of a job that crashes. A device on which another user's processes compute is passed over, and one with processes of
one's own is taken last. Nothing is leased where SLURM has given a job just what it wants, and where there is no GPU.

    python -m workflow_scripts.runtime.gpu_lease --count 1 -- python train.py

runs a command on devices of its own; the stages that use a GPU lease theirs themselves, by `hold`.
"""

from __future__ import annotations

import argparse
import atexit
import fcntl
import logging
import os
import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.runtime.gpu_devices import check, identities, users, visible_devices

log = logging.getLogger(__name__)

WAIT_SECONDS = 0.5
"""Pause between two looks for a free device."""
LOOK_SECONDS = 10
"""Time between two looks for other users' processes."""
REPORT_SECONDS = 60
"""While it waits, a job says so this often."""


def lease_folder(environment: Mapping[str, str]) -> Path:
    """Folder of the lock files, on this machine's own disk and the same for all of a user's workflows.

    `EM_GPU_LEASES`, else one below the temporary folder. Within a SLURM allocation it is the allocation's own: device
    numbers begin anew there.
    """
    default = Path(tempfile.gettempdir()) / f"em-gpu-leases-{os.getuid()}"
    folder = Path(environment.get("EM_GPU_LEASES") or default)
    job = environment.get("SLURM_JOB_ID")
    return folder / f"slurm-{job}" if job else folder


@contextmanager
def leased(
    count: int, devices: Sequence[str], folder: Path, environment: Mapping[str, str] = os.environ
) -> Iterator[list[str]]:
    """Holds `count` of the devices exclusively within the block, and waits until so many are free.

    All are taken at once or none, so that two jobs that want several each never wait for each other. Where there is no
    choice, as on a machine with one GPU, other users' processes do not count.

    Args:
        count: devices wanted; 0 takes none.
        devices: their names, as CUDA_VISIBLE_DEVICES takes them.
        folder: holds one lock file per device.
        environment: where `nvidia-smi` is found.

    Raises:
        UserError: if more are wanted than there are.
    """
    if count > len(devices):
        raise UserError(
            f"{count} GPUs are wanted for this job, {len(devices)} are visible ({', '.join(devices) or 'none'}); "
            "lower execution.tensor_parallel, or make more visible."
        )
    folder.mkdir(parents=True, exist_ok=True)
    files = {device: folder / f"{_file_name(uuid)}.lock" for device, uuid in identities(devices, environment).items()}
    started = reported = looked = time.monotonic()
    free, foreign = _preferred(count, devices, environment)
    with ExitStack() as held:
        while (taken := _take(count, {device: files[device] for device in free}, held)) is None:
            if time.monotonic() - looked >= LOOK_SECONDS:
                looked = time.monotonic()
                free, foreign = _preferred(count, devices, environment)
            if time.monotonic() - reported >= REPORT_SECONDS:
                reported = time.monotonic()
                passed_over = f"; others compute on {', '.join(foreign)}" if foreign else ""
                waited = reported - started
                log.info("waiting for a free GPU of %s since %.0f s%s", ", ".join(devices), waited, passed_over)
            time.sleep(WAIT_SECONDS * random.uniform(0.5, 1.5))
        yield taken


def _preferred(count: int, devices: Sequence[str], environment: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Devices that may be taken, the idle ones first, and those on which other users compute."""
    if count == len(devices):
        return list(devices), []
    uuids, busy, own = identities(devices, environment), users(environment), {os.getuid()}
    of_others = [device for device in devices if busy.get(uuids[device], own) - own]
    rest = [device for device in devices if device not in of_others]
    return sorted(rest, key=lambda device: uuids[device] in busy), of_others


def devices_to_lease(count: int, environment: Mapping[str, str]) -> list[str]:
    """The devices of which a job must lease `count`; none where there is nothing to share.

    Under SLURM a job sees what it was given. Only where that is more than it wants, as when Snakemake itself runs in an
    allocation or in `srun --gpus=4 --pty bash`, its devices are shared out.
    """
    if environment.get("EM_GPU_DEVICES") == "":
        return []
    if "SLURM_JOB_ID" in environment:
        if "CUDA_VISIBLE_DEVICES" not in environment:
            return []
        given = visible_devices({"CUDA_VISIBLE_DEVICES": environment["CUDA_VISIBLE_DEVICES"]})
        return given if len(given) > count else []
    return visible_devices(environment)


@contextmanager
def lease(count: int, environment: Mapping[str, str]) -> Iterator[list[str]]:
    """Leases `count` GPUs within the block; yields their names, or nothing where there is nothing to lease."""
    devices = devices_to_lease(count, environment) if count else []
    if not devices:
        yield []
        return
    with leased(count, devices, lease_folder(environment), environment) as taken:
        log.info("on GPU %s", ", ".join(taken))
        yield taken


def hold(count: int) -> None:
    """Leases GPUs for the rest of this process and makes only them visible. Must come before CUDA is initialised.

    Raises:
        UserError: if this process was given GPUs that its environment cannot use.
    """
    _hold(count)
    log.info(check(os.environ))


def _hold(count: int) -> None:
    held = ExitStack()
    taken = held.enter_context(lease(count, os.environ))
    atexit.register(held.close)
    if taken or os.environ.get("EM_GPU_DEVICES") == "":
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(taken)
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # numbers as nvidia-smi's


def _take(count: int, devices: Mapping[str, Path], held: ExitStack) -> list[str] | None:
    """Locks the files of the first `count` free devices, or none of them."""
    files: list[tuple[str, IO[bytes]]] = []
    for device, path in devices.items():
        if len(files) == count:
            break
        file: IO[bytes] = path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
        else:
            os.set_inheritable(file.fileno(), True)  # whoever outlives this process still uses the device
            files.append((device, file))
    if len(files) < count:
        for _, opened in files:
            opened.close()
        return None
    for _, opened in files:
        held.callback(opened.close)
    return [device for device, _ in files]


def _file_name(device: str) -> str:
    """Device names are numbers or UUIDs (GPU-…, MIG-…/1/0)."""
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in device)


def main(arguments: list[str]) -> None:
    """Becomes the command, which keeps the locks: they are free when the last of its processes has ended."""
    parser = command.parser(__doc__, study=False)
    parser.add_argument("--count", type=int, default=1, help="GPUs of the command; 1 when absent")
    parser.add_argument("line", nargs=argparse.REMAINDER, help="the command, after --")
    given = parser.parse_args(arguments)
    line = given.line[1:] if given.line[:1] == ["--"] else given.line
    if not line:
        raise UserError("gpu_lease: no command is given; put it after --.")
    _hold(given.count)
    try:
        os.execvp(line[0], line)
    except OSError as error:
        raise UserError(f"gpu_lease: {line[0]} cannot be run ({error.strerror}).") from error


if __name__ == "__main__":
    command.run(main)
