"""The response browser: one self-contained page to search, filter and open what was said, and how it was judged."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from workflow_scripts.reporting.response_page import TokenScalars, response_page
from workflow_scripts.runtime import command
from workflow_scripts.store.absence import absent
from workflow_scripts.store.artefacts import read_frame, replacing
from workflow_scripts.store.judgement_tables import KEYS, read_scores
from workflow_scripts.study.conditions import asked_metrics, batteries, battery_subjects, subject_of
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.reading import load
from workflow_scripts.study.schema import Study

log = logging.getLogger(__name__)

SCALAR_COLUMNS = ("response_key", "token_index", "token_id", "significance", "class", "question")
"""Columns of a table of scalars that are no adapters."""


def collect(study: Study, layout: Layout) -> pd.DataFrame:
    """Up to `report.browser_rows` responses of each subject, condition and question set.

    The first draws of every question, so that what is there of one condition is there of the others.
    """
    parts = []
    columns = [*KEYS, "response_key", "question", "response", "tokens", "finish_reason"]
    for battery in batteries(study):
        for subject in battery_subjects(study, battery):
            responses = read_frame(layout.responses(subject, battery), columns, only=True)
            scored = read_scores(layout.judgements(subject, battery), asked_metrics(study, battery))
            merged = responses.merge(scored.drop(columns="response_key"), on=KEYS, validate="one_to_one")
            groups = merged.sort_values("sample", kind="stable").groupby(["condition", "question_set"], sort=False)
            parts.append(groups.head(study.report.browser_rows).assign(subject=subject, battery=battery))
    frame = pd.concat(parts, ignore_index=True)
    scores = [metric for metric in study.judge.metrics if metric in frame]
    unscored = frame[["aligned", "coherent"]].isna().any(axis=1)
    frame["judged"] = np.where(frame.refused, "refused", np.where(unscored, "no score", "scored"))
    return frame.rename(columns={"finish_reason": "finish"}).drop(columns="refused").round(dict.fromkeys(scores, 1))


def token_scalars(study: Study, layout: Layout, frame: pd.DataFrame) -> TokenScalars | None:
    """Scalars of the rank-1 adapters at the tokens of the responses in the browser, where the study reads them."""
    subject = subject_of(study.adapters, study)
    if subject is None or absent(layout.scalars(subject)):
        return None
    from workflow_scripts.models.loading import load_tokenizer

    own = frame[(frame.subject == subject) & (frame.battery == "baseline")]
    keys = own.question_set + "/" + own.question_id + "/" + own["sample"].astype(str)
    rows = dict(zip(keys, own.index, strict=True))
    table = read_frame(layout.scalars(subject))
    table = table[table.response_key.isin(rows)].sort_values(["response_key", "token_index"], kind="stable")
    adapters = [name for name in table if name not in SCALAR_COLUMNS]
    tokenizer = load_tokenizer(layout.base)
    pieces = {token: tokenizer.decode([token]) for token in table.token_id.unique()}
    read = list(table.groupby("response_key", sort=False))
    return TokenScalars(
        adapters,
        [int(rows[key]) for key, _ in read],
        [[pieces[token] for token in part.token_id] for _, part in read],
        [part[adapters].to_numpy("float32") for _, part in read],
    )


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    frame = collect(study, layout)
    scalars = token_scalars(study, layout, frame)
    intro = (
        f"{len(frame):,} responses, at most {study.report.browser_rows} of each subject, condition and question set. "
        "Filter any column (numbers by <30, >50, 30-70 or none), sort by its title, click a row to read what was said "
        "to the same question under the other conditions. Alignment and coherence run from 0 (orange) to 100 (blue)."
    )
    shown = frame.drop(columns="response_key")
    with replacing(given.output) as temporary:
        temporary.write_text(response_page(shown, f"{study.study.name}: responses", intro, scalars))
    log.info("%d responses, scalars of %d", len(frame), len(scalars.rows) if scalars else 0)


if __name__ == "__main__":
    command.run(main)
