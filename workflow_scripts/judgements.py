"""Judgement tables: one subject's judgements of a battery, parsed from the judge's answers, or as they were given."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from workflow_scripts.judges.given import given_responses
from workflow_scripts.judges.identity import identify, place_of
from workflow_scripts.judges.imported import judgement_rows
from workflow_scripts.judges.parsing import parse
from workflow_scripts.judges.store import JudgementStore
from workflow_scripts.runtime import command
from workflow_scripts.store.absence import absences, recorded
from workflow_scripts.store.artefacts import (
    provenance,
    read_table,
    write_table,
)
from workflow_scripts.store.code_digest import code_digest
from workflow_scripts.store.judgement_tables import ROW, SCHEMA
from workflow_scripts.study import inputs, specs
from workflow_scripts.study.conditions import asked_metrics, keeps_scores
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.reading import load
from workflow_scripts.study.sampling import Battery
from workflow_scripts.study.schema import Study


def parsed(study: Study, layout: Layout, battery: Battery, subject: str) -> list[dict[str, Any]]:
    """What the study's judge answered of a subject's responses, as scores."""
    judge, store = identify(study, layout), JudgementStore(layout.judgement_store)
    min_mass = study.judge.least_mass()
    rows: list[dict[str, Any]] = []
    metrics = asked_metrics(study, battery)
    table = read_table(layout.responses(subject, battery), [*ROW, "question", "response"], only=True)
    for response in table.to_pylist():
        items = judge.items(response["question"], response["response"], place_of(subject, battery, response))
        items = [item for item in items if item.metric in metrics]
        present = store.get(judge.name, items)
        for item in items:
            score = parse(present.get(item), min_mass)
            rows.append(
                {name: response[name] for name in ROW}
                | {
                    "metric": item.metric,
                    "score": score.value,
                    "numeric_mass": score.numeric_mass,
                    "refusal_mass": score.refusal_mass,
                    "raw": json.dumps(present.get(item)),
                    "judge": judge.name,
                    "prompt_hash": item.prompt_hash,
                    "status": score.status,
                }
            )
    return rows


def kept(study: Study, layout: Layout, subject: str) -> list[dict[str, Any]]:
    """The scores that a subject's responses were given with."""
    found = given_responses(study, layout, subject)
    file = inputs.given_file(study, subject)[0].name
    return judgement_rows(found.rows, found.rows[list(found.statuses)], found.statuses, file, found.rows["sample"])


def main(arguments: list[str]) -> None:
    parser = command.subject_parser(__doc__)
    parser.add_argument("--battery", required=True)
    given = parser.parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    if keeps_scores(study, given.subject):
        rows = kept(study, layout, given.subject)
    else:
        rows = parsed(study, layout, given.battery, given.subject)
    lacks = recorded(absences(layout.responses(given.subject, given.battery)))
    made_by = provenance("judgements", specs.spec("judgements", study), code=code_digest("judgements"), **lacks)
    write_table(given.output, pa.Table.from_pylist(rows, SCHEMA), made_by)


if __name__ == "__main__":
    command.run(main)
