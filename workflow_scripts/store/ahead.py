"""Work that a process does ahead of other jobs of the same run, once it has imported what they need.

Starting a process costs seconds of imports and loading, often more than a small training or extraction itself. So a
run whose jobs stay on this machine says what it is going to make (`announce`), and a job that has done its own work
goes on with that of jobs that wait (`work_through`). What is made ahead lies beside its place until its own job moves
it there: Snakemake plans, starts and counts every job as ever, and a killed process loses what it was making, no more.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from workflow_scripts.runtime.leftovers import remove
from workflow_scripts.runtime.locks import Busy, exclusive, lock_of, making
from workflow_scripts.store.artefacts import replacing, write_json

log = logging.getLogger(__name__)

ANNOUNCED = "EM_ANNOUNCED"
"""In the environment of a run's jobs: the file that says what the run is going to make."""
ENOUGH = 180.0
"""Seconds of work after which a process takes on no more: a run that fails elsewhere waits for jobs that go on."""


@dataclass(frozen=True)
class Work:
    """Something that is made as a whole."""

    place: Path
    """The file or folder."""
    output: Path
    """The file itself, or one in the folder."""
    made_from: str
    """Digest of all that it is made from: what is made ahead from other things is not taken."""

    @property
    def ahead(self) -> Path:
        """Where it lies until its own job moves it to its place."""
        return self.place.with_name(f".{self.place.name}.ahead-{self.made_from}{self.place.suffix}")


@dataclass(frozen=True)
class Planned:
    """A job of the run: one of its files, and those of its inputs that the run makes, too."""

    output: str
    inputs: Sequence[str]


def announce(planned: Mapping[str, Mapping[str, Planned]], file: Path) -> None:
    """Tells the jobs of this run what it is going to make; what is older than the file was made before the run.

    Args:
        planned: stage -> subject -> its job.
        file: where it is written, as this process and its jobs name it.
    """
    told = {stage: {name: asdict(job) for name, job in jobs.items()} for stage, jobs in planned.items()}
    file.unlink(missing_ok=True)
    write_json(file, told)
    os.environ[ANNOUNCED] = str(file)


def waiting(stage: str) -> list[str]:
    """Subjects of a stage that this run is going to make, has not made, and has all inputs of."""
    if ANNOUNCED not in os.environ:
        return []
    file = Path(os.environ[ANNOUNCED])
    since, told = file.stat().st_mtime, json.loads(file.read_text()).get(stage, {})
    planned = {name: Planned(**job) for name, job in told.items()}
    return [
        name
        for name, job in planned.items()
        if not _made(job.output, since) and all(_made(file, since) for file in job.inputs)
    ]


def _made(file: str, since: float) -> bool:
    try:
        return Path(file).stat().st_mtime >= since
    except FileNotFoundError:
        return False


def work_through(stage: str, subject: str, work: Callable[[str], Work], make: Callable[[str, Path], None]) -> None:
    """Makes what a job is of, unless another job has made it; then, ahead of their own jobs, what waits.

    Args:
        stage, subject: whose job it is.
        work: of a subject.
        make: makes a subject's file or folder at a path, as a whole.
    """
    own = work(subject)
    with making(own.place, own.output, own.made_from) as wanted:
        if not wanted:
            return
        if own.ahead.exists():
            log.info("%s: another job of this run has made it ahead, and its log says how", subject)
        else:
            make(subject, own.ahead)
            _make_others(stage, subject, work, make)
        _move(own)


def _make_others(stage: str, subject: str, work: Callable[[str], Work], make: Callable[[str, Path], None]) -> None:
    tried, end = {subject}, time.monotonic() + ENOUGH
    while time.monotonic() < end:
        other = next((name for name in waiting(stage) if name not in tried), None)
        if other is None:
            return
        tried.add(other)
        try:
            found = work(other)
            with exclusive(lock_of(found.place), wait=False):
                if not found.ahead.exists():
                    log.info("%s: made ahead of its own job", other)
                    gc.collect()  # the model before may be held by cycles
                    make(other, found.ahead)
        except Busy:
            continue
        except Exception as error:
            log.warning("%s is left to its own job, which will say more: %s", other, error)
            return


def _move(work: Work) -> None:
    """Moves what was made to its place, as new as if it had been made there."""
    with replacing(work.place) as temporary:
        work.ahead.replace(temporary)
        for file in [temporary, *temporary.rglob("*")]:
            os.utime(file, follow_symlinks=False)
    for other in work.place.parent.glob(f".{work.place.name}.ahead-*"):  # of a study or code that has changed since
        remove(other)
