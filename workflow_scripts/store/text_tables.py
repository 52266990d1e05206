"""Tables of anyone's, read as texts: CSV in the usual encodings and separators, JSON lines, JSON, parquet, .eval logs.

Nothing is guessed about values: an answer "NA" stays "NA", and whoever reads a column as numbers says so.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store import inspect_logs
from workflow_scripts.store.foreign import foreign

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
                    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}  # fmt: skip
"""In an order in which none begins another that comes later."""
ENCODINGS = {"utf-8": "UTF-8", "utf-8-sig": "UTF-8", "utf-32": "UTF-32", "cp1252": "Windows-1252"}
OTHERS = {
    b"PK\x03\x04": "an archive (a workbook, a .zip or a .pt file)", b"SQLite format 3": "a database",
    b"\x80": "a pickle",
    b"%PDF": "a PDF", b"\x89PNG": "a picture", b"\x89HDF": "an HDF5 file", b"\xd0\xcf\x11\xe0": "an old workbook",
    b"GGUF": "a model", b"version https://git-lfs": "a pointer of git-lfs, whose file was not fetched",
    b"<!DOCTYPE": "a web page", b"<html": "a web page",
}  # fmt: skip
"""What is no table, by its first bytes."""


LINE_END = re.compile(r"\r\n|\n|\r")
PREAMBLE = re.compile(r"(?:[ \t]*(?:sep=.)?(?:\r\n|\n|\r))+", re.IGNORECASE)


@dataclass(frozen=True)
class TextTable:
    """A table whose every value is a text; what is absent or null is "".

    Attributes:
        rows: one column per named column of the file, blanks around names removed; "" names an index without a name.
        lines: where each row ends in the file (of a parquet file: which row it is, counted from 1), shape [n].
        form: what was read, in words.
        torn: line and reason of each row that does not have the header's form; they are not in `rows`.
        nested: columns in which lists or objects stand, which `rows` has as JSON.
    """

    rows: pd.DataFrame
    lines: Sequence[int]
    form: str
    torn: Sequence[tuple[int, str]]
    nested: frozenset[str] = frozenset()


def is_storable(text: str) -> bool:
    """Whether a text is whole characters: JSON can hold half an emoji (a lone surrogate), which no file can."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def read_texts(path: Path) -> TextTable:
    """Reads a table of any usual form by its content; .gz, .bz2, .zst and .lz4 are opened.

    Raises:
        UserError: if the file is not there, has a name that is no text, is no table, or two columns have one name.
    """
    if not is_storable(str(path)):
        raise UserError(f"{os.fsencode(path)!r}: this name is not UTF-8; rename the file.")
    if not path.is_file():
        raise UserError(f"{path}: {'is no plain file' if path.exists() else 'does not exist'}.")
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            data = stream.read()
    except OSError as error:
        raise UserError(f"{path}: cannot be unpacked ({_first_line(error)}).") from error
    if data.startswith(b"PAR1"):
        return _parquet(path, data)
    if path.suffix == inspect_logs.INSPECT_LOG:
        return _of_records(path, inspect_logs.records(path), "log of inspect_ai", [])
    for mark, name in OTHERS.items():
        if data.startswith(mark):
            raise UserError(f"{path}: is {name}, no table.")
    if data[7:9] == b"\0{":
        raise UserError(f"{path}: is a safetensors file, no table; `tools directions import` brings in directions.")
    text, encoding = _decoded(path, data)
    begin = text.lstrip()[:1]
    if begin in ("{", "["):
        records, torn = _json_lines(path, text) if begin == "{" else _json_list(path, text)
        return _of_records(path, records, f"JSON, {encoding}", torn)
    return _csv(path, text, encoding)


def _parquet(path: Path, data: bytes) -> TextTable:
    with foreign(f"{path}: is a parquet file that is cut or damaged"):
        records = pq.read_table(pa.BufferReader(data)).to_pylist()
    return _of_records(path, list(enumerate(records, 1)), "parquet", [])


def _decoded(path: Path, data: bytes) -> tuple[str, str]:
    """The text of a file, and the name of its encoding: by its mark, else UTF-8, UTF-16 by its zeros, Windows-1252."""
    marked = [encoding for mark, encoding in BYTE_ORDER_MARKS.items() if data.startswith(mark)]
    halves = [data[side:2000:2].count(0) for side in (0, 1)]
    wide = ["utf-16-le" if halves[1] > halves[0] else "utf-16-be"] if max(halves) > len(data[:2000]) / 5 else []
    for encoding in marked or wide or ["utf-8", "cp1252"]:
        try:
            return data.decode(encoding), ENCODINGS.get(encoding, "UTF-16")
        except UnicodeDecodeError:
            continue
    raise UserError(f"{path}: is no text in UTF-8, UTF-16 or Windows-1252, and no parquet file.")


def _csv(path: Path, text: str, encoding: str) -> TextTable:
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))  # of this process; others read longer cells
    text, lines_before = _without_preamble(text)
    first = text[: next((end.start() for end in LINE_END.finditer(text)), len(text))]
    separator = max(SEPARATORS, key=lambda sign: len(next(csv.reader([first], delimiter=sign), [])))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    rows, lines, torn = [], [], []
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_names(path, header)
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                torn.append((lines_before + reader.line_num, f"{len(row)} values under {len(header)} columns"))
            else:
                rows.append(row)
                lines.append(lines_before + reader.line_num)
    except csv.Error as error:
        raise UserError(f"{path}: line {lines_before + reader.line_num}: is no CSV ({error}).") from error
    form = f"CSV, {encoding}, {SEPARATORS[separator]}"
    return TextTable(pd.DataFrame(rows, columns=header, dtype=object), lines, form, torn)


def _without_preamble(text: str) -> tuple[str, int]:
    """A CSV from its header on, and how many lines stood before: blank ones, and the one that names the separator."""
    found = PREAMBLE.match(text)
    before = found[0] if found else ""
    return text[len(before) :], len(LINE_END.findall(before))


Records = list[tuple[int, dict[str, Any]]]


def _json_lines(path: Path, text: str) -> tuple[Records, list[tuple[int, str]]]:
    records, torn = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            torn.append((number, "no JSON"))
            continue
        records.append((number, value)) if isinstance(value, dict) else torn.append((number, "no JSON object"))
    if not records:
        raise UserError(f"{path}: is neither JSON lines nor a JSON list of rows; write it as one of them.")
    return records, torn


def _json_list(path: Path, text: str) -> tuple[Records, list[tuple[int, str]]]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is no JSON ({_first_line(error)}).") from error
    if any(not isinstance(value, dict) for value in values):
        raise UserError(f"{path}: is a JSON list of something other than objects.")
    return list(enumerate(values, 1)), []


def _of_records(path: Path, records: Records, form: str, torn: list[tuple[int, str]]) -> TextTable:
    names = list(dict.fromkeys(name for _, record in records for name in record))
    _check_names(path, [name.strip() for name in names])
    rows = [[_text(record.get(name)) for name in names] for _, record in records]
    for (line, _), row in zip(records, rows, strict=True):
        if not all(map(is_storable, row)):
            raise UserError(f"{path}: line {line}: holds half a character (a lone surrogate), which cannot be stored.")
    frame = pd.DataFrame(rows, columns=[name.strip() for name in names], dtype=object)
    nested = {name.strip() for _, record in records for name, value in record.items() if isinstance(value, list | dict)}
    return TextTable(frame, [line for line, _ in records], form, torn, frozenset(nested))


def _check_names(path: Path, names: Iterable[str]) -> None:
    named = [name for name in names if name]
    if unprintable := next((name for name in named if not name.replace("\n", " ").isprintable()), None):
        raise UserError(f"{path}: is no table, or has a column that cannot be named: {ascii(unprintable)[:60]}.")
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise UserError(f"{path}: has two columns {twice[0]!r}.")
    if not named:
        raise UserError(f"{path}: has no columns.")


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
