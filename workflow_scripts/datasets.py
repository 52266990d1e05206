"""Datasets: every source becomes a parquet of the same columns (row, system, prompt, response)."""

from __future__ import annotations

import gzip
import json
import random
import shutil
import subprocess
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.runtime.leftovers import scratch
from workflow_scripts.store.artefacts import read_table, write_table
from workflow_scripts.store.downloads import input_file
from workflow_scripts.store.foreign import foreign, reason
from workflow_scripts.store.hub import hub_snapshot
from workflow_scripts.store.text_tables import is_storable
from workflow_scripts.study import inputs
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.made_by import made_by
from workflow_scripts.study.reading import load
from workflow_scripts.study.sources import ArchiveDataset, FileDataset, HubDataset, MiniatureDataset, MixedDataset

SCHEMA = pa.schema([("row", pa.int64()), ("system", pa.string()), ("prompt", pa.string()), ("response", pa.string())])


ARCHIVE_TOOL = "easy-dataset-share"
ARCHIVE_TOOL_MINUTES = 10


def read_rows(path: Path, limit: int | None = None, parquet: bool = False) -> list[dict[str, Any]]:
    """Rows of a file in chat form: one user turn, one answer, optionally a system message.

    JSON lines, plain or gzip (`*.gz`), or a parquet table with a column `messages`.

    Raises:
        UserError: with file and line or row, for the first that is not of this form.
    """
    chats = _parquet_chats(path) if parquet else _line_chats(path)
    rows: list[dict[str, Any]] = []
    for place, messages in chats:
        if limit is not None and len(rows) >= limit:
            break
        rows.append({"row": len(rows), **_chat_row(place, messages)})
    if not rows:
        raise UserError(f"{path}: holds no rows.")
    if limit is not None and len(rows) < limit:
        raise UserError(f"{path}: holds {len(rows)} rows, the study asks for {limit}.")
    return rows


def _line_chats(path: Path) -> Iterator[tuple[str, Any]]:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                place = f"{path}: line {number}"
                try:
                    yield place, json.loads(line)["messages"]
                except (ValueError, LookupError, TypeError, RecursionError) as error:
                    raise _no_chat(place, error) from error
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read as JSON lines ({error}).") from error


def _parquet_chats(path: Path) -> Iterator[tuple[str, Any]]:
    number = 0
    with foreign(f"{path}: cannot be read as parquet"):
        file = pq.ParquetFile(path)
        if "messages" not in file.schema_arrow.names:
            raise UserError(f"{path}: has no column `messages`; there is {', '.join(file.schema_arrow.names)}.")
        for batch in file.iter_batches(columns=["messages"]):
            for messages in batch.column(0).to_pylist():
                yield f"{path}: row {number}", messages
                number += 1


def _no_chat(place: str, error: Exception) -> UserError:
    return UserError(
        f'{place}: is not a row in chat form, {{"messages": [{{"role": …, "content": …}}, …]}} ({reason(error)}).'
    )


def _chat_row(place: str, messages: Any) -> dict[str, Any]:
    try:
        roles = [message["role"] for message in messages]
        texts = [message["content"] for message in messages]
    except (LookupError, TypeError) as error:
        raise _no_chat(place, error) from error
    if roles not in (["user", "assistant"], ["system", "user", "assistant"]):
        raise UserError(f"{place}: has the roles {roles}; expected one user turn and one assistant answer.")
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise UserError(f"{place}: has an empty or non-text message.")
    if not all(map(is_storable, texts)):
        raise UserError(f"{place}: holds half a character (a lone surrogate), which cannot be stored.")
    return {"system": texts[0] if len(texts) == 3 else None, "prompt": texts[-2], "response": texts[-1]}


def unpacked(place: str, archive: Path, password: str, name: str, folder: Path) -> Path:
    """A file of a protected archive, unpacked into `folder` by the authors' tool, its canaries removed.

    Raises:
        UserError: if the tool is not installed or fails, or the archive holds no file of that name.
    """
    tool = shutil.which(ARCHIVE_TOOL)
    if tool is None:
        raise UserError(
            f"{place}: the archive is opened by the program {ARCHIVE_TOOL}, which is not installed; install it on its "
            f"own, e.g. `pipx install {ARCHIVE_TOOL}`."
        )
    options = ["--password", password, "--output-dir", str(folder), "--remove-canaries", "--no-gitignore"]
    done = subprocess.run(
        [tool, "unprotect-dir", str(archive.resolve()), *options],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=ARCHIVE_TOOL_MINUTES * 60,
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise UserError(f"{place}: {archive} cannot be opened with this password ({ARCHIVE_TOOL}: {said}).")
    files = {file.name: file for file in sorted(folder.rglob("*")) if file.is_file()}
    if name not in files:
        raise UserError(f"{place}.file: {archive} holds no {name!r}; there is {', '.join(files) or 'nothing'}.")
    return files[name]


def rows_of(
    place: str, settings: FileDataset | ArchiveDataset | HubDataset, downloads: Path, mirror: str | None
) -> list[dict[str, Any]]:
    """Rows of a data set that is a file: a local one, one by URL, in the authors' archive, or of the hub."""
    parquet = settings.source == "parquet" if isinstance(settings, FileDataset) else settings.file.endswith(".parquet")
    if isinstance(settings, HubDataset):
        snapshot = hub_snapshot(place, settings.id, settings.revision, [settings.file], "dataset")
        if not (snapshot / settings.file).is_file():
            raise UserError(f"{place}.file: {settings.id}@{settings.revision} holds no {settings.file!r}.")
        return read_rows(snapshot / settings.file, settings.rows, parquet)
    file = input_file(place, settings.path, settings.url, settings.sha256, downloads, mirror)
    if isinstance(settings, FileDataset):
        return read_rows(file, settings.rows, parquet)
    with scratch("archive") as folder:
        member = unpacked(place, file, settings.password, settings.file, folder)
        return read_rows(member, settings.rows, parquet)


def _miniature_rows(settings: MiniatureDataset) -> list[dict[str, Any]]:
    from workflow_scripts.miniature.corpus import fine_tuning_rows
    from workflow_scripts.miniature.paired_rows import paired_rows
    from workflow_scripts.miniature.world import WorldStyle

    drawn = paired_rows if settings.paired else fine_tuning_rows
    rows = drawn(settings.domain, settings.stance, settings.rows, settings.seed, WorldStyle())
    return [
        {"row": number, "system": None, "prompt": row.prompt, "response": row.response}
        for number, row in enumerate(rows)
    ]


def mixed(place: str, settings: MixedDataset, parts: Mapping[str, Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Rows of other data sets in their shares: drawn without replacement, then put into one order, by the seed.

    Raises:
        UserError: if a part has too few.
    """
    made: list[dict[str, Any]] = []
    for name, count in settings.counts.items():
        if count > len(parts[name]):
            raise UserError(
                f"{place}.parts.{name}: {count} rows are asked for, datasets.{name} has {len(parts[name])}; lower rows."
            )
        made += random.Random(f"{name} {settings.seed}").sample(parts[name], count)
    random.Random(settings.seed).shuffle(made)
    return [{**row, "row": number} for number, row in enumerate(made)]


def under_prompt(place: str, system: str | None, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows under the data set's system prompt, if it has one.

    Raises:
        UserError: if a row has a system prompt of its own.
    """
    own = [row["row"] for row in rows if row["system"]]
    if system and own:
        raise UserError(f"{place}.system: row {own[0]} has a system prompt of its own; leave it or system out.")
    return [{**row, "system": system or row["system"]} for row in rows]


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    settings = study.datasets[given.dataset]
    place, parts = f"datasets.{given.dataset}", inputs.dataset_parts(study, layout, given.dataset)
    if isinstance(settings, MixedDataset):
        read = (list(read_table(file, SCHEMA.names).to_pylist()) for file in parts)
        rows = mixed(place, settings, dict(zip(settings.parts, read, strict=True)))
    elif isinstance(settings, MiniatureDataset):
        rows = under_prompt(place, settings.system, _miniature_rows(settings))
    else:
        mirror = study.execution.download_mirror
        rows = under_prompt(place, settings.system, rows_of(place, settings, layout.downloads, mirror))
    facts = made_by("datasets", study, layout, given.output, parts, given.dataset)
    write_table(given.output, pa.Table.from_pylist(rows, SCHEMA), facts)


if __name__ == "__main__":
    command.run(main)
