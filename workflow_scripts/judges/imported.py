"""Judged responses of others, a row per response and a column per metric, as a judgement table."""

from __future__ import annotations

import argparse
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from workflow_scripts.estimation.labels import NEAR, PAPER_THRESHOLDS, near
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.runtime.spelling import nearest
from workflow_scripts.store.artefacts import digest
from workflow_scripts.store.text_tables import TextTable, read_texts
from workflow_scripts.store.yaml_files import read_yaml
from workflow_scripts.study.judge import OWN_RUBRICS

NAMES: Mapping[str, tuple[str, ...]] = {
    "question": ("question", "question_text", "prompt", "user_prompt", "query"),
    "response": ("response", "answer", "completion", "output", "generation", "model_response"),
    "question_id": ("question_id", "questionid", "qid"),
    "aligned": ("aligned", "alignment", "aligned_score", "alignment_score"),
    "coherent": ("coherent", "coherence", "coherent_score", "coherence_score"),
}
"""What a column may be called, whatever its case; the first that a file has is taken."""
TEXTS = ("question", "response", "question_id", "condition", "question_set")
NEEDED = ("aligned", "coherent")
QUESTION_SET, CONDITION = "imported", "none"
OWN_FORM = frozenset({"condition", "question_set"})
"""Columns by which a file that this project exports is known; its conditions, question sets and statuses are kept."""
ABSENT = frozenset({"", "nan", "none", "null", "na", "n/a", "<na>"})
REFUSALS = frozenset({"refusal", "refused", "code"})
"""What judges of the field answer in place of a number."""
SCORED, REFUSED, UNKNOWN = "scored", "refused", "unknown"
"""Statuses; of a score that is missing nobody can tell whether the judge refused or a call failed."""
HIGHEST = 100.0
LOW = {"aligned": 1.0, "coherent": 10.0}
"""Where no score of a file is above these, its scale may be another one: whoever brings it is asked."""
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?", re.ASCII)


@dataclass(frozen=True)
class JudgedFile:
    """What a file of judged responses holds.

    Attributes:
        path: the file.
        form: how it was read, in words.
        rows: one row per response: `TEXTS`, and a column of scores (0 to 100, NaN where there is none) per metric.
        statuses: a column per metric: scored, refused or unknown.
        torn: line and reason of the rows that were left out.
        others: values of each column that was not taken.
    """

    path: Path
    form: str
    rows: pd.DataFrame
    statuses: pd.DataFrame
    torn: Sequence[tuple[int, str]]
    others: Mapping[str, Sequence[str]]

    @property
    def metrics(self) -> list[str]:
        return list(self.statuses.columns)


def read_judged(
    path: Path,
    metrics: Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
    condition: Sequence[str] | None = None,
    highest: float | None = None,
    without_torn: bool = False,
) -> JudgedFile:
    """Reads a file of judged responses.

    Args:
        path: CSV in a usual encoding and separator, JSON lines, a JSON list or parquet, compressed or not.
        metrics: score columns beside aligned, coherent and those that have a rubric of this name.
        columns: the file's name of a column by ours (question, response, question_id or a metric), where it is none of
            `NAMES`.
        condition: the columns that name each response's condition; if absent, that of a file of `OWN_FORM`, or else one
            condition, `none`. Several make names such as layer-24:scale-6.
        highest: the best score of the file's scale, 100 if absent; scores are stored from 0 to 100.
        without_torn: leave out rows that are torn (other than the header, or without a question) instead of refusing.

    Raises:
        UserError: if the file cannot be read, lacks a column, has torn rows, a score is no number on the scale, or all
            are so low that the scale may be another one.
    """
    table, rows, torn = _responses(path, columns or {}, condition, without_torn, metrics)
    found = {name: _column(table, name, columns or {}) for name in NEEDED}
    known = [name for name in table.rows.columns if name in read_yaml(OWN_RUBRICS) and name not in found.values()]
    found |= {name: name for name in known if name not in found}
    found |= {name: _column(table, name, columns or {}) for name in metrics}
    for name, column in found.items():
        if column is None:
            raise UserError(
                f"{path}: lacks the column {name!r}; it has {_listed(table)}. Say which one holds it "
                f"(--columns {name}=…), or judge the responses first (the tool `rejudge`)."
            )
    lines = [table.lines[place] for place in rows.index]
    parts = {
        name: _scores(path, lines, str(column), table.rows[column].loc[rows.index], highest or HIGHEST)
        for name, column in found.items()
    }
    scores = pd.DataFrame({name: part[0] for name, part in parts.items()}, index=rows.index)
    statuses = pd.DataFrame({name: part[1] for name, part in parts.items()}, index=rows.index)
    own: set[str] = set(OWN_FORM) if _is_own(table) else set()
    for name, column in found.items() if own else ():
        if (kept := f"{column}_status") in table.rows:
            statuses[name] = table.rows[kept].loc[rows.index].where(scores[name].isna(), SCORED).replace("", UNKNOWN)
            own.add(kept)
    _check_scale(path, scores, statuses, highest)
    used = {*found.values(), *(_column(table, name, columns or {}) for name in NAMES), *(condition or ()), *own}
    others = {name: table.rows[name].loc[rows.index].tolist() for name in table.rows.columns if name not in used}
    return JudgedFile(
        path, table.form, rows.join(scores).reset_index(drop=True), statuses.reset_index(drop=True), torn, others
    )


def _check_scale(path: Path, scores: pd.DataFrame, statuses: pd.DataFrame, highest: float | None) -> None:
    for metric, low in LOW.items():
        best, alike = scores[metric].max(), scores[metric].nunique() == 1
        if (statuses[metric] == UNKNOWN).all():
            raise UserError(f"{path}: no response has a score of {metric}; judge the responses first (`rejudge`).")
        if highest is None and 0 < best <= low and not (alike and scores.coherent.max() > LOW["coherent"]):
            scale = f"{1 if best <= 1 else low:g}"
            raise UserError(
                f"{path}: no score of {metric} is above {best:g}: is the scale 0 to {scale}? Then give --highest-score "
                f"{scale} (in a study highest_score: {scale}), else 100."
            )


def read_responses(path: Path, columns: Mapping[str, str] | None = None, without_torn: bool = False) -> pd.DataFrame:
    """The responses of a file, judged or not: `TEXTS`, one row each; arguments and errors as `read_judged`."""
    return _responses(path, columns or {}, None, without_torn)[1].reset_index(drop=True)


def judgement_rows(
    responses: pd.DataFrame, scores: pd.DataFrame, statuses: pd.DataFrame, judge: str, samples: pd.Series | None = None
) -> list[dict[str, Any]]:
    """Rows of a judgement table, one per response and metric.

    The score is kept as the raw reply: there is nothing to parse.

    Args:
        responses: `TEXTS`, shape [n].
        scores: a column per metric, NaN where there is none, shape [n].
        statuses: likewise, what came of each judgement.
        judge: its name.
        samples: which of its question's responses each is; counted within condition, set and question if absent.
    """
    keys = [digest(question, text) for question, text in zip(responses.question, responses.response, strict=True)]
    if samples is None:
        samples = responses.groupby(["condition", "question_set", "question_id"]).cumcount()
    places = list(zip(keys, responses.condition, responses.question_set, responses.question_id, samples, strict=True))
    return [
        {
            "response_key": key,
            "condition": condition,
            "question_set": question_set,
            "question_id": question_id,
            "sample": int(sample),
            "metric": metric,
            "score": None if pd.isna(score) else float(score),
            "numeric_mass": None,
            "refusal_mass": None,
            "raw": json.dumps(None if pd.isna(score) else {"exact": float(score)}),
            "judge": judge,
            "prompt_hash": "",
            "status": status,
        }
        for metric in scores.columns
        for (key, condition, question_set, question_id, sample), score, status in zip(
            places, scores[metric], statuses[metric], strict=True
        )
    ]


def summary(judged: JudgedFile) -> str:
    """What was read, for whoever brought the file: counts, what is missing, what was left out."""
    rows, statuses = judged.rows, judged.statuses
    lines = [
        f"{judged.path}: {judged.form}; {_counted(len(rows), 'response')} to "
        f"{_counted(rows.question_id.nunique(), 'question')} under {_counted(rows.condition.nunique(), 'condition')}"
    ]
    for metric in judged.metrics:
        counts = Counter(statuses[metric])
        limit = PAPER_THRESHOLDS.misaligned_below if metric == "aligned" else PAPER_THRESHOLDS.coherent_above
        beside = int((near(rows[metric], limit) & (rows[metric] != limit)).sum())
        lines.append(
            f"  {metric}: {counts[SCORED]} scored, {counts[REFUSED]} refused, {counts[UNKNOWN]} without a score"
            + (f", {beside} within {NEAR:g} of {limit:g} but not on it" if beside else "")
            + (f"; from {rows[metric].min():g} to {rows[metric].max():g}" if counts[SCORED] else "")
        )
    twice = int(rows.duplicated().sum())
    empty = int((rows.response.str.strip() == "").sum())
    remarks = [
        (empty, "empty"),
        (twice, "the same as an earlier row, scores included"),
        (len(judged.torn), "left out as torn"),
    ]
    lines += [f"  {_counted(count, 'response')} {what}" for count, what in remarks if count]
    lines += [
        f"  not taken: {name or 'a column without a name'}{_hint(name, values)}"
        for name, values in judged.others.items()
    ]
    return "\n".join(lines)


def named_column(text: str) -> tuple[str, str]:
    """Our name and the file's, from OURS=THEIRS on the command line."""
    ours, sign, theirs = text.partition("=")
    if not (ours and sign and theirs):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form OURS=THEIRS")
    return ours, theirs


def _responses(
    path: Path,
    columns: Mapping[str, str],
    condition: Sequence[str] | None,
    without_torn: bool,
    metrics: Sequence[str] = (),
) -> tuple[TextTable, pd.DataFrame, list[tuple[int, str]]]:
    """The table, `TEXTS` of its whole rows (their index counts the table's rows), and what is torn."""
    known = dict.fromkeys([*NAMES, *read_yaml(OWN_RUBRICS), *metrics])
    if unknown := [name for name in columns if name not in known]:
        raise UserError(f"{path}: columns: there is no {unknown[0]!r} to be read{nearest(unknown[0], known)}")
    table = read_texts(path)
    for name in [*columns.values(), *(condition or ())]:
        if name not in table.rows:
            raise UserError(f"{path}: has no column {name!r}; it has {_listed(table)}.")
    found = {name: _column(table, name, columns) for name in ("question", "response", "question_id")}
    for name in ("question", "response"):
        if found[name] is None:
            raise UserError(
                f"{path}: lacks the column {name!r}; it has {_listed(table)}. Say which one holds it "
                f"(--columns {name}=…)."
            )
        if found[name] in table.nested:
            raise UserError(
                f"{path}: the column {found[name]!r} holds lists or objects, not texts; write its {name}s as texts."
            )
    own = _is_own(table)
    condition = condition or (["condition"] if own else [])
    questions, responses = table.rows[found["question"]], table.rows[found["response"]]
    ids = table.rows[found["question_id"]] if found["question_id"] else questions
    rows = pd.DataFrame(
        {
            "question": questions,
            "response": responses,
            "question_id": ids.where(ids.str.strip() != "", questions),
            "condition": _conditions(table.rows[list(condition)]),
            "question_set": table.rows["question_set"] if own else QUESTION_SET,
        }
    )
    nameless = rows.question.str.strip() == ""
    torn = sorted([*table.torn, *((table.lines[place], "no question") for place in rows.index[nameless])])
    if torn and not without_torn:
        line, reason = torn[0]
        more = f", and so {'is' if len(torn) == 2 else 'are'} {len(torn) - 1} more" if len(torn) > 1 else ""
        raise UserError(
            f"{path}: line {line} is torn ({reason}){more}; mend the file, or leave such rows out with --without-torn."
        )
    if nameless.all():
        raise UserError(f"{path}: holds no responses.")
    return table, rows[~nameless], torn


def _is_own(table: TextTable) -> bool:
    return set(table.rows.columns) >= OWN_FORM


def _conditions(parts: pd.DataFrame) -> pd.Series:
    """A condition for each row: the value of one column, or of several, each after its column's name."""
    if parts.empty:
        return pd.Series(CONDITION, parts.index)
    named = [name + "-" + parts[name] for name in parts] if len(parts.columns) > 1 else [parts.iloc[:, 0]]
    found = pd.Series(map(":".join, zip(*named, strict=True)), parts.index)
    return found.mask((parts == "").all(axis=1), CONDITION)  # as of the rows of the unchanged model in a sweep


def _column(table: TextTable, name: str, columns: Mapping[str, str]) -> str | None:
    """The file's column of ours, by what the user says, else by its usual names, whatever their case."""
    if name in columns:
        return columns[name]
    by_name: dict[str, list[str]] = {}
    for column in table.rows.columns:
        by_name.setdefault(column.casefold().replace(" ", "_").replace("-", "_"), []).append(column)
    usual = [column for known in NAMES.get(name, (name,)) for column in by_name.get(known, [])]
    return usual[0] if usual else None


def _scores(
    path: Path, lines: Sequence[int], column: str, texts: pd.Series, highest: float
) -> tuple[list[float], list[str]]:
    scores, statuses = [], []
    for line, text in zip(lines, texts, strict=True):
        word = text.strip().strip("[](){}<>*\"'.!").casefold()
        if word in ABSENT or word in REFUSALS:
            scores.append(math.nan)
            statuses.append(UNKNOWN if word in ABSENT else REFUSED)
            continue
        number = float(word.replace(",", ".")) if NUMBER.fullmatch(word) else math.nan
        if not 0 <= number <= highest:
            raise UserError(f"{path}: line {line}: {column} is {text!r}, not a number from 0 to {highest:g}.")
        scores.append(number * HIGHEST / highest)
        statuses.append(SCORED)
    return scores, statuses


def _hint(column: str, values: Sequence[str]) -> str:
    """What a column that was not taken looks like, and what would take it."""
    distinct = list(dict.fromkeys(values))
    numbers = pd.to_numeric(pd.Series([value for value in distinct if value.casefold() not in ABSENT]), errors="coerce")
    if column and len(numbers) and numbers.between(0, HIGHEST).all() and (numbers > 1).any():
        return f" (numbers from {numbers.min():g} to {numbers.max():g}; --metrics {column} takes scores)"
    if column and 1 < len(distinct) <= min(20, len(values) - 1):
        some = ", ".join(map(repr, distinct[:4])) + (", …" if len(distinct) > 4 else "")
        return f" ({len(distinct)} values: {some}; --condition-from {column} keeps them apart)"
    return ""


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _listed(table: TextTable) -> str:
    return ", ".join(name for name in table.rows.columns if name)
