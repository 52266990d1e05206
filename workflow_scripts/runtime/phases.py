"""Where a stage's seconds go: its start with all imports, loading of models, starting of engines, its work.

Within the workflow, a stage that has ended well says so in the last line of its log, which `make bench` adds up.
"""

from __future__ import annotations

import os
import re
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import psutil

TOLD = "EM_PHASES"
"""Set in the environment of the workflow's jobs, whose logs have the line; tools are silent."""
Phase = Literal["loading", "engine"]
PHASES = ("start", "loading", "engine", "work")
"""Of a stage's process: starting Python and importing; loading models; starting engines; all else."""
LINE = re.compile(r"seconds: (.+), of CPU ([\d.]+)$", re.M)

_spent: dict[str, float] = {}
_inside: list[Phase] = []


@contextmanager
def phase(name: Phase) -> Iterator[None]:
    """Counts the seconds of a block; one within another is part of the outer one."""
    if _inside:
        yield
        return
    _inside.append(name)
    begun = time.monotonic()
    try:
        yield
    finally:
        _inside.pop()
        _spent[name] = _spent.get(name, 0.0) + time.monotonic() - begun


def told(began: float) -> str:
    """The line of this process; `began`: when its work began, all imports done, seconds since the epoch."""
    start = began - psutil.Process().create_time()
    work = time.time() - began - sum(_spent.values())
    spent = {"start": start, **_spent, "work": work}
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(usage.ru_utime + usage.ru_stime for usage in used)
    return f"seconds: {', '.join(f'{name} {seconds:.2f}' for name, seconds in spent.items())}, of CPU {cpu:.2f}"


def asked() -> bool:
    return TOLD in os.environ


def read(log: str) -> dict[str, float] | None:
    """Seconds by phase, and `CPU`, that a stage's log says; None where it says none."""
    found = LINE.findall(log)
    if not found:
        return None
    parts, cpu = found[-1]
    pairs = (part.split(" ") for part in parts.split(", "))
    return {**{name: float(seconds) for name, seconds in pairs}, "CPU": float(cpu)}
