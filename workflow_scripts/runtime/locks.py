"""One at a time: jobs that fill the same part of a store, or make the same files, wait for each other.

A job may outlive the workflow that started it (Snakemake killed, its jobs not). The next run's job then waits until the
first has ended, and finds its results, instead of making them a second time; and the run says so when it begins.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What a file system says that offers no file locks."""


@contextmanager
def making(place: Path, output: Path, work: str) -> Iterator[bool]:
    """Within the block nobody else makes the same; yields whether there is anything to do.

    There is not where another job that did just this work was waited for, and has made it.

    Args:
        place: the file or folder that is made or replaced; the lock lies beside it.
        output: the file itself, or one in the folder.
        work: tells the work from other work on the same place, such as a digest of what it is made from.
    """
    note = lock_of(place)
    held_by = _read(note)
    with exclusive(note) as waited:
        note.write_text(json.dumps({"process": os.getpid(), "host": socket.gethostname(), "work": work}))
        if waited and held_by.get("work") == work and output.exists():
            log.info("%s was made by the job that was waited for", output)
            yield False
        else:
            yield True


def lock_of(place: Path) -> Path:
    """The lock beside a file or folder that is made."""
    return place.with_name(f".{place.name}.lock")


def is_held(lock: Path) -> bool:
    """Whether a living process holds the lock of a file; where there are no locks, nobody does."""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def still_worked_on(root: Path) -> list[str]:
    """Sentences about each job of an earlier run that still works on something below a folder."""
    told = []
    for lock in sorted(root.glob("**/.*.lock")):
        if is_held(lock):
            note = _read(lock)
            who = f"process {note['process']} on {note['host']}" if "process" in note else "another process"
            made = lock.with_name(lock.name.removeprefix(".").removesuffix(".lock"))
            told.append(
                f"{made}: a job of an earlier run, {who}, still works on it; this run waits until it has ended and "
                "then goes on from its results."
            )
    return told


def _read(lock: Path) -> dict[str, Any]:
    """What the holder of a lock has noted; nothing where it has not."""
    try:
        found = json.loads(lock.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


class Busy(Exception):
    """Somebody else holds a lock."""


@contextmanager
def exclusive(path: Path, wait: bool = True) -> Iterator[bool]:
    """Holds an exclusive lock on a file within the block, and yields whether it was waited for.

    The kernel frees it when the holder dies; a holder that ends by itself removes the file.

    On a file system without locks it only warns: results stay right, but two jobs may do the same work.

    Raises:
        Busy: if somebody else holds it and it is not to be waited for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    waited, held = False, False
    while not held:
        with path.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not wait:
                    raise Busy(path) from None
                if not waited:
                    log.info("waiting for another job that works on the same (%s is locked)", path)
                waited = True
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                log.warning("%s: this file system has no locks (%s)", path, error.strerror)
            held = _is_still(path, file.fileno())
            if held:
                try:
                    yield waited
                finally:
                    path.unlink(missing_ok=True)  # while it is held: who waits finds another file in its place


@contextmanager
def shared(path: Path) -> Iterator[None]:
    """Within the block nobody holds the lock of a file exclusively; others may share it. The last removes the file."""
    held = False
    while not held:
        with path.open("a+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH)
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
            held = _is_still(path, file.fileno())
            if held:
                try:
                    yield
                finally:
                    with suppress(OSError):
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        path.unlink(missing_ok=True)


def _is_still(path: Path, opened: int) -> bool:
    """Whether an open file is the one at a path, which the last holder may have removed."""
    try:
        return os.path.samestat(path.stat(), os.fstat(opened))
    except FileNotFoundError:
        return False
