"""Snakemake's lock of a working directory, when its holder has died.

Snakemake marks a directory that it works in by files in .snakemake/locks. They stay when it is killed, and the next run
stops at them until someone calls `snakemake --unlock`. Here every run also holds a file lock, which the kernel frees
when the run dies, and its host stands in the file until the run ends by itself. Marks are removed only where that
lock is free and this host stands in the file; after a run on another host, or without such a file, Snakemake decides.
"""

from __future__ import annotations

import atexit
import fcntl
import logging
import shutil
import socket
from pathlib import Path
from typing import IO

log = logging.getLogger(__name__)


def take_over(folder: Path) -> IO[str] | None:
    """Takes the lock of a working directory and removes the marks of a run that has died there.

    Args:
        folder: Snakemake's own, `.snakemake`.

    Returns:
        The open file, which holds the lock as long as it is open; None while another run lives or without file locks.
    """
    folder.mkdir(exist_ok=True)
    file = (folder / "em-run.lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    file.seek(0)
    marks = folder / "locks"
    if file.read().strip() == socket.gethostname() and marks.is_dir() and any(marks.iterdir()):
        log.warning("a run in this folder was killed; its lock is removed, finished results are kept")
        shutil.rmtree(marks)
    file.seek(0)
    file.truncate()
    file.write(socket.gethostname() + "\n")
    file.flush()
    atexit.register(file.truncate, 0)
    return file
