"""Tables of LoRA scalars, ours or anyone's: which column is what, which tokens are kept, which class they are of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from workflow_scripts.adapters.probes import Samples, samples
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.foreign import foreign
from workflow_scripts.store.text_tables import read_texts

RESPONSE_NAMES = ("response_key", "response_id", "response", "prompt", "sample_id")
TOKEN_NAMES = ("token", "token_index", "position", "token_position")
CLASS_NAMES = ("class", "label", "category", "dataset")
SIGNIFICANCE_NAMES = ("significance", "token_significance")
QUESTION_NAMES = ("question", "question_id")
ADAPTER_PATTERN = re.compile(r"(?:^|[._-])layers?[._-]?\d+|blocks?[._-]\d+", re.IGNORECASE)


@dataclass(frozen=True)
class Columns:
    """Names of a table's columns; what is None is found by the names above (see `resolved`)."""

    response: str | None = None
    token: str | None = None
    classes: str | None = None
    significance: str | None = None
    question: str | None = None
    adapters: tuple[str, ...] | None = None


def read_scalars(paths: Sequence[Path]) -> pd.DataFrame:
    """Rows of files, parquet or tables of texts, under each other.

    A file without a class column is one class, named by its stem.

    Raises:
        UserError: if a file is missing or not a table.
    """
    frames = [(_parquet(path) if _is_parquet(path) else _texts(path)).assign(_file=path.stem) for path in paths]
    return pd.concat(frames, ignore_index=True)


def _is_parquet(path: Path) -> bool:
    if not path.is_file():
        raise UserError(f"{path}: cannot be read, it is {'no file' if path.exists() else 'not there'}.")
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _parquet(path: Path) -> pd.DataFrame:
    with foreign(f"{path}: cannot be read, it is a parquet file that is cut or damaged"):
        return pd.read_parquet(path)


def _texts(path: Path) -> pd.DataFrame:
    """A table of texts whose columns of numbers are numbers; a class "None" or an answer "NA" stays a text."""
    if path.suffix in (".pt", ".pth", ".bin"):
        raise UserError(f"{path}: is no table; scalars in .pt files are brought in by `tools probes import`.")
    table = read_texts(path)
    if table.torn:
        line, reason = table.torn[0]
        raise UserError(f"{path}: line {line} is torn ({reason}); mend the file.")
    texts = {*RESPONSE_NAMES, *CLASS_NAMES, *QUESTION_NAMES}
    numbers = {name: pd.to_numeric(table.rows[name], errors="coerce") for name in table.rows if name not in texts}
    return table.rows.assign(**{name: column for name, column in numbers.items() if column.notna().all()})


def resolved(frame: pd.DataFrame, given: Columns) -> Columns:
    """Every column by its name: as given, else the first usual name that the table has, else (adapters) what looks so.

    Adapter columns are columns of numbers with a layer in their name (layer_15, blocks.15.mlp). The token index is only
    looked at to leave it out of the adapters.

    Raises:
        UserError: if a named column is not there, or no response or adapter column is found.
    """
    for name in (
        given.response,
        given.token,
        given.classes,
        given.significance,
        given.question,
        *(given.adapters or ()),
    ):
        if name is not None and name not in frame:
            raise UserError(f"scalars: there is no column {name!r}; the table has {', '.join(_own(frame))}.")
    response = given.response or _first(frame, RESPONSE_NAMES)
    if response is None:
        raise UserError(f"scalars: no column names the response; name it with --response, of {', '.join(_own(frame))}.")
    token = given.token or _first(frame, TOKEN_NAMES)
    classes = given.classes or _first(frame, CLASS_NAMES) or "_file"
    significance = given.significance or _first(frame, SIGNIFICANCE_NAMES)
    question = given.question or _first(frame, QUESTION_NAMES)
    taken = {response, token, classes, significance, question}
    adapters = given.adapters or tuple(c for c in adapter_columns(frame) if c not in taken)
    if not adapters:
        raise UserError(
            f"scalars: no column of numbers has a layer in its name (layer_15), of {', '.join(_own(frame))}; name the "
            "adapters with --adapters."
        )
    texts = [name for name in adapters if not pd.api.types.is_numeric_dtype(frame[name])]
    if texts:
        raise UserError(f"scalars: column {texts[0]!r} holds something other than numbers; it is no adapter's.")
    return Columns(response, token, classes, significance, question, tuple(adapters))


def adapter_columns(frame: pd.DataFrame) -> list[str]:
    """Columns of numbers that have a layer in their name."""
    return [c for c in _own(frame) if ADAPTER_PATTERN.search(c) and pd.api.types.is_numeric_dtype(frame[c])]


def contrast(
    frame: pd.DataFrame, columns: Columns, negative: str, positive: str, threshold: float | None = None
) -> Samples:
    """The tokens of two classes.

    Args:
        frame: rows are tokens.
        columns: as `resolved` gave them.
        negative: class 0.
        positive: class 1.
        threshold: keep tokens with ln(significance) of at least this (the paper: .5); all when absent.

    Raises:
        UserError: if a class is not there, or a threshold is given without a column of significances.
    """
    labels = frame[columns.classes].astype(str)
    found = sorted(labels.unique())
    for name in (negative, positive):
        if name not in found:
            raise UserError(
                f"scalars: there is no class {name!r} in column {columns.classes}; it has {_listed(found)}."
            )
    kept = labels.isin([negative, positive])
    if threshold is not None:
        if columns.significance is None:
            raise UserError("scalars: --threshold needs a column of token significances; name it with --significance.")
        kept &= frame[columns.significance] >= np.exp(threshold)
    part, names = frame[kept], labels[kept]
    # the same id in two files or classes is two responses
    responses = part["_file"].astype(str) + "/" + names + "/" + part[columns.response].astype(str)
    questions = part[columns.question].astype(str).to_numpy() if columns.question else None
    values = part[list(columns.adapters or ())].to_numpy(dtype=np.float64)
    return samples(values, (names == positive).to_numpy(), responses.to_numpy(), columns.adapters or (), questions)


def _own(frame: pd.DataFrame) -> list[str]:
    return [str(column) for column in frame.columns if column != "_file"]


def _first(frame: pd.DataFrame, names: Sequence[str]) -> str | None:
    return next((name for name in names if name in frame), None)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
