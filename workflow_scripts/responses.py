"""Response tables: one subject's responses of a battery, assembled from the shard store."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from workflow_scripts.engines.plan import lacking, planned, subject_questions
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.absence import recorded
from workflow_scripts.store.artefacts import digest, write_table
from workflow_scripts.store.code_digest import code_digest
from workflow_scripts.store.response_tables import SCHEMA
from workflow_scripts.store.responses import ResponseStore, Wanted, request_seed
from workflow_scripts.study import inputs
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.made_by import made_by
from workflow_scripts.study.reading import load


def main(arguments: list[str]) -> None:
    parser = command.subject_parser(__doc__)
    parser.add_argument("--battery", required=True)
    given = parser.parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    store = ResponseStore(layout.store)
    asked = subject_questions(study, layout, given.battery, given.subject)
    rows: list[dict[str, Any]] = []
    for plan in planned(study, layout, given.battery, given.subject):
        stored = {row["row_key"]: row for row in store.read(plan.store_hash).to_pylist()}
        for question in asked:
            for sample in range(question.samples):
                seed = request_seed(study.sampling.seed, question.question_id, sample, plan.run)
                key = Wanted(question.question_id, question.system, question.text, sample, seed).row_key
                if key not in stored:
                    manifests = inputs.sampling_manifests(study, layout, given.battery)
                    raise UserError(
                        f"{layout.store}/responses/{plan.store_hash}: lacks a response to {question.question_id!r} of "
                        f"{given.subject} under {plan.condition.name}; "
                        f"run again with `--forcerun {' '.join(map(str, manifests))}`, which samples it."
                    )
                found = stored[key]
                rows.append(
                    {
                        "response_key": digest(question.text, found["response"]),
                        "condition": plan.condition.name,
                        "question_set": question.question_set,
                        "question_id": question.question_id,
                        "system": question.system,
                        "question": question.text,
                        "sample": sample,
                        **{
                            name: found[name]
                            for name in ("response", "tokens", "finish_reason", "seed", "prompt_token_ids")
                        },
                    }
                )
    names = (given.battery, given.subject)
    read = [layout.fingerprint, *inputs.response_inputs(study, layout, *names)]
    lacks = recorded(lacking(study, layout, given.battery, given.subject).values())
    code = code_digest("responses")
    facts = made_by("responses", study, layout, given.output, read, *names, code=code, **lacks)
    write_table(given.output, pa.Table.from_pylist(rows, SCHEMA), facts)


if __name__ == "__main__":
    command.run(main)
