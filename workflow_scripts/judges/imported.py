"""Published judged responses (CSV or parquet, one row per response, one column per metric) as a judgement table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import digest
from workflow_scripts.store.yaml_files import read_yaml
from workflow_scripts.study.judge import OWN_RUBRICS

TEXTS = ("question", "response")
NEEDED = ("aligned", "coherent")
QUESTION_SET, CONDITION = "imported", "none"
UNKNOWN_RUBRICS = "unknown"
"""Status of a missing score: such files do not tell a refusal from a failed call."""


def read_judged(path: Path, metrics: Sequence[str] = ()) -> pd.DataFrame:
    """Rows of a judged file: question, question_id, response and its metrics as numbers, NaN where there is no score.

    Args:
        path: .csv or .parquet, either compressed; `question_id` may be absent, then the question itself is the id.
        metrics: columns that are scores; when empty, aligned, coherent and every other that has a rubric of this name.

    Raises:
        UserError: if the file cannot be read, lacks a column, or a score is no number from 0 to 100.
    """
    frame = _read(path)
    known = read_yaml(OWN_RUBRICS)
    chosen = list(metrics) or [*NEEDED, *(name for name in frame.columns if name in known and name not in NEEDED)]
    for column in [*TEXTS, *NEEDED, *chosen]:
        if column not in frame.columns:
            raise UserError(
                f"{path}: lacks the column {column!r}; it has {', '.join(map(str, frame.columns))}. Rename the column "
                "that holds it, or judge the responses first."
            )
    texts = frame[list(TEXTS)].astype("string").fillna("")
    ids = frame["question_id"] if "question_id" in frame.columns else texts["question"]
    scores = {metric: _scores(path, metric, frame[metric]) for metric in dict.fromkeys([*NEEDED, *chosen])}
    return texts.assign(question_id=ids.astype("string").fillna(""), **scores)


def judgement_rows(judged: pd.DataFrame, judge: str, samples: pd.Series | None = None) -> list[dict[str, Any]]:
    """Rows of a judgement table, one per response and metric; samples count the responses of a question if not given.

    The score is kept as the raw reply: there is nothing to parse.
    """
    keys = [digest(question, response) for question, response in zip(judged.question, judged.response, strict=True)]
    samples = judged.groupby("question_id").cumcount() if samples is None else samples
    metrics = [name for name in judged.columns if name not in (*TEXTS, "question_id")]
    return [
        {
            "response_key": key,
            "condition": CONDITION,
            "question_set": QUESTION_SET,
            "question_id": question_id,
            "sample": int(sample),
            "metric": metric,
            "score": None if pd.isna(score) else float(score),
            "numeric_mass": None,
            "refusal_mass": None,
            "raw": json.dumps(None if pd.isna(score) else {"exact": float(score)}),
            "judge": judge,
            "prompt_hash": "",
            "status": UNKNOWN_RUBRICS if pd.isna(score) else "scored",
        }
        for metric in metrics
        for key, question_id, sample, score in zip(keys, judged.question_id, samples, judged[metric], strict=True)
    ]


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise UserError(f"{path}: does not exist.")
    try:
        return pd.read_parquet(path) if ".parquet" in path.suffixes else pd.read_csv(path)
    except Exception as error:  # pandas and pyarrow raise a dozen types for a file of another form
        raise UserError(f"{path}: is neither a CSV nor a parquet table ({str(error).splitlines()[0]}).") from error


def _scores(path: Path, metric: str, column: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(column, errors="coerce").astype(float)
    wrong = (numbers.isna() & column.notna()) | (numbers < 0) | (numbers > 100)
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise UserError(f"{path}: row {row + 1}: {metric} is {column.iloc[row]!r}, not a number from 0 to 100.")
    return numbers
