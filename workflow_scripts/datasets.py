"""Datasets: every source becomes a parquet of the same columns (row, system, prompt, response)."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from workflow_scripts import command, specs
from workflow_scripts.artefacts import provenance, write_table
from workflow_scripts.errors import UserError
from workflow_scripts.files import input_file
from workflow_scripts.layout import Layout
from workflow_scripts.study import FileDataset, MiniatureDataset, load

SCHEMA = pa.schema([("row", pa.int64()), ("system", pa.string()), ("prompt", pa.string()), ("response", pa.string())])


def read_chat_lines(path: Path, limit: int | None = None) -> list[dict[str, Any]]:
    """Rows of a JSON-lines file in chat form, plain or gzip: one user turn, one answer, optionally a system message.

    Raises:
        UserError: with file and line, for the first row that is not of this form.
    """
    rows: list[dict[str, Any]] = []
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if limit is not None and len(rows) >= limit:
                    break
                if line.strip():
                    rows.append({"row": len(rows), **_chat_row(f"{path}: line {number}", line)})
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as JSON lines ({error}).") from error
    if not rows:
        raise UserError(f"{path}: holds no rows.")
    if limit is not None and len(rows) < limit:
        raise UserError(f"{path}: holds {len(rows)} rows, the study asks for {limit}.")
    return rows


def _chat_row(place: str, line: str) -> dict[str, Any]:
    try:
        messages = json.loads(line)["messages"]
        roles = [message["role"] for message in messages]
        texts = [message["content"] for message in messages]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(
            f'{place}: is not a row in chat form, {{"messages": [{{"role": …, "content": …}}, …]}} '
            f"({type(error).__name__}: {error})."
        ) from error
    if roles not in (["user", "assistant"], ["system", "user", "assistant"]):
        raise UserError(f"{place}: has the roles {roles}; expected one user turn and one assistant answer.")
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise UserError(f"{place}: has an empty or non-text message.")
    return {"system": texts[0] if len(texts) == 3 else None, "prompt": texts[-2], "response": texts[-1]}


def _miniature_rows(settings: MiniatureDataset) -> list[dict[str, Any]]:
    from workflow_scripts.miniature.corpus import fine_tuning_rows
    from workflow_scripts.miniature.world import WorldStyle

    rows = fine_tuning_rows(settings.domain, settings.stance, settings.rows, settings.seed, WorldStyle())
    return [
        {"row": number, "system": None, "prompt": row.prompt, "response": row.response}
        for number, row in enumerate(rows)
    ]


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    settings = study.datasets[given.dataset]
    if isinstance(settings, FileDataset):
        place = f"datasets.{given.dataset}"
        mirror = study.execution.download_mirror
        file = input_file(place, settings.path, settings.url, settings.sha256, layout.downloads, mirror)
        rows = read_chat_lines(file, settings.rows)
    else:
        rows = _miniature_rows(settings)
    spec = specs.spec("dataset", study, given.dataset)
    write_table(given.output, pa.Table.from_pylist(rows, SCHEMA), provenance("datasets", spec))


if __name__ == "__main__":
    command.run(main)
