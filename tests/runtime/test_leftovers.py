"""What killed processes left half written is removed by whoever writes beside it; what living ones write is not."""

from __future__ import annotations

import subprocess
import sys
import tempfile

from helpers.workflow import REPOSITORY
from workflow_scripts.runtime import command
from workflow_scripts.runtime.leftovers import owned, scratch
from workflow_scripts.store.artefacts import replacing, write_json

KILLED = """
import os, signal, sys
from pathlib import Path
from workflow_scripts.runtime.leftovers import scratch_folder
from workflow_scripts.store.artefacts import replacing
for name in ("file", "folder"):
    temporary = replacing(Path(name)).__enter__()
    temporary.write_text("half") if name == "file" else temporary.mkdir()
scratch_folder("test")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    environment = {"PYTHONPATH": str(REPOSITORY), "TMPDIR": str(tmp_path / "temporary")}
    subprocess.run([sys.executable, "-c", KILLED], cwd=tmp_path, env=environment)
    assert len(list(tmp_path.iterdir())) == 3
    assert len(list((tmp_path / "temporary").iterdir())) == 1
    with scratch("test") as folder:
        assert list((tmp_path / "temporary").iterdir()) == [folder]
    write_json(tmp_path / "other.json", {})
    assert {path.name for path in tmp_path.iterdir()} == {"other.json", "temporary"}


def test_what_a_living_process_or_another_host_writes_stays(tmp_path):
    foreign = tmp_path / f".table.parquet.ffffff-{owned().split('-', 1)[1]}.partial"
    foreign.touch()
    with replacing(tmp_path / "one") as temporary:
        temporary.touch()
        write_json(tmp_path / "other.json", {})
        assert temporary.exists()
    assert foreign.exists()


def test_a_full_disk_is_told_where_a_jobs_log_has_no_room(tmp_path, monkeypatch):
    assert command.out_of_space(tmp_path) is None
    monkeypatch.setattr(command, "ROOM", 1 << 60)
    monkeypatch.setattr(command, "bytes", full, raising=False)
    assert "No space left on device, also for the jobs' logs; free some space" in str(command.out_of_space(tmp_path))


def full(_size: int) -> bytes:
    raise OSError(28, "No space left on device")


def test_a_file_that_is_no_text_is_written_anew(tmp_path):
    file = tmp_path / "study.json"
    file.write_bytes(b"{\xff}")
    write_json(file, {"a": 1})
    assert file.read_text() == '{\n "a": 1\n}\n'
