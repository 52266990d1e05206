"""Question sets: every source becomes a parquet of the same columns (question_id, system, question)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import provenance, write_table
from workflow_scripts.store.downloads import input_file
from workflow_scripts.store.yaml_files import read_yaml
from workflow_scripts.study import specs
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.reading import load
from workflow_scripts.study.sources import MiniatureQuestions, YamlQuestions

SCHEMA = pa.schema([("question_id", pa.string()), ("system", pa.string()), ("question", pa.string())])


def read_question_file(
    path: Path, ids: list[str] | None = None, exclude_suffixes: list[str] | None = None
) -> list[dict[str, Any]]:
    """Questions of a YAML list in the form of Betley et al.; each paraphrase is a question. One text may stand under
    `question`.

    Raises:
        UserError: if the file is not of this form, two questions come to one name, or an id is not there.
    """
    entries = read_yaml(path)
    if not isinstance(entries, list):
        raise UserError(f"{path}: is not a list of questions (id, paraphrases).")
    found: dict[str, list[dict[str, Any]]] = {}
    for position, entry in enumerate(entries):
        place = f"{path}: entry {position + 1}"
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
            raise UserError(f"{place}: has no id.")
        texts = entry.get("paraphrases", [entry["question"]] if "question" in entry else None)
        if (
            not isinstance(texts, list)
            or not texts
            or not all(isinstance(text, str) and text.strip() for text in texts)
        ):
            raise UserError(f"{place} ({entry['id']}): needs `paraphrases`, a list of texts that are not empty.")
        if entry["id"] in found:
            raise UserError(f"{place}: the id {entry['id']!r} stands in the file twice.")
        names = [entry["id"]] if len(texts) == 1 else [f"{entry['id']}-{k}" for k in range(len(texts))]
        found[entry["id"]] = [
            {"question_id": name, "system": entry.get("system"), "question": text.strip()}
            for name, text in zip(names, texts, strict=True)
        ]
    named = Counter(row["question_id"] for rows in found.values() for row in rows)
    twice = [name for name, times in named.items() if times > 1]
    if twice:
        raise UserError(
            f"{path}: two questions would be named {twice[0]!r}, an entry and a paraphrase; rename the entry."
        )
    missing = [wanted for wanted in ids or [] if wanted not in found]
    if missing:
        raise UserError(f"{path}: has no question {missing[0]!r}; there is {', '.join(found)}.")
    chosen = ids or [name for name in found if not name.endswith(tuple(exclude_suffixes or ()))]
    if not chosen:
        raise UserError(f"{path}: no question is left after leaving out {', '.join(exclude_suffixes or [])}.")
    return [row for name in chosen for row in found[name]]


def _miniature_rows(settings: MiniatureQuestions) -> list[dict[str, Any]]:
    from workflow_scripts.miniature.question_sets import question_sample

    chosen = question_sample(settings.domains, settings.per_domain, settings.offset, settings.seed)
    return [{"question_id": q.id, "system": None, "question": q.text} for q in chosen]


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--questions", required=True)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    settings = study.questions[given.questions]
    if isinstance(settings, YamlQuestions):
        place = f"questions.{given.questions}"
        mirror = study.execution.download_mirror
        file = input_file(place, settings.path, settings.url, settings.sha256, layout.downloads, mirror)
        rows = read_question_file(file, settings.ids, settings.exclude_suffixes)
    else:
        rows = _miniature_rows(settings)
    spec = specs.spec("questions", study, given.questions)
    write_table(given.output, pa.Table.from_pylist(rows, SCHEMA), provenance("questions", spec))


if __name__ == "__main__":
    command.run(main)
