"""How much of a run's wall time no job was running: what the workflow itself costs.

A job's benchmark file holds the seconds that its command ran, and is written as soon as it has ended, so that the two
give its interval. A run lasts from the start of Snakemake's process until it has ended all jobs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

Interval = tuple[float, float]
"""Begin and end, seconds since the epoch."""


@dataclass(frozen=True)
class RunTimes:
    jobs: int
    seconds: float
    """Wall time of the run."""
    outside: float
    """Seconds of it during which no job was running."""

    def __str__(self) -> str:
        share = self.outside / self.seconds
        return (
            f"{self.jobs} jobs in {self.seconds:.1f} s, {self.outside:.1f} s ({share:.1%}) of it without a running job"
        )


def job_intervals(benchmarks: Path) -> list[Interval]:
    """Interval of each job with a benchmark file below a folder, its last run."""
    found = []
    for file in sorted(benchmarks.rglob("*.jsonl")):
        end = file.stat().st_mtime
        found.append((end - json.loads(file.read_text().splitlines()[-1])["s"], end))
    return found


def run_times(intervals: Iterable[Interval], begin: float, end: float) -> RunTimes:
    """Times of the run between `begin` and `end`; jobs that ended before it are not its own."""
    own = sorted((max(start, begin), stop) for start, stop in intervals if stop > begin)
    outside, busy_until = 0.0, begin
    for start, stop in own:
        outside += max(0.0, start - busy_until)
        busy_until = max(busy_until, stop)
    return RunTimes(len(own), end - begin, outside + max(0.0, end - busy_until))


def write_run(file: Path, times: RunTimes) -> None:
    """Keeps the times of the last run that had jobs."""
    file.write_text(json.dumps(times.__dict__) + "\n")


def read_run(file: Path) -> RunTimes | None:
    """The times of the last run, where one was kept."""
    return RunTimes(**json.loads(file.read_text())) if file.is_file() else None
