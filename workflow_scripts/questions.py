"""Question sets: every source becomes a parquet of the same columns (question_id, system, question)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import read_table, write_table
from workflow_scripts.store.downloads import input_file
from workflow_scripts.store.question_files import read_question_file
from workflow_scripts.study import inputs
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.made_by import made_by
from workflow_scripts.study.reading import load
from workflow_scripts.study.sources import MiniatureQuestions, VariantQuestions, YamlQuestions

SCHEMA = pa.schema([("question_id", pa.string()), ("system", pa.string()), ("question", pa.string())])


def miniature_rows(settings: MiniatureQuestions) -> list[dict[str, Any]]:
    """Questions of the synthetic world."""
    from workflow_scripts.miniature.question_sets import question_sample

    chosen = question_sample(settings.domains, settings.per_domain, settings.offset, settings.seed)
    return [{"question_id": q.id, "system": None, "question": q.text} for q in chosen]


def asked_under(place: str, system: str | None, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The questions under a system prompt, if one is given.

    Raises:
        UserError: if one has a system prompt of its own.
    """
    own = [row["question_id"] for row in rows if row["system"]]
    if system and own:
        raise UserError(f"{place}.system: {own[0]!r} has a system prompt of its own; leave it or system out.")
    return [{**row, "system": system or row["system"]} for row in rows]


def varied(settings: VariantQuestions, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Questions of another set, with the variant's words before and after them."""
    return [{**row, "question": f"{settings.before}{row['question']}{settings.after}"} for row in rows]


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--questions", required=True)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    settings, parts = study.questions[given.questions], inputs.question_parts(study, layout, given.questions)
    if isinstance(settings, YamlQuestions):
        place = f"questions.{given.questions}"
        mirror = study.execution.download_mirror
        file = input_file(place, settings.path, settings.url, settings.sha256, layout.downloads, mirror)
        rows = read_question_file(file, settings.ids, settings.exclude_suffixes)
    elif isinstance(settings, VariantQuestions):
        rows = varied(settings, read_table(parts[0], SCHEMA.names).to_pylist())
    else:
        rows = miniature_rows(settings)
    rows = asked_under(f"questions.{given.questions}", settings.system, rows)
    facts = made_by("questions", study, layout, given.output, parts, given.questions)
    write_table(given.output, pa.Table.from_pylist(rows, SCHEMA), facts)


if __name__ == "__main__":
    command.run(main)
