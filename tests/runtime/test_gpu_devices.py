"""Which GPUs a process was given, and the sentence where its environment cannot use them; nvidia-smi is a faked script."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from helpers.workflow import REPOSITORY
from workflow_scripts.runtime import gpu_devices
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.runtime.gpu_devices import (
    check,
    driver_version,
    identities,
    missing_for_triton,
    users,
    visible_devices,
)


@pytest.fixture
def as_built(monkeypatch):
    """Fakes what torch is built for, whether it sees a GPU, and whose environment this is."""

    def made(cuda: str | None, sees: bool, made_for_cpu: bool = False) -> None:
        monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: sees)
        monkeypatch.setattr(gpu_devices, "_made_for_cpu", lambda: made_for_cpu)

    return made


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"EM_GPU_DEVICES": "0,1"}, ["0", "1"]),
        ({"EM_GPU_DEVICES": ""}, []),
        ({"EM_GPU_DEVICES": "1,1", "CUDA_VISIBLE_DEVICES": "0"}, ["1"]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-a, GPU-b"}, ["GPU-a", "GPU-b"]),
        ({"CUDA_VISIBLE_DEVICES": ""}, []),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, []),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, []),
        ({"PATH": "/nowhere"}, []),
    ],
)
def test_the_visible_devices_are_those_that_the_environment_names(environment, expected):
    assert visible_devices(environment) == expected


TWO = ["0, GPU-a, [N/A]", "1, GPU-b, Disabled"]


def test_devices_and_driver_are_asked_of_the_machine(nvidia_smi):
    there = {"PATH": nvidia_smi(TWO)}
    assert visible_devices(there) == ["0", "1"]
    assert driver_version(there) == "580.65.06"
    assert identities(["1", "GPU-b", "GPU", "GPU-c", "MIG-x"], there) == {
        "1": "GPU-b", "GPU-b": "GPU-b", "GPU": "GPU-a", "GPU-c": "GPU-c", "MIG-x": "MIG-x",
    }  # fmt: skip
    broken = {"PATH": nvidia_smi([])}
    assert visible_devices(broken) == []
    assert driver_version(broken) is None


def test_the_devices_of_a_split_card_are_its_mig_instances(nvidia_smi):
    listed = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-a)
  MIG 3g.20gb     Device  0: (UUID: MIG-c7384736-a75d-5afc-978f-d2f1294409fd)
  MIG 3g.20gb     Device  1: (UUID: MIG-a28ad590-3fda-56dd-84fc-0a0b96edc58d)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-b)
GPU 2: NVIDIA A100-SXM4-40GB (UUID: GPU-c)"""
    there = {"PATH": nvidia_smi(["0, GPU-a, Enabled", "1, GPU-b, Disabled", "2, GPU-c, Enabled"], listed=listed)}
    instances = ["MIG-c7384736-a75d-5afc-978f-d2f1294409fd", "MIG-a28ad590-3fda-56dd-84fc-0a0b96edc58d"]
    assert visible_devices(there) == [*instances, "1"], "a split card without instances is no device"


def test_who_computes_on_which_card(nvidia_smi):
    apps = [f"GPU-a, {os.getpid()}", "GPU-b, 4194305", "GPU-b, [N/A]"]
    assert users({"PATH": nvidia_smi(TWO, apps=apps)}) == {"GPU-a": {os.getuid()}, "GPU-b": {None}}
    assert users({"PATH": nvidia_smi([])}) == {}


def test_without_a_gpu_models_run_on_the_cpu(nvidia_smi, as_built):
    as_built(None, sees=False)
    assert check({"PATH": "/nowhere"}) == "No GPU is given: models run on the CPU."
    assert check({"PATH": nvidia_smi(TWO[:1]), "EM_GPU_DEVICES": ""}).startswith("No GPU is given")


@pytest.mark.parametrize(
    ("cuda", "made_for_cpu", "driver", "expected"),
    [
        (None, True, "580.65.06", "is built for the CPU, vLLM for the CPU, the driver is 580.65.06; install the "
         "environment for GPUs with `make setup PLATFORM=cuda` (it needs driver 580 or newer)"),
        ("13.0", True, "580.65.06", "is built for CUDA 13.0, vLLM for the CPU, the driver is 580.65.06; install the "
         "environment for GPUs"),
        ("13.0", False, "535.183.01", "is built for CUDA 13.0, the driver is 535.183.01; install NVIDIA's driver 580 or newer"),
        ("12.8", False, "470.82.01", "is built for CUDA 12.8, the driver is 470.82.01; install NVIDIA's driver 525 or newer"),
        ("13.0", False, "580.65.06", "is built for CUDA 13.0, the driver is 580.65.06; see what `nvidia-smi` says of these devices"),
    ],
)  # fmt: skip
def test_a_gpu_that_torch_does_not_see_is_one_sentence(nvidia_smi, as_built, cuda, made_for_cpu, driver, expected):
    as_built(cuda, sees=False, made_for_cpu=made_for_cpu)
    with pytest.raises(UserError) as raised:
        check({"PATH": nvidia_smi(TWO, driver)})
    sentence = str(raised.value)
    assert sentence.startswith(f"GPUs given (0, 1) cannot be used: torch {torch.__version__} {expected}")
    assert sentence.endswith(", or set EM_GPU_DEVICES to nothing to run on the CPU.")


def test_a_gpu_that_only_a_variable_names_is_missed_too(as_built):
    as_built("13.0", sees=False)
    with pytest.raises(UserError, match=r"\(0\) cannot be used: .* the driver is missing; install NVIDIA's driver 580"):
        check({"PATH": "/nowhere", "CUDA_VISIBLE_DEVICES": "0"})


def test_the_environment_for_the_cpu_is_refused_even_where_its_torch_sees_the_gpu(nvidia_smi, as_built):
    as_built("13.0", sees=True, made_for_cpu=True)
    with pytest.raises(UserError, match="make setup PLATFORM=cuda"):
        check({"PATH": nvidia_smi(TWO[:1])})


def test_what_triton_compiles_with_is_looked_for_before_a_model_is_loaded(nvidia_smi, as_built, tmp_path, monkeypatch):
    as_built("13.0", sees=True)
    there = {"PATH": nvidia_smi(TWO[:1])}
    with pytest.raises(UserError, match=r"finds no C compiler \(gcc or clang\).*apt-get install gcc python3-dev"):
        check(there)
    with pytest.raises(UserError, match=r"finds no C compiler \(my-cc\)"):
        check(there | {"CC": "my-cc"})
    compiler = tmp_path / "gcc"
    compiler.write_text("#!/bin/sh\n")
    compiler.chmod(0o755)
    monkeypatch.setattr(gpu_devices.sysconfig, "get_path", lambda *_: str(tmp_path))
    assert missing_for_triton(there) == [f"{tmp_path}/Python.h"]
    (tmp_path / "Python.h").touch()
    assert check(there) == f"GPUs given: 0; torch {torch.__version__} sees them (driver 580.65.06)."


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU that torch sees")
@pytest.mark.parametrize("program", [["-m", "workflow_scripts.runtime.gpu_devices"],
                                     ["-c", "from workflow_scripts.runtime import command, gpu_lease; command.run(lambda _: gpu_lease.hold(1))"]])  # fmt: skip
def test_a_job_that_was_given_a_gpu_ends_where_torch_sees_none(nvidia_smi, tmp_path, program):
    path = os.pathsep.join([nvidia_smi(TWO[:1], "535.183.01"), os.environ["PATH"]])
    cleared = {
        name: value for name, value in os.environ.items() if name not in ("EM_GPU_DEVICES", "CUDA_VISIBLE_DEVICES")
    }
    environment = cleared | {"PATH": path, "PYTHONPATH": str(REPOSITORY), "EM_GPU_LEASES": str(tmp_path / "leases")}
    done = subprocess.run([sys.executable, *program], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "error: GPUs given (0) cannot be used: torch " in done.stderr
    assert "the driver is 535.183.01" in done.stderr
    assert "Traceback" not in done.stderr
    assert subprocess.run([sys.executable, *program], env=environment | {"EM_GPU_DEVICES": ""}).returncode == 0


def test_what_the_engine_for_the_cpu_misses_is_named_before_any_model_is_loaded(as_built, monkeypatch):
    as_built(None, sees=False, made_for_cpu=True)
    here = {"EM_GPU_DEVICES": "", "PATH": os.environ["PATH"]}
    monkeypatch.setattr(gpu_devices, "CPU_LIBRARIES", ("libc.so.6",))
    monkeypatch.setattr(gpu_devices, "_no_headers", list)
    assert "run on the CPU" in check(here | {"CXX": sys.executable})
    with pytest.raises(UserError, match=r"finds no C\+\+ compiler \(g\+\+\) on this machine, .*apt-get install "):
        check(here | {"PATH": "/nowhere"})
    monkeypatch.setattr(gpu_devices, "CPU_LIBRARIES", ("libabsent.so.9",))
    with pytest.raises(UserError, match=r"finds no libabsent\.so\.9 and no C\+\+ compiler \(cxx-17\) on this"):
        check(here | {"CXX": "cxx-17"})
    as_built(None, sees=False)
    assert "run on the CPU" in check(here), "the engine is another"
