"""The ledger once for each judge of a panel: which verdicts depend on who scores the responses.

The tables that are made of scores are made anew from each further judge's; the others, and all that was sampled with a
direction, are as the first judge's scores made them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd
from tabulate import tabulate

from workflow_scripts.experiments import asked
from workflow_scripts.experiments.experiment import Experiment
from workflow_scripts.experiments.rows import frame_of
from workflow_scripts.reporting.claim import read_claims
from workflow_scripts.reporting.ledger import Entry, ledger
from workflow_scripts.reporting.pages import table_page
from workflow_scripts.reporting.records import plain
from workflow_scripts.runtime import command
from workflow_scripts.store.artefacts import read_frame, read_json, replacing, write_json
from workflow_scripts.study.inputs import judged_by_others
from workflow_scripts.study.layout import PRIMARY, Layout
from workflow_scripts.study.made_by import made_by
from workflow_scripts.study.panel import read_by
from workflow_scripts.study.reading import load
from workflow_scripts.study.schema import Study

SHOWN = ("verdict", "value", "low", "high", "n")
"""What is kept of a claim by each judge."""


def tables_by(study: Study, layout: Layout, judge: str) -> list[pd.DataFrame]:
    """The experiments' tables by one of the further judges; none of an experiment that reads scores it did not give."""
    read, place = read_by(study, judge), layout.read_by(judge)
    there = set(judged_by_others(study, layout))

    def by_it(experiment: Experiment) -> pd.DataFrame | None:
        own = [path for path in experiment.inputs(read, place) if path.is_relative_to(place.judged_root)]
        if not own:
            return read_frame(layout.table(experiment.table))
        return frame_of(experiment.rows(read, place)) if set(own) <= there else None

    made = (by_it(experiment) for experiment in asked(read).values())
    return [table for table in made if table is not None]


def entries_by(study: Study, layout: Layout, judge: str) -> list[Entry]:
    """The ledger by one of the further judges."""
    rows = plain(pd.concat(tables_by(study, layout, judge), ignore_index=True))
    missing = read_json(layout.not_possible)
    return ledger(read_claims(), rows, read_by(study, judge), missing)


def by_claim(by_judge: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """A row per claim: what it says, every judge's verdict with its value, and whether they differ.

    A judge that found no rows has no verdict.

    Args:
        by_judge: entries of each judge's ledger, the first judge first.
    """
    made = []
    for first in by_judge[PRIMARY]:
        found = {
            name: {key: entry[key] for key in SHOWN}
            for name, entries in by_judge.items()
            for entry in entries
            if entry["id"] == first["id"] and entry["rows"]
        }
        differs = len({shown["verdict"] for shown in found.values()}) > 1
        facts = {key: first[key] for key in ("id", "claim", "experiment", "test")}
        made.append({**facts, "differs": differs, "judges": found})
    return made


def text(rows: Sequence[Mapping[str, Any]], judges: Sequence[str], title: str) -> str:
    """What depends on the judge, as plain text."""
    compared = [row for row in rows if len(row["judges"]) > 1]
    differing = [row for row in compared if row["differs"]]
    told = f"{len(differing)} of {len(compared)} verdicts depend on who judges ({', '.join(judges)})."
    table = tabulate(
        [[row["id"], row["experiment"], *(_cell(row["judges"].get(name)) for name in judges)] for row in differing],
        ["claim", "", *judges],
        tablefmt="simple",
        disable_numparse=True,
    )
    return f"{title}\n{told}\n\n{table}\n" if differing else f"{title}\n{told}\n"


def _cell(shown: Mapping[str, Any] | None) -> str:
    if shown is None:
        return ""
    value = "" if shown["value"] is None else f" ({shown['value']:.3g})"
    return f"{shown['verdict']}{value}"


def main(arguments: list[str]) -> None:
    given = command.parser(__doc__).parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    by_judge = {PRIMARY: read_json(layout.root / "claims.json")}
    by_judge |= {name: [asdict(entry) for entry in entries_by(study, layout, name)] for name in study.judges}
    rows, judges = by_claim(by_judge), list(by_judge)
    title = f"Claims of the paper by each judge, in the study {study.study.name}"
    read = [*judged_by_others(study, layout), layout.root / "claims.json", layout.not_possible]
    write_json(layout.panel, rows, made_by("panel", study, layout, layout.panel, read))
    with replacing(layout.panel.with_suffix(".txt")) as temporary:
        temporary.write_text(text(rows, judges, title))
    flat = [
        {key: row[key] for key in ("id", "claim", "experiment", "differs")}
        | {f"{part} {name}": row["judges"].get(name, {}).get(part) for name in judges for part in ("verdict", "value")}
        for row in rows
    ]
    intro = (
        f"{text(rows, judges, title).splitlines()[1]} Directions, and what was sampled with them, are those of the "
        "first judge's scores. A judge has no verdict on what it was not asked for."
    )
    listed = ["experiment", "differs", *(f"verdict {name}" for name in judges)]
    with replacing(layout.panel.with_suffix(".html")) as temporary:
        temporary.write_text(table_page(pd.DataFrame(flat).round(4), title, intro, listed, ["claim"]))
    print(text(rows, judges, title))


if __name__ == "__main__":
    command.run(main)
