"""Directions that the study names by file, in the form and place of its own, after they were held against the base."""

from __future__ import annotations

from pathlib import Path

from workflow_scripts.models.direction_files import imported_direction, vector_digests
from workflow_scripts.runtime import command
from workflow_scripts.store.artefacts import write_tensors
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.made_by import made_by
from workflow_scripts.study.reading import load


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--name", required=True, help="what the study calls the direction")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    tensors, facts = imported_direction(study, layout, given.name)
    told = ("tokens", "misaligned", "aligned", "source")
    kept = {name: facts[name] for name in told if name in facts} | dict(vector_digests(tensors))
    facts = made_by("imported_directions", study, layout, given.output, [layout.fingerprint], given.name, **kept)
    write_tensors(given.output, tensors, facts)


if __name__ == "__main__":
    command.run(main)
