"""Memory that a process may take: the machine's, or less where a container or a cluster's job has a limit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil

GROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def total(groups: Path = GROUPS, membership: Path = MEMBERSHIP) -> int:
    """Memory that there is for this process and those beside it, bytes."""
    limits = [limit for limit, _ in limited(groups, membership)]
    return min([int(psutil.virtual_memory().total), *limits])


def available(groups: Path = GROUPS, membership: Path = MEMBERSHIP) -> int:
    """Memory that is free for this process now, bytes."""
    left = [max(0, limit - used) for limit, used in limited(groups, membership)]
    return min([int(psutil.virtual_memory().available), *left])


def limited(groups: Path, membership: Path) -> Iterator[tuple[int, int]]:
    """Limit and use, bytes, of each control group that this process is in and that has a limit.

    What is only kept of files that were read (weights, for instance) does not count as used: it gives way.

    Args:
        groups: where control groups are mounted, of version 2, or of version 1 with a folder for each controller.
        membership: the file that lists the process's own.
    """
    try:
        listed = membership.read_text().splitlines()
    except OSError:
        return
    for line in listed:
        _, controllers, place = line.split(":", 2)
        if not controllers:
            top, names = groups, ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            top, names = groups / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        own = top / place.strip("/")
        for group in (own, *own.parents):
            try:
                limit, used = (int((group / name).read_text()) for name in names)
            except (OSError, ValueError):  # not mounted so, or no limit: "max"
                pass
            else:
                yield limit, used - _cached(group)
            if group == top:
                break


def _cached(group: Path) -> int:
    """Bytes of a control group's files that nobody has used for a while, in the form of either version."""
    try:
        lines = [line.split() for line in (group / "memory.stat").read_text().splitlines()]
        told = {name: int(value) for name, value in lines}
    except (OSError, ValueError):
        return 0
    return told.get("total_inactive_file", told.get("inactive_file", 0))
