"""Judgement tables: one subject's judgements of a battery, parsed from what the judge answered."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from workflow_scripts.judges.identity import identify, place_of
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
from workflow_scripts.study.conditions import asked_metrics
from workflow_scripts.study.layout import PRIMARY
from workflow_scripts.study.made_by import made_by
from workflow_scripts.study.panel import loaded


def main(arguments: list[str]) -> None:
    parser = command.subject_parser(__doc__)
    parser.add_argument("--battery", required=True)
    parser.add_argument("--judge", default=PRIMARY, help="one of the study's panel; its first judge when absent")
    given = parser.parse_args(arguments)
    study, layout = loaded(given.study, given.judge)
    judge, store = identify(study, layout), JudgementStore(layout.judgement_store)
    min_mass = study.judge.least_mass()
    rows: list[dict[str, Any]] = []
    lacking: list[Item] = []
    metrics = asked_metrics(study, given.battery)
    table = read_table(layout.responses(given.subject, given.battery), [*ROW, "question", "response"], only=True)
    for response in table.to_pylist():
        place = place_of(given.subject, given.battery, response)
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
            f"{layout.judgement_store}: lacks {len(lacking)} of {len(rows)} judgements of {given.subject} in battery "
            f"{given.battery}; run again with `--forcerun {layout.judged(given.battery)}`, which asks for them."
        )
    if poisoned := sum(row["status"] == "failed" and row["raw"] != "null" for row in rows):
        raise UserError(
            f"{given.subject}, {given.battery}: {poisoned} stored answers are none that a judge can give; run again "
            f"with `--forcerun {layout.judged(given.battery)}`, and just these are asked for anew."
        )
    read = layout.responses(given.subject, given.battery)
    code, lacks = code_digest("judgements"), recorded(absences(read))
    facts = made_by("judgements", study, layout, given.output, [read], code=code, **lacks)
    write_table(given.output, pa.Table.from_pylist(rows, SCHEMA), facts)


if __name__ == "__main__":
    command.run(main)
