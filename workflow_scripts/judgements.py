"""Judgement tables: one subject's judgements of a battery, parsed from what the judge answered.

`python -m workflow_scripts.judgements import FILE --output OUT.parquet` makes the same table of published judged
responses (a CSV or parquet with columns question, question_id, response, aligned, coherent and any other metric).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from workflow_scripts import command, specs
from workflow_scripts.artefacts import canonical, file_digest, provenance, read_table, write_table
from workflow_scripts.code_digest import code_digest
from workflow_scripts.conditions import asked_metrics
from workflow_scripts.judged_files import judgement_rows, read_judged
from workflow_scripts.judgement_store import JudgementStore
from workflow_scripts.judges.choice import open_judge
from workflow_scripts.judges.parsing import parse
from workflow_scripts.layout import Layout
from workflow_scripts.study import ExactJudge, load

ROW = ("response_key", "condition", "question_set", "question_id", "sample")
SCHEMA = pa.schema(
    [
        ("response_key", pa.string()),
        ("condition", pa.string()),
        ("question_set", pa.string()),
        ("question_id", pa.string()),
        ("sample", pa.int32()),
        ("metric", pa.string()),
        ("score", pa.float64()),
        ("numeric_mass", pa.float64()),
        ("refusal_mass", pa.float64()),
        ("raw", pa.string()),
        ("judge", pa.string()),
        ("prompt_hash", pa.string()),
        ("status", pa.string()),
    ]
)


def import_main(arguments: list[str]) -> None:
    parser = command.parser(__doc__, study=False)
    parser.add_argument("file", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--metrics", nargs="+", default=[], help="further score columns; those with a rubric if absent")
    parser.add_argument("--judge", help="name of the judge in the table; the file's name if absent")
    given = parser.parse_args(arguments)
    judge = given.judge or given.file.name
    rows = judgement_rows(read_judged(given.file, given.metrics), judge)
    spec = canonical({"judge": judge, "metrics": given.metrics})
    metadata = provenance("judgements", spec, source=file_digest(given.file))
    write_table(given.output, pa.Table.from_pylist(rows, SCHEMA), metadata)


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["import"]:
        import_main(arguments[1:])
        return
    parser = command.subject_parser(__doc__)
    parser.add_argument("--battery", required=True)
    given = parser.parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    judge, store = open_judge(study, layout), JudgementStore(layout.judgement_store)
    min_mass = 0.0 if isinstance(study.judge, ExactJudge) else study.judge.min_mass
    rows: list[dict[str, Any]] = []
    metrics = asked_metrics(study, given.battery)
    table = read_table(layout.responses(given.subject, given.battery), [*ROW, "question", "response"], only=True)
    for response in table.to_pylist():
        items = [item for item in judge.items(response["question"], response["response"]) if item.metric in metrics]
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
    made_by = provenance("judgements", specs.spec("judgements", study), code=code_digest("judgements"))
    write_table(given.output, pa.Table.from_pylist(rows, SCHEMA), made_by)


if __name__ == "__main__":
    command.run(main)
