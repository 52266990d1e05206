"""Names of temporary files and folders that tell whose they are, so that what a killed process left is removed."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]


def owned() -> str:
    """Part of a name: this host, this process, and a number that no other name has."""
    return f"{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def remove_leftovers(folder: Path, prefix: str, suffix: str) -> None:
    """Removes what lies in a folder under `<prefix>…<owned><suffix>` of processes of this host that live no more."""
    for path in folder.glob(f"{prefix}*{suffix}"):
        host, process, *_ = [*path.name.removesuffix(suffix).split(".")[-1].split("-")[-3:], "", ""]
        if host == _host() and process.isdigit() and not _lives(int(process)):
            remove(path)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        return True
    return True


def remove(path: Path) -> None:
    """Removes a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def scratch_folder(name: str) -> Path:
    """Makes an empty folder below the temporary one; those that killed processes left under its name are removed."""
    place, prefix = Path(tempfile.gettempdir()), f"em-{name}."
    remove_leftovers(place, prefix, "")
    folder = place / f"{prefix}{owned()}"
    folder.mkdir(mode=0o700)
    return folder


@contextmanager
def scratch(name: str) -> Iterator[Path]:
    """As `scratch_folder`, for the time of the block."""
    folder = scratch_folder(name)
    try:
        yield folder
    finally:
        remove(folder)
