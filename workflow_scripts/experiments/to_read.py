"""Responses to read beside an experiment's numbers: the same question and draw under each of its conditions.

Numbers are believed when what is behind them has been read. What is shown is not chosen by hand: of each kind of
condition the one that changes most, and questions in an order that is drawn, those first whose answer changes sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from workflow_scripts.estimation.labels import Thresholds, is_misaligned
from workflow_scripts.experiments.experiment import Experiment
from workflow_scripts.experiments.rows import thresholds_of
from workflow_scripts.store.artefacts import digest, read_frame
from workflow_scripts.store.judgement_tables import read_scores
from workflow_scripts.study.conditions import NOTHING, batteries, battery_subjects, conditions
from workflow_scripts.study.layout import CHAT_BASE, Layout, seed_subject
from workflow_scripts.study.sampling import Battery
from workflow_scripts.study.schema import Study

QUESTIONS = 3
"""Shown of an experiment."""
COLUMNS = 4
"""Answers side by side."""
DRAW = ["question_set", "question_id", "sample"]
"""What an answer under one condition has in common with that under another."""


@dataclass(frozen=True)
class Answer:
    """What was said under one condition; scores are NaN where the judge gave none."""

    subject: str
    condition: str
    response: str
    aligned: float
    coherent: float
    misaligned: bool


@dataclass(frozen=True)
class Reading:
    """A question, and its answers side by side."""

    question: str
    answers: Sequence[Answer]


@dataclass(frozen=True)
class _Column:
    """Responses of a subject under one condition, by `DRAW`."""

    subject: str
    condition: str
    frame: pd.DataFrame


def readings(made: Experiment, study: Study, layout: Layout) -> tuple[Battery, list[Reading]] | None:
    """The battery that an experiment is about, and some of its answers; None where it reads no responses."""
    read = set(made.inputs(study, layout))
    pairs = [(b, s) for b in batteries(study) for s in battery_subjects(study, b) if layout.judgements(s, b) in read]
    if not pairs:
        return None
    battery = pairs[-1][0]  # the baseline comes first, and is what the others are held against
    subjects = [subject for b, subject in pairs if b == battery]
    columns = _subjects(study, layout, subjects) if battery == "baseline" else _kinds(made, study, layout, battery)
    return battery, _drawn(columns)


def judged(layout: Layout, subject: str, battery: Battery, limits: Thresholds) -> pd.DataFrame:
    """Responses of a subject in a battery with their scores and whether they are misaligned."""
    keys = ["condition", *DRAW]
    texts = read_frame(layout.responses(subject, battery), [*keys, "question", "response"], only=True)
    frame = read_scores(layout.judgements(subject, battery)).merge(texts, on=keys, validate="one_to_one")
    return frame.assign(misaligned=is_misaligned(frame.aligned, frame.coherent, limits))


def _subjects(study: Study, layout: Layout, subjects: Sequence[str]) -> list[_Column]:
    """The chat base and the first seed of each organism, unchanged."""
    first = [CHAT_BASE, *(seed_subject(name, organism.seeds[0]) for name, organism in study.organisms.items())]
    made = []
    for subject in [subject for subject in first if subject in subjects][:COLUMNS]:
        frame = judged(layout, subject, "baseline", thresholds_of(study))
        asked = frame[frame.question_set == study.sampling.questions]
        made.append(_Column(subject, NOTHING.name, asked.set_index(DRAW)))
    return made


def _kinds(made: Experiment, study: Study, layout: Layout, battery: Battery) -> list[_Column]:
    """A subject as it is, and of each kind of condition the one that changes its misalignment most."""
    limits = thresholds_of(study)
    for subject in sorted(battery_subjects(study, battery), key=lambda subject: subject == CHAT_BASE):
        frame = judged(layout, subject, battery, limits)
        kinds = {c.name: c.kind for c in conditions(study, battery, subject)} if battery != "patching" else {}
        frame = frame.assign(kind=[kinds.get(name, name) for name in frame.condition])
        frame = frame[frame.kind.isin(made.kinds)] if made.kinds else frame
        if frame.empty:
            continue
        plain = "clean" if battery == "patching" else NOTHING.name
        before = frame if battery == "patching" else judged(layout, subject, "baseline", limits)
        before = before[before.condition == plain]
        rate = before[before.question_set.isin(frame.question_set)].misaligned.mean()
        changes = frame[frame.condition != plain].groupby(["kind", "condition"], sort=False).misaligned.mean()
        most = (changes - (0 if pd.isna(rate) else rate)).abs().groupby(level="kind", sort=False).idxmax()
        shown = [_Column(subject, plain, before.set_index(DRAW))]
        for _, condition in most.tolist()[: COLUMNS - 1]:
            shown.append(_Column(subject, condition, frame[frame.condition == condition].set_index(DRAW)))
        return shown
    return []


def _drawn(columns: Sequence[_Column]) -> list[Reading]:
    """Questions that every column answers, one draw of each: those first whose first two answers differ in label."""
    if len(columns) < 2:
        return []
    common = columns[0].frame.index
    for column in columns[1:]:
        common = common.intersection(column.frame.index)
    labels = [column.frame.misaligned.reindex(common) for column in columns[:2]]
    same = (labels[0] == labels[1]).to_dict()
    order = sorted(common, key=lambda draw: (bool(same[draw]), digest(*map(str, draw))))
    questions = list(dict.fromkeys(question for _, question, _ in order))[:QUESTIONS]
    chosen = [next(draw for draw in order if draw[1] == question) for question in questions]
    made = []
    for draw in chosen:
        found = [(column, column.frame.loc[draw]) for column in columns]
        answers = [
            Answer(column.subject, column.condition, r.response, r.aligned, r.coherent, bool(r.misaligned))
            for column, r in found
        ]
        made.append(Reading(str(found[0][1].question), answers))
    return made
