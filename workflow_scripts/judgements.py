"""Judgement tables: one subject's judgements of a battery, parsed from the judge's answers, or as they were given."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from workflow_scripts.judges.given import given_responses
from workflow_scripts.judges.identity import identify, place_of
from workflow_scripts.judges.imported import judgement_rows
from workflow_scripts.judges.interface import Item
from workflow_scripts.judges.parsing import parse
from workflow_scripts.judges.store import JudgementStore
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.absence import absences, recorded
from workflow_scripts.store.artefacts import (
    read_table,
    write_table,
)
from workflow_scripts.store.code_digest import code_digest
from workflow_scripts.store.judgement_tables import ROW, SCHEMA
from workflow_scripts.study import inputs
from workflow_scripts.study.conditions import asked_metrics, keeps_scores
from workflow_scripts.study.layout import PRIMARY, Layout
from workflow_scripts.study.made_by import made_by
from workflow_scripts.study.panel import loaded
from workflow_scripts.study.sampling import Battery
from workflow_scripts.study.schema import Study


def parsed(study: Study, layout: Layout, battery: Battery, subject: str) -> list[dict[str, Any]]:
    """What the study's judge answered of a subject's responses, as scores.

    Raises:
        UserError: if the store lacks an answer, or holds one that no judge can give.
    """
    judge, store = identify(study, layout), JudgementStore(layout.judgement_store)
    min_mass = study.judge.least_mass()
    rows: list[dict[str, Any]] = []
    lacking: list[Item] = []
    metrics = asked_metrics(study, battery)
    table = read_table(layout.responses(subject, battery), [*ROW, "question", "response"], only=True)
    for response in table.to_pylist():
        place = place_of(subject, battery, response)
        items = judge.items(response["question"], response["response"], place)
        items = [item for item in items if item.metric in metrics]
        present = store.get(judge.name, items)
        lacking += [item for item in items if item not in present]
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
    if lacking:
        raise UserError(
            f"{layout.judgement_store}: lacks {len(lacking)} of {len(rows)} judgements of {subject} in battery "
            f"{battery}; run again with `--forcerun {layout.judged(battery)}`, which asks for them."
        )
    if poisoned := sum(row["status"] == "failed" and row["raw"] != "null" for row in rows):
        raise UserError(
            f"{subject}, {battery}: {poisoned} stored answers are none that a judge can give; run again "
            f"with `--forcerun {layout.judged(battery)}`, and just these are asked for anew."
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
    parser.add_argument("--judge", default=PRIMARY, help="one of the study's panel; its first judge when absent")
    given = parser.parse_args(arguments)
    study, layout = loaded(given.study, given.judge)
    if keeps_scores(study, given.subject):
        rows = kept(study, layout, given.subject)
    else:
        rows = parsed(study, layout, given.battery, given.subject)
    read = layout.responses(given.subject, given.battery)
    code, lacks = code_digest("judgements"), recorded(absences(read))
    facts = made_by("judgements", study, layout, given.output, [read], code=code, **lacks)
    write_table(given.output, pa.Table.from_pylist(rows, SCHEMA), facts)


if __name__ == "__main__":
    command.run(main)
