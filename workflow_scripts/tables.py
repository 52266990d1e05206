"""The experiments' tables, one long form for all: a row per experiment, subject, quantity and condition."""

from __future__ import annotations

from pathlib import Path

from workflow_scripts.experiments import EXPERIMENTS, asked
from workflow_scripts.experiments.rows import NOT_POSSIBLE, frame_of
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import canonical, provenance, write_table
from workflow_scripts.store.lineage import origin
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.reading import load


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--table", required=True, help="an experiment's table, for instance em_rates")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    experiment = next((made for made in EXPERIMENTS if made.table == given.table), None)
    if experiment is None or not experiment.asked(study):
        raise UserError(f"--table: this study has no table {given.table!r}; it has {', '.join(asked(study))}.")
    rows = frame_of(experiment.rows(study, layout))
    lacks = {NOT_POSSIBLE: experiment.not_possible(study, layout)}
    facts = origin(layout.root, given.output, experiment.inputs(study, layout))
    write_table(given.output, rows, provenance("tables", canonical(experiment.slice(study)), **facts, **lacks))


if __name__ == "__main__":
    command.run(main)
