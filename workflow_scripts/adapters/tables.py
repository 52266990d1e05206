"""Tables of LoRA scalars, ours or anyone's: which column is what, which tokens are kept, which class they are of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from workflow_scripts.adapters.probes import BoolArray, FloatArray, Samples, samples
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.foreign import foreign
from workflow_scripts.store.text_tables import is_storable, read_texts

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
    """Rows of files, parquet or tables of texts, under each other; `_file` is the path that a row is of.

    A file without a class column is one class, named by its stem. Values stay what they are in the file, texts in CSV;
    `contrast` reads the adapters' as numbers.

    Raises:
        UserError: if a file is missing, not a table, given twice, or its name is not UTF-8.
    """
    check_names(paths)
    frames = [(_parquet(path) if _is_parquet(path) else _texts(path)).assign(_file=str(path)) for path in paths]
    return pd.concat(frames, ignore_index=True)


def check_names(paths: Sequence[Path]) -> None:
    """Refuses files whose names cannot stand for a class or keep their responses apart.

    Raises:
        UserError: if a name is not UTF-8, or a file is given twice: its responses would count as others.
    """
    if strange := next((path for path in paths if not is_storable(str(path))), None):
        raise UserError(f"{strange}: its name is not in UTF-8, so that no class can be named by it; rename it.")
    real = [path.resolve() for path in paths]
    if twice := next((path for at, path in enumerate(paths) if real[at] in real[:at]), None):
        raise UserError(f"{twice}: is given twice; name each file once.")


def _is_parquet(path: Path) -> bool:
    if not path.is_file():
        raise UserError(f"{path}: cannot be read, it is {'no file' if path.exists() else 'not there'}.")
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _parquet(path: Path) -> pd.DataFrame:
    with foreign(f"{path}: cannot be read, it is a parquet file that is cut or damaged"):
        return pd.read_parquet(path)


def _texts(path: Path) -> pd.DataFrame:
    if path.suffix in (".pt", ".pth", ".bin"):
        raise UserError(f"{path}: is no table; scalars in .pt files are brought in by `tools probes import`.")
    table = read_texts(path)
    if table.torn:
        line, reason = table.torn[0]
        raise UserError(f"{path}: line {line} is torn ({reason}); mend the file.")
    return table.rows


def resolved(frame: pd.DataFrame, given: Columns) -> Columns:
    """Every column by its name: as given, else the first usual name that the table has, else (adapters) what looks so.

    Adapter columns have a layer in their name (layer_15, blocks.15.mlp); that they hold numbers is for `contrast` to
    see. The token index is only looked at to leave it out of the adapters.

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
            f"scalars: no column has a layer in its name (layer_15), of {', '.join(_own(frame))}; name the "
            "adapters with --adapters."
        )
    return Columns(response, token, classes, significance, question, tuple(adapters))


def adapter_columns(frame: pd.DataFrame) -> list[str]:
    """Columns that have a layer in their name."""
    return [c for c in _own(frame) if ADAPTER_PATTERN.search(c)]


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
        UserError: if a class is not there, a row has no class, a token of the two lacks what a column should say of it,
            a token stands there twice, or a threshold is given without a column of significances.
    """
    labels = _classes(frame, columns.classes)
    _check_classes(labels, columns.classes, negative, positive)
    kept = labels.isin([negative, positive]).to_numpy(copy=True)
    if threshold is not None:
        if columns.significance is None:
            raise UserError("scalars: --threshold needs a column of token significances; name it with --significance.")
        kept[kept] = _numbers_in(frame, columns.significance, kept) >= np.exp(threshold)
    assert columns.response is not None, "found by `resolved`"
    names = labels[kept]
    # the same id in two files or classes is two responses
    responses = frame["_file"][kept] + "/" + names + "/" + _texts_in(frame, columns.response, "response", kept)
    _check_tokens(frame, columns.token, responses, kept)
    questions = _texts_in(frame, columns.question, "question", kept).to_numpy() if columns.question else None
    values = np.column_stack([_numbers_in(frame, name, kept) for name in columns.adapters or ()])
    return samples(values, (names == positive).to_numpy(), responses.to_numpy(), columns.adapters or (), questions)


def _classes(frame: pd.DataFrame, column: str | None) -> pd.Series:
    """The class of each row, its file's name where no column says it."""
    if column is None or column == "_file":
        return frame["_file"].map({name: Path(name).stem for name in frame["_file"].unique()})
    return _texts_in(frame, column, "class", np.ones(len(frame), dtype=bool))


def _check_classes(labels: pd.Series, column: str | None, negative: str, positive: str) -> None:
    """Raises a UserError unless both classes are there, and two."""
    found, where = sorted(labels.unique()), "file" if column in (None, "_file") else f"column {column}"
    for name in (negative, positive):
        if name not in found:
            raise UserError(f"scalars: no {where} has the class {name!r}; there is {_listed(found)}.")
    if negative == positive:
        raise UserError(f"scalars: {negative!r} is not another class than itself; name two.")


def _check_tokens(frame: pd.DataFrame, column: str | None, responses: pd.Series, kept: BoolArray) -> None:
    """Raises a UserError for a token that stands there twice; a column `token` may hold texts or ids, which do."""
    if column is None or column == "token":
        return
    twice = responses.str.cat(frame[column][kept].map(str), "/").duplicated()
    if twice.any():
        raise UserError(
            f"{_first_row(frame, kept, twice)} is the second of its response with this {column}; each token stands in "
            "one row: leave out what is doubled, or name the column of the token's place with --token."
        )


def _texts_in(frame: pd.DataFrame, name: str, what: str, needed: BoolArray) -> pd.Series:
    """A column's texts in the rows that are needed.

    Raises:
        UserError: if a row has none: taken for a text, nothing would be one class, response or question.
    """
    column = frame[name][needed]
    texts = column.astype(object).map(str)
    lacking = column.isna() | (texts.str.strip() == "")
    if lacking.any():
        raise UserError(
            f"{_first_row(frame, needed, lacking)} has nothing in column {name!r}, which says the {what} in every row "
            "of every file; fill it in, or leave out the row."
        )
    return texts


def _numbers_in(frame: pd.DataFrame, name: str, needed: BoolArray) -> FloatArray:
    """A column's numbers, be they written as texts, in the rows that are needed.

    Raises:
        UserError: if a row has none, or no finite one.
    """
    column = frame[name][needed]
    given = column if column.dtype.kind in "biuf" else column.astype(object).map(str)
    numbers = pd.to_numeric(given, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    lacking = ~np.isfinite(numbers)
    if lacking.any():
        raise UserError(
            f"{_first_row(frame, needed, lacking)} has no finite number in column {name!r} but "
            f"{str(column[lacking].iloc[0])[:40]!r}; every token of every file needs one: mend it, or leave out the "
            "row or the column."
        )
    return np.asarray(numbers)


def _first_row(frame: pd.DataFrame, needed: BoolArray, lacking: Sequence[bool]) -> str:
    """File and number (from 1, within the file, without a header) of the first needed row that lacks something."""
    at = np.flatnonzero(needed)[np.argmax(lacking)]
    files = frame["_file"].to_numpy()
    return f"{files[at]}: data row {(files[: at + 1] == files[at]).sum()}"


def _own(frame: pd.DataFrame) -> list[str]:
    return [str(column) for column in frame.columns if column != "_file"]


def _first(frame: pd.DataFrame, names: Sequence[str]) -> str | None:
    return next((name for name in names if name in frame), None)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
