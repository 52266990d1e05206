"""Memory under limits of control groups, as containers and SLURM set them."""

from __future__ import annotations

import psutil
import pytest

from workflow_scripts.runtime import memory

GIB = 2**30


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n")


@pytest.fixture
def machine(monkeypatch):
    told = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: told._replace(total=64 * GIB, available=50 * GIB))


@pytest.mark.parametrize("place", ["/", "/system.slice/job", "/not/there"])
def test_a_limit_of_version_2_holds_wherever_above_the_process_it_is_set(tmp_path, machine, place):
    groups, membership = tmp_path / "cgroup", tmp_path / "own"
    membership.write_text(f"0::{place}\n")
    stat = f"anon {GIB}\ninactive_file {2 * GIB}"  # read files give way
    write(groups, {"memory.max": 8 * GIB, "memory.current": 5 * GIB, "memory.stat": stat})
    write(groups / "system.slice" / "job", {"memory.max": "max", "memory.current": GIB})
    assert memory.total(groups, membership) == 8 * GIB
    assert memory.available(groups, membership) == 5 * GIB


def test_the_smallest_limit_counts_and_a_full_group_has_nothing_left(tmp_path, machine):
    groups, membership = tmp_path / "cgroup", tmp_path / "own"
    membership.write_text("0::/a/b\n")
    write(groups / "a", {"memory.max": 4 * GIB, "memory.current": 4 * GIB + 1})
    write(groups / "a" / "b", {"memory.max": 9 * GIB, "memory.current": GIB})
    assert memory.total(groups, membership) == 4 * GIB
    assert memory.available(groups, membership) == 0


def test_a_limit_of_version_1_is_that_of_the_memory_controller(tmp_path, machine):
    groups, membership = tmp_path / "cgroup", tmp_path / "own"
    membership.write_text("9:name=systemd:/x\n8:cpu,memory:/job\n2:pids:/job\n")
    write(groups / "memory" / "job", {"memory.limit_in_bytes": 2 * GIB, "memory.usage_in_bytes": GIB})
    write(groups / "memory", {"memory.limit_in_bytes": 2**63 - 4096, "memory.usage_in_bytes": GIB})
    assert memory.total(groups, membership) == 2 * GIB
    assert memory.available(groups, membership) == GIB


@pytest.mark.parametrize("listed", [None, "", "0::/\n"])
def test_without_a_limit_it_is_the_machines(tmp_path, machine, listed):
    membership = tmp_path / "own"
    if listed is not None:
        membership.write_text(listed)
    assert memory.total(tmp_path / "cgroup", membership) == 64 * GIB
    assert memory.available(tmp_path / "cgroup", membership) == 50 * GIB
