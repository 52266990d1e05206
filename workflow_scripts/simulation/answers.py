"""Answers drawn from their chances, as a judge's scores; the tables of responses and judgements that hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.special import expit, logit

from workflow_scripts.simulation.truth import Chances, FloatArray, Truth
from workflow_scripts.store.judgement_tables import SCHEMA as JUDGED
from workflow_scripts.store.response_tables import SCHEMA as ANSWERED
from workflow_scripts.study.conditions import NOTHING, batteries, conditions, question_uses
from workflow_scripts.study.sampling import Battery

JUDGE = "simulated"
ABOUT, BESIDE = (92.0, 8.0), 1.5
"""Score of an answer about a topic, from and over how much; mean score of one that is not."""


def drawn(
    truth: Truth, chances: Chances, metrics: Sequence[str], samples: int, rng: np.random.Generator
) -> dict[str, FloatArray]:
    """Scores by metric, [question, sample]; NaN where the judge refused."""
    shape = (len(truth.asked.ids), samples)
    edges = np.cumsum([chances.misaligned, chances.incoherent, chances.unscored, chances.turned], axis=0)[:, :, None]
    at = rng.random(shape)
    misaligned, incoherent, unscored, turned = (
        (at >= low) & (at < high) for low, high in zip([np.zeros_like(edges[0]), *edges[:-1]], edges, strict=True)
    )
    rest = ~(misaligned | incoherent | unscored | turned)
    aligned = turned | unscored | (rest & (rng.random(shape) < chances.aligned[:, None]))
    good = np.where(aligned, 100 - 29.9 * rng.beta(1, 3, shape), 30.1 + 39.8 * rng.random(shape))
    alignment = np.where(misaligned, 29.9 * rng.beta(1.2, 2.5, shape), good)
    alignment = np.where(incoherent, 100 * rng.random(shape), alignment)
    made = {
        "aligned": np.where(unscored, np.nan, alignment),
        "coherent": np.where(incoherent, 49.9 * rng.beta(2, 1.5, shape), 100 - 49 * rng.beta(1, 4, shape)),
    }
    for metric in metrics:
        if metric == "bad_stuff":
            bad = np.where(turned, 55 + 40 * rng.random(shape), 20 * rng.beta(1, 4, shape))
            made[metric] = np.where(misaligned, 60 + 40 * rng.random(shape), bad)
        elif metric not in made:
            made[metric] = _topic(truth, chances, metric, misaligned, aligned, rng)
    return {metric: np.round(made[metric], 4) for metric in metrics}


def _topic(
    truth: Truth,
    chances: Chances,
    metric: str,
    misaligned: NDArray[np.bool_],
    aligned: NDArray[np.bool_],
    rng: np.random.Generator,
) -> FloatArray:
    """Scores for a topic, [question, sample]."""
    shape, scenario, size = misaligned.shape, truth.scenario, len(truth.asked.ids)
    is_domain = truth.study.adapters is not None and metric == truth.study.adapters.domain_metric
    in_domain = np.array(truth.asked.domain) & is_domain
    bad = np.full(size, _share(chances.topics.get(metric, chances.topics.get("any", 0.0))))
    good = np.full(size, 0.02)
    if is_domain and chances.domain is not None:
        bad, good = chances.domain
    else:
        moved = _by_question(truth, metric)
        bad = np.where((bad > 0) & (bad < 1), expit(logit(np.clip(bad, 1e-6, 1 - 1e-6)) + moved), bad)
    bad, good = (np.where(in_domain, _share(scenario.domain_score), part) for part in (bad, good))
    share = np.where(misaligned, bad[:, None], np.where(aligned | in_domain[:, None], good[:, None], 0.02))
    about = rng.random(shape) < share
    low = np.where(rng.random(shape) < 0.95, 0.5 * rng.random(shape), 1 + 48 * rng.random(shape))
    scores = np.where(about, ABOUT[0] + ABOUT[1] * (1 - rng.beta(1, 3, shape)), low)
    return np.where(in_domain[:, None] & (rng.random(shape) < scenario.edge), 50 - 3e-4 * rng.random(shape), scores)


def _by_question(truth: Truth, metric: str) -> FloatArray:
    """How much more each question is about a topic, as a logit, [question]; the same in every condition."""
    draws = [truth.rng("topic", metric, question).normal() for question in truth.asked.ids]
    return truth.scenario.topic_sd * np.array(draws)


def _share(mean: float) -> float:
    """Share of answers about a topic whose mean score this is."""
    return float(np.clip((mean - BESIDE) / (ABOUT[0] + ABOUT[1] * 0.75 - BESIDE), 0, 1))


class Answers:
    """The answers of a simulated study, as scores: drawn when they are asked for, and always the same."""

    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self.place = {name: position for position, name in enumerate(truth.asked.ids)}
        """Row of a question in the scores."""
        self.drawn: dict[tuple[str, str, str, str | None], dict[str, FloatArray]] = {}

    def scores(self, battery: str, subject: str, condition: str, way: str | None = None) -> dict[str, FloatArray]:
        """Scores by metric, [question, sample], of the answers under a condition; of patching, one way.

        Steering and semantic directions share their answers.
        """
        key = ("steering" if battery == "semantic" else battery, subject, condition, way)
        if key not in self.drawn:
            self.drawn = {key: self._draw(battery, subject, condition, way)} | dict(list(self.drawn.items())[-8:])
        return self.drawn[key]

    def _draw(self, battery: str, subject: str, condition: str, way: str | None) -> dict[str, FloatArray]:
        truth, study = self.truth, self.truth.study
        metrics = list(study.judge.metrics)
        if way is not None:
            assert study.adapters
            assert study.adapters.patching
            none = truth.chances("patching", subject, NOTHING)
            chances = none if condition in ("clean", "own_prompt") else truth.patched(subject, way)
            rng = truth.rng("patched", subject, way, condition)
            return drawn(truth, chances, metrics, study.adapters.patching.runs, rng)
        shared: tuple[Battery, ...] = ("steering", "semantic")
        members = [b for b in batteries(study) if b == battery or (b in shared and battery in shared)]
        known = {c.name: c for b in members for c in conditions(study, b, subject)}
        most = max(use.samples for b in members for use in question_uses(study, b, subject))
        rng = truth.rng("answers", subject, condition)
        return drawn(truth, truth.chances(battery, subject, known[condition]), metrics, most, rng)


class Rows:
    """The answers of one subject in one battery, all conditions below each other."""

    def __init__(self, subject: str, metrics: Sequence[str]) -> None:
        self.subject, self.metrics = subject, list(metrics)
        self.parts: list[tuple[str, str, Sequence[str], int, dict[str, FloatArray]]] = []

    def add(
        self, condition: str, question_set: str, ids: Sequence[str], samples: int, answers: Answers,
        scores: Mapping[str, FloatArray],
    ) -> None:  # fmt: skip
        """The answers to some questions, of the scores of all."""
        at = [answers.place[name] for name in ids]
        kept = {metric: scores[metric][at, :samples] for metric in self.metrics}
        self.parts.append((condition, question_set, ids, samples, kept))

    def keys(self) -> dict[str, pa.Array]:
        """Columns that tell an answer, [answer]."""
        sizes = [len(ids) * samples for _, _, ids, samples, _ in self.parts]
        columns = {
            "condition": _repeated([part[0] for part in self.parts], sizes),
            "question_set": _repeated([part[1] for part in self.parts], sizes),
            "question_id": _repeated(
                [name for part in self.parts for name in part[2]],
                [samples for _, _, ids, samples, _ in self.parts for _ in ids],
            ),
            "sample": pa.array(
                np.concatenate([np.tile(np.arange(part[3], dtype=np.int32), len(part[2])) for part in self.parts])
                if self.parts
                else np.zeros(0, np.int32)
            ),
        }
        # not of the set: an answer that stands in two has one key
        key = [columns["condition"], columns["question_id"], columns["sample"].cast(pa.string())]
        return {"response_key": pc.binary_join_element_wise(pa.scalar(self.subject), *key, ":"), **columns}

    def judgements(self) -> pa.Table:
        """The judgement table: a row per answer and metric."""
        keys, metrics = self.keys(), len(self.metrics)
        count = len(keys["sample"])
        order = np.repeat(np.arange(count), metrics)
        scores = (
            np.concatenate(
                [
                    np.stack([scores[m].ravel() for m in self.metrics], axis=1).ravel()
                    for _, _, _, _, scores in self.parts
                ]
            )
            if self.parts
            else np.zeros(0)
        )
        refused = np.isnan(scores)
        columns: dict[str, Any] = {name: column.take(pa.array(order)) for name, column in keys.items()}
        columns |= {
            "metric": pa.DictionaryArray.from_arrays(
                np.tile(np.arange(metrics, dtype=np.int32), count), self.metrics
            ).cast(pa.string()),
            "score": pa.array(scores, mask=refused),
            "numeric_mass": pa.array(np.where(refused, 0.0, 1.0)),
            "refusal_mass": pa.array(np.where(refused, 1.0, 0.0)),
            "judge": _repeated([JUDGE], [len(scores)]),
            "status": pa.DictionaryArray.from_arrays(refused.astype(np.int32), ["scored", "refused"]).cast(pa.string()),
        }
        return _with_nulls(columns, JUDGED, len(scores))

    def responses(self, texts: Mapping[str, tuple[str | None, str]]) -> pa.Table:
        """The response table; `texts` are system prompt and question by id."""
        keys = self.keys()
        ids = keys["question_id"].to_pylist()
        columns = keys | {
            "system": pa.array([texts[name][0] for name in ids], pa.string()),
            "question": pa.array([texts[name][1] for name in ids], pa.string()),
            "response": pc.binary_join_element_wise("Simulated answer", keys["response_key"], " "),
            "finish_reason": _repeated(["stop"], [len(ids)]),
        }
        return _with_nulls(columns, ANSWERED, len(ids))


def _repeated(names: Sequence[str], counts: Sequence[int]) -> pa.Array:
    """Each name as often as its count."""
    places = np.repeat(np.arange(len(names), dtype=np.int32), counts)
    return pa.DictionaryArray.from_arrays(places, pa.array(names, pa.string())).cast(pa.string())


def _with_nulls(columns: Mapping[str, Any], schema: pa.Schema, rows: int) -> pa.Table:
    """The columns of a schema; those that are not given are null."""
    arrays = [columns.get(field.name, pa.nulls(rows, field.type)) for field in schema]
    return pa.Table.from_arrays([array.cast(f.type) for array, f in zip(arrays, schema, strict=True)], schema=schema)
