"""The response browser: one self-contained page to search and filter what was said, by whom, and how it was judged."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from workflow_scripts.reporting.pages import table_page
from workflow_scripts.runtime import command
from workflow_scripts.store.artefacts import read_frame, replacing
from workflow_scripts.store.judgement_tables import KEYS, read_scores
from workflow_scripts.study.conditions import batteries, battery_subjects
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.reading import load
from workflow_scripts.study.schema import Study

COLUMNS = ["subject", "battery", "condition", "question_id", "question", "response", "aligned", "coherent"]


def collect(study: Study, layout: Layout) -> pd.DataFrame:
    """Up to `report.browser_rows` responses of each subject and condition, spread evenly over its questions."""
    parts = []
    for battery in batteries(study):
        for subject in battery_subjects(study, battery):
            responses = read_frame(layout.responses(subject, battery), [*KEYS, "question", "response"], only=True)
            merged = responses.merge(read_scores(layout.judgements(subject, battery)), on=KEYS, validate="one_to_one")
            for _, part in merged.groupby("condition", sort=False):
                step = max(1, len(part) // study.report.browser_rows)
                parts.append(part.iloc[::step].head(study.report.browser_rows).assign(subject=subject, battery=battery))
    frame = pd.concat(parts, ignore_index=True)[COLUMNS]
    return frame.round({"aligned": 1, "coherent": 1})


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    frame = collect(study, layout)
    intro = (
        f"{len(frame)} responses, at most {study.report.browser_rows} of each subject and condition. Use the arrow in "
        "a column's header to filter it; scores run from 0 to 100."
    )
    with replacing(given.output) as temporary:
        listed, wide = ["subject", "battery", "condition", "question_id"], ["question", "response"]
        temporary.write_text(table_page(frame, f"{study.study.name}: responses", intro, listed, wide))


if __name__ == "__main__":
    command.run(main)
