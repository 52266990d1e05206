"""Given responses of an organism that is not here, told by the study's own questions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from workflow_scripts.judges.imported import NAMES, NEEDED, OWN_FORM, QUESTION_SET, read_judged, read_responses
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.absence import Absence
from workflow_scripts.store.artefacts import digest, read_frame
from workflow_scripts.store.text_tables import read_texts
from workflow_scripts.study.conditions import NOTHING, asked_metrics, keeps_scores, question_uses
from workflow_scripts.study.layout import Layout, organism_of
from workflow_scripts.study.schema import Study

SHOWN = 4
"""Questions, or values of a column, that a sentence names."""
FEW = 20
"""Values of a column that may tell models or settings apart."""
GIVEN = "given"
"""Kind of what given responses lack."""


@dataclass(frozen=True)
class Given:
    """Responses of a file that answer questions of the study.

    Attributes:
        rows: a row per response and question set that has its question: response_key, condition, question_set,
            question_id, system, question, sample, response; and of a file whose scores are kept, a column of scores per
            metric (NaN where there is none).
        statuses: of these scores, a column per metric; none where the study's judge scores them.
        lacks: what the file does not answer, and what of it was left out.
    """

    rows: pd.DataFrame
    statuses: pd.DataFrame
    lacks: Sequence[Absence]


def given_responses(study: Study, layout: Layout, subject: str) -> Given:
    """The given responses of a subject, by the questions of every set that the baseline asks it.

    A response belongs to the question whose text it answers, whatever the file calls it; of questions of one text under
    different system prompts, to the one of the same id. A file that this project exported says of which set it is. All
    responses count, however many the study would have sampled.

    Raises:
        UserError: if the file cannot be read, holds several conditions, lacks scores that are to be kept, or answers
            none of the questions.
    """
    organism, _ = organism_of(subject)
    given = study.organisms[organism].responses
    assert given, "asked for only of given responses"
    path, scores, statuses = Path(given.path), pd.DataFrame(), pd.DataFrame()
    if keeps_scores(study, subject):
        judged = read_judged(path, columns=given.columns, highest=given.highest_score)
        found = judged.rows
        metrics = [metric for metric in asked_metrics(study, "baseline") if metric in judged.metrics]
        scores, statuses, others = found[metrics], judged.statuses[metrics], judged.others
    else:
        found = read_responses(path, given.columns)
        others = _others(read_texts(path).rows, found, asked_metrics(study, "baseline"))
    named = next((values for name, values in others.items() if name.casefold() == "condition"), found.condition)
    conditions = pd.Series(named).drop_duplicates()
    if len(conditions) > 1:
        raise UserError(
            f"organisms.{organism}.responses: {path} holds {len(conditions)} conditions ({_some(conditions)}); "
            "give the responses of one."
        )
    parts, answered = [], pd.Series(False, found.index)
    lacks = [Absence(f"organisms.{organism}: {path.name} {why}", GIVEN) for why in _pooled(found, others)]
    for use in dict.fromkeys(use.questions for use in question_uses(study, "baseline", subject)):
        questions = read_frame(layout.questions(use), ["question_id", "system", "question"])
        asked = _matched(found, questions)
        asked[~found.question_set.isin([use, QUESTION_SET])] = float("nan")
        answered |= asked.notna()
        part = found.loc[asked.notna(), ["response"]].assign(question_set=use, place=asked.dropna().astype(int))
        told = questions.iloc[part.place].set_axis(part.index)
        part = part.assign(question_id=told.question_id, system=told.system, question=told.question)
        parts.append(part.sort_values("place", kind="stable"))
        missing = questions.question_id[~questions.index.isin(part.place)]
        if len(missing):
            why = f"organisms.{organism}: {path.name} answers {len(questions) - len(missing)} of the {len(questions)} "
            lacks.append(Absence(f"{why}questions of questions.{use}; it lacks {_some(missing)}.", GIVEN))
    rows = pd.concat(parts)
    if rows.empty:
        raise UserError(
            f"organisms.{organism}.responses: {path} answers no question of this study; its first is "
            f"{found.question.iloc[0][:80]!r}."
        )
    if not answered.all():
        unknown = found.question[~answered].drop_duplicates()
        why = f"organisms.{organism}: {int((~answered).sum())} of the {len(found)} rows of {path.name} are left out; "
        lacks.append(Absence(f"{why}they answer no question of the study: {_some(unknown)}.", GIVEN))
    rows = rows.assign(
        condition=NOTHING.name,
        system=rows.system.astype(object).where(rows.system.notna(), None),
        sample=rows.groupby(["question_set", "question_id"]).cumcount(),
        response_key=[digest(*pair) for pair in zip(rows.question, rows.response, strict=True)],
    )
    rows = rows.join(scores)
    return Given(rows.reset_index(drop=True), statuses.reindex(rows.index).reset_index(drop=True), lacks)


def _others(table: pd.DataFrame, found: pd.DataFrame, metrics: Collection[str]) -> dict[str, Sequence[str]]:
    """Values of the columns of a file that hold none of its texts, and by their names no scores."""
    scores = {*metrics, *(name for metric in NEEDED for name in NAMES[metric])}
    own = {*OWN_FORM, *(f"{score}_status" for score in scores)} if set(table.columns) >= OWN_FORM else set()
    texts = [found[name].tolist() for name in ("question", "response", "question_id")]
    columns = {name: table[name].tolist() for name in table.columns if name not in own}
    return {name: values for name, values in columns.items() if name.casefold() not in scores and values not in texts}


def _pooled(found: pd.DataFrame, others: Mapping[str, Sequence[str]]) -> list[str]:
    """What a file's rows have been pooled over, though its owner may have meant to keep it apart."""
    distinct = {name: pd.Series(values).drop_duplicates() for name, values in others.items()}
    few = {name: values for name, values in distinct.items() if 1 < len(values) <= min(FEW, len(found) - 1)}
    said, twice = [], int(found.duplicated().sum())
    if few:
        columns = ", ".join(f"{name!r} ({_some(values)})" for name, values in few.items())
        said.append(f"has rows of different {columns}; all count as one model's: if they are not, give those of one.")
    if twice:
        said.append(f"repeats an earlier row in {twice} of its {len(found)} rows; each counts.")
    return said


def _matched(found: pd.DataFrame, questions: pd.DataFrame) -> pd.Series:
    """Which row of a set's questions each response answers, NaN for none."""
    texts = questions.question.str.split().str.join(" ")
    by_text: dict[str, list[int]] = {}
    by_both: dict[tuple[str, str], int] = {}
    for place, (text, question_id) in enumerate(zip(texts, questions.question_id, strict=True)):
        by_text.setdefault(text, []).append(place)
        by_both[text, question_id] = place
    places = []
    for text, question_id in zip(found.question.str.split().str.join(" "), found.question_id, strict=True):
        alike = by_text.get(text, [])
        places.append(by_both.get((text, question_id), alike[0] if len(alike) == 1 else None))
    return pd.Series(places, found.index, dtype="float64")


def _some(names: pd.Series) -> str:
    shown = ", ".join(repr(str(name)[:60]) for name in names[:SHOWN])
    return shown + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
