"""Mean-difference directions: mean over misaligned minus mean over aligned answer tokens, layer by layer (section 3.1).

The organism reads its own judged responses, or a row-paired bad and good data set (`directions.source`).
"""

from __future__ import annotations

from workflow_scripts.models.subject_direction import take_direction
from workflow_scripts.runtime import command
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.reading import load


def main(arguments: list[str]) -> None:
    given = command.subject_parser(__doc__).parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    take_direction("directions", study.directions.source, study, layout, given.subject, layout.direction)


if __name__ == "__main__":
    command.run(main)
