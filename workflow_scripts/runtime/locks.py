"""One at a time: jobs that fill the same part of a store wait for each other.

A job may outlive the workflow that started it (Snakemake killed, its jobs not). The next run's job then waits until the
first has ended, and finds its results, instead of making them a second time.
"""

from __future__ import annotations

import errno
import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What a file system says that offers no file locks."""


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on a file within the block; the kernel frees it when the holder dies.

    On a file system without locks it only warns: results stay right, but two jobs may do the same work.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting for another job that works on the same (%s is locked)", path)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            log.warning("%s: this file system has no locks (%s)", path, error.strerror)
        yield
