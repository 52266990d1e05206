"""Response tables: one subject's responses of a battery, assembled from the shard store or taken from a given file."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pyarrow as pa

from workflow_scripts.engines.plan import lacking, planned, subject_questions
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.absence import Absence, recorded
from workflow_scripts.store.artefacts import digest, write_table
from workflow_scripts.store.code_digest import code_digest
from workflow_scripts.store.response_tables import SCHEMA
from workflow_scripts.store.responses import ResponseStore, Wanted, request_seed
from workflow_scripts.study import inputs
from workflow_scripts.study.conditions import is_given
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.made_by import made_by
from workflow_scripts.study.reading import load
from workflow_scripts.study.sampling import Battery
from workflow_scripts.study.schema import Study

Row = dict[str, Any]


def main(arguments: list[str]) -> None:
    parser = command.subject_parser(__doc__)
    parser.add_argument("--battery", required=True)
    given = parser.parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    rows, absences = (taken if is_given(study, given.subject) else stored_responses)(
        study, layout, given.battery, given.subject
    )
    names = (given.battery, given.subject)
    read = [layout.fingerprint, *inputs.response_inputs(study, layout, *names)]
    facts = made_by(
        "responses", study, layout, given.output, read, *names, code=code_digest("responses"), **recorded(absences)
    )
    write_table(given.output, pa.Table.from_pylist(rows, SCHEMA), facts)


def taken(study: Study, layout: Layout, battery: Battery, subject: str) -> tuple[list[Row], Sequence[Absence]]:
    """Rows of a subject's given responses, and what they lack."""
    from workflow_scripts.judges.given import given_responses  # and with it pandas, which nothing else here needs

    found = given_responses(study, layout, subject)
    rows = found.rows.astype(object).where(found.rows.notna(), None)
    return [{name: row.get(name) for name in SCHEMA.names} for row in rows.to_dict("records")], found.lacks


def stored_responses(
    study: Study, layout: Layout, battery: Battery, subject: str
) -> tuple[list[Row], Collection[Absence]]:
    """Rows of a subject's responses in the store, and the conditions that could not be made.

    Raises:
        UserError: if the store lacks a response.
    """
    store = ResponseStore(layout.store)
    asked = subject_questions(study, layout, battery, subject)
    rows: list[Row] = []
    for plan in planned(study, layout, battery, subject):
        stored = {row["row_key"]: row for row in store.read(plan.store_hash).to_pylist()}
        for question in asked:
            for sample in range(question.samples):
                seed = request_seed(study.sampling.seed, question.question_id, sample, plan.run)
                key = Wanted(question.question_id, question.system, question.text, sample, seed).row_key
                if key not in stored:
                    manifests = inputs.sampling_manifests(study, layout, battery)
                    raise UserError(
                        f"{layout.store}/responses/{plan.store_hash}: lacks a response to {question.question_id!r} of "
                        f"{subject} under {plan.condition.name}; "
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
    return rows, lacking(study, layout, battery, subject).values()


if __name__ == "__main__":
    command.run(main)
