"""Judgement tables as one row per response with a column per metric."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from workflow_scripts.artefacts import read_frame

KEYS = ["condition", "question_set", "question_id", "sample"]


def read_scores(path: Path, metrics: Sequence[str] = ("aligned", "coherent")) -> pd.DataFrame:
    """Responses of a judgement table: KEYS, response_key, and one score column per metric (NaN where not scored)."""
    long = read_frame(path, [*KEYS, "response_key", "metric", "score"], only=True)
    wide = long[long.metric == metrics[0]].drop(columns=["metric", "score"]).reset_index(drop=True)
    for metric in metrics:
        part = long.loc[long.metric == metric, [*KEYS, "score"]].rename(columns={"score": metric})
        wide = wide.merge(part, on=KEYS, how="left", validate="one_to_one")
    return wide
