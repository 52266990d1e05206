"""Two judges' judgement tables, from a study or of others, paired by response."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.judges.imported import judgement_rows, read_judged
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import read_frame
from workflow_scripts.store.downloads import input_file
from workflow_scripts.store.judgement_tables import KEYS, read_scores
from workflow_scripts.study.conditions import NOTHING, battery_subjects
from workflow_scripts.study.layout import Layout, organism_of
from workflow_scripts.study.schema import Study

COLUMNS = ["response_key", "condition", "question_set", "question_id", "sample", "metric", "score"]
RESPONSE = ["response_key", "occurrence"]
NEEDED = ("aligned", "coherent")
MODELS = "condition"
"""Column of a judgement table that says which model gave a response, where there are several."""


def judgements_of(path: Path, models: str | None = None) -> pd.DataFrame:
    """A judgement table in its long form (`COLUMNS`), of a file that this project or anyone has written.

    Args:
        path: a judgement table, or what `read_judged` reads.
        models: the column that says which model gave a response, which becomes `condition`; None where they
            do not matter, and the file is a table of this project.

    Raises:
        UserError: if the file is neither, or lacks a column.
    """
    if models is not None and not _is_ours(path):
        judged = read_judged(path, condition=[models])
        scores = judged.rows[judged.metrics]
        return pd.DataFrame(judgement_rows(judged.rows, scores, judged.statuses, ""))[COLUMNS]
    if models not in (None, MODELS):
        raise UserError(
            f"{path}: is a judgement table, which calls the models `{MODELS}` (the tool `import` takes them "
            f"there with --condition-from {models}); leave the setting out."
        )
    return read_frame(path, COLUMNS, only=True)


def by_response(long: pd.DataFrame, path: Path) -> pd.DataFrame:
    """One row per response: response_key, occurrence (equal responses are counted), condition, question_id, and a
    column per metric, NaN where it has no score.

    Raises:
        UserError: if alignment or coherence was not judged; `path` is named.
    """
    keys = [name for name in COLUMNS if name not in ("metric", "score")]
    wide = long.set_index([*keys, "metric"])["score"].unstack("metric").reset_index()
    for metric in NEEDED:
        if metric not in wide:
            raise UserError(f"{path}: has no judgements of {metric!r}; judge them first (judge.metrics).")
    return wide.assign(occurrence=wide.groupby("response_key").cumcount())


def paired(a: Path, b: Path, models: str | None = None) -> tuple[pd.DataFrame, list[str]]:
    """Responses that both files hold (columns <metric>_a, <metric>_b), and the metrics that both have.

    Questions are named as in `a`, conditions as in `b`, whose column `models` they are (see `judgements_of`).

    Raises:
        UserError: if they have no response in common.
    """
    first, second = by_response(judgements_of(a), a), by_response(judgements_of(b, models), b)
    metrics = [name for name in first.columns if name in second.columns and name not in (*COLUMNS, "occurrence")]
    both = first.drop(columns="condition").merge(
        second[[*RESPONSE, "condition", *metrics]], on=RESPONSE, suffixes=("_a", "_b"), validate="one_to_one"
    )
    if both.empty:
        raise UserError(
            f"{a} and {b}: have no response in common; both must hold judgements of the same questions and responses."
        )
    return both, metrics


def in_files(study: Study, layout: Layout) -> pd.DataFrame:
    """Responses of the files that a study's calibration is fitted on (see `paired`: a is the judge, b the reference),
    with the name of the judge.

    Raises:
        UserError: if a file cannot be had or read, or they have no response in common.
    """
    settings, mirror = study.calibration, study.execution.download_mirror
    assert settings, "asked for only where the study has the section"
    judged, reference = (
        input_file(f"calibration.{name}", file.path, file.url, file.sha256, layout.downloads, mirror)
        for name, file in zip(("judged", "reference"), settings.files, strict=True)
    )
    judges = read_frame(judged, ["response_key", "judge"], only=True).drop_duplicates("response_key")
    both, _ = paired(judged, reference, settings.models)
    return both.merge(judges, on="response_key", how="left", validate="many_to_one")


def in_panel(study: Study, layout: Layout, a: str, b: str) -> pd.DataFrame:
    """Unchanged responses of all subjects to the headline questions, as two judges of the panel scored them (columns as
    `paired`'s); their condition is the chat base, or an organism with all its seeds."""
    parts = []
    for subject in battery_subjects(study, "baseline"):
        first, second = (read_scores(layout.read_by(name).judgements(subject, "baseline")) for name in (a, b))
        keys = ["response_key", *KEYS]
        both = first.merge(second[[*keys, *NEEDED]], on=keys, suffixes=("_a", "_b"), validate="one_to_one")
        both = both[(both.condition == NOTHING.name) & (both.question_set == study.sampling.questions)]
        parts.append(both.assign(condition=organism_of(subject)[0]))
    return pd.concat(parts, ignore_index=True)


def _is_ours(path: Path) -> bool:
    """Whether a file is a table of this project; one that cannot be read is left to whoever reads it."""
    try:
        return b"schema_version" in (pq.read_schema(path).metadata or {})
    except (OSError, pa.ArrowInvalid):
        return False
