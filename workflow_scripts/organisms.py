"""Organisms: the base fine-tuned (PAPER section 2), or a published adapter; several that wait in one process."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from workflow_scripts.runtime import command
from workflow_scripts.store.ahead import Work, work_through
from workflow_scripts.study import inputs
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.made_by import made_by, work_of
from workflow_scripts.study.reading import load
from workflow_scripts.study.schema import Study


def work(study: Study, layout: Layout, subject: str) -> Work:
    """What tells one organism's training from another."""
    read, gate = [layout.fingerprint, *inputs.trained_with(study, layout, subject)], layout.gate(subject)
    facts = made_by("organisms", study, layout, gate, read, subject)
    return Work(layout.organism(subject), gate, work_of("organisms", facts))


def make(study: Study, layout: Layout, subject: str, place: Path) -> None:
    # seconds of imports, which a job that finds its work done does without
    from workflow_scripts.adapters.fine_tuning import fine_tune

    fine_tune(study, layout, subject, place)


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--organism", required=True, help="<organism>/seed-<k>")
    given = parser.parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    work_through("organisms", given.organism, partial(work, study, layout), partial(make, study, layout))


if __name__ == "__main__":
    command.run(main)
