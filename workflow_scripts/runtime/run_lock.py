"""Snakemake's lock of a working directory, when its holder has died.

Snakemake marks a directory that it works in by files in .snakemake/locks, which list what a run reads and makes. They
stay when it is killed, and the next run stops at them until someone calls `snakemake --unlock`. Several runs may work
in one folder, each on a study of its own. So each run also holds a file lock of its own, which the kernel frees when
the run dies; its host and its study's folder stand in the file, which the run removes when it ends by itself. Marks are
removed of runs of this host that have died, and only where they are of no other's study; after runs on other hosts, or
without such a file, Snakemake decides.
"""

from __future__ import annotations

import atexit
import fcntl
import logging
import os
import socket
import uuid
from pathlib import Path
from typing import IO

from workflow_scripts.runtime.locks import exclusive

log = logging.getLogger(__name__)

RUNS = "em-runs"


def take_over(folder: Path, study: Path) -> IO[str] | None:
    """Marks a working directory as this run's, and removes what runs that have died there left behind.

    Args:
        folder: Snakemake's own, `.snakemake`.
        study: folder of the results that this run makes, as Snakemake names its files.

    Returns:
        The open file, which holds this run's lock as long as it is open; None without file locks, or where nothing can
        be written, which Snakemake says itself.
    """
    try:
        runs = folder / RUNS
        runs.mkdir(parents=True, exist_ok=True)
        with exclusive(folder / f"{RUNS}.lock"):  # else two that begin at once might each see the other, or neither
            _clear(folder / "locks", runs)
            own = runs / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
            file = own.open("w")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(f"{socket.gethostname()}\n{study}\n")
            file.flush()
    except OSError:
        return None
    atexit.register(_end, own, os.getpid())
    return file


def _clear(marks: Path, runs: Path) -> None:
    """Removes the marks of killed runs, but for those that may be another's, and the files of these runs."""
    dead: list[Path] = []
    killed, others = set(), set()
    for record in runs.iterdir():
        with record.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                lives = False
            except BlockingIOError:
                lives = True
            host, study = (*file.read().splitlines(), "", "")[:2]
            if lives or host != socket.gethostname():  # locks of another host may not be seen here
                others.add(study)
            else:
                dead.append(record)
                killed.add(study)
    if not dead:
        return
    for mark in sorted(marks.glob("*.lock")):
        named = {study for study in killed | others if f"{study}/" in mark.read_text()}
        if not named & others and (named & killed or not others):
            log.warning("a run in this folder was killed; its lock %s is removed, finished results are kept", mark.name)
            mark.unlink()
    for record in dead:
        record.unlink()


def _end(own: Path, process: int) -> None:
    if os.getpid() == process:  # not in a forked child
        own.unlink(missing_ok=True)
