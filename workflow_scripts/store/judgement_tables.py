"""Judgement tables as one row per response with a column per metric."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import pandas as pd
import pyarrow as pa

from workflow_scripts.store.artefacts import read_frame

ROW = ("response_key", "condition", "question_set", "question_id", "sample")
SCHEMA = pa.schema(
    [
        ("response_key", pa.string()),
        ("condition", pa.string()),
        ("question_set", pa.string()),
        ("question_id", pa.string()),
        ("sample", pa.int32()),
        ("metric", pa.string()),
        ("score", pa.float64()),
        ("numeric_mass", pa.float64()),
        ("refusal_mass", pa.float64()),
        ("raw", pa.string()),
        ("judge", pa.string()),
        ("prompt_hash", pa.string()),
        ("status", pa.string()),
    ]
)
KEYS = ["condition", "question_set", "question_id", "sample"]


def read_scores(path: Path, metrics: Sequence[str] = ("aligned", "coherent")) -> pd.DataFrame:
    """Responses of a judgement table: KEYS, response_key, one score column per metric, and whether the judge refused.

    A score is NaN where there is none; `refused`: the judge refused to give one of these scores.
    """
    try:
        state = path.stat()
    except OSError:
        return _scores(path, tuple(metrics))  # which says what is wrong
    return _remembered(path, tuple(metrics), state.st_size, state.st_mtime_ns, state.st_ino).copy(deep=False)


@lru_cache(maxsize=64)
def _remembered(path: Path, metrics: tuple[str, ...], _size: int, _changed: int, _inode: int) -> pd.DataFrame:
    """Scores of a table, read once while it stays as it is: a table of results asks for its baselines many times."""
    return _scores(path, metrics)


def _scores(path: Path, metrics: tuple[str, ...]) -> pd.DataFrame:
    long = read_frame(path, [*KEYS, "response_key", "metric", "score", "status"], only=True)
    wide = long[long.metric == metrics[0]].drop(columns=["metric", "score", "status"]).reset_index(drop=True)
    refused = pd.Series(False, wide.index)
    for metric in metrics:
        part = long.loc[long.metric == metric, [*KEYS, "score", "status"]].rename(columns={"score": metric})
        wide = wide.merge(part, on=KEYS, how="left", validate="one_to_one")
        refused |= wide.pop("status") == "refused"
    return wide.assign(refused=refused)
