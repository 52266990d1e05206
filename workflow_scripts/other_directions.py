"""Directions from the study's other source (`directions.also`), which are held against the first's by cosine."""

from __future__ import annotations

from workflow_scripts.models.subject_direction import take_direction
from workflow_scripts.runtime import command
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.reading import load


def main(arguments: list[str]) -> None:
    given = command.subject_parser(__doc__).parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    assert study.directions.also, "asked for only where the study names another source"
    take_direction("other_directions", study.directions.also, study, layout, given.subject, layout.other_direction)


if __name__ == "__main__":
    command.run(main)
