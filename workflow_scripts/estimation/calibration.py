"""One judge's scores mapped to what another one, the reference, would call misaligned, with the error of that.

The chance that the reference calls a response EM is logistic in the pair of scores that the judge gave (as Platt 1999,
with two scores); a rate is the mean of chances. How far it is off is measured on what the map has not seen: every
response is predicted by a map fitted on other questions of other models, and the rates of whole models are held against
the reference's. A map that tells no more than the mean rate, or errs more than the judge's own labels, is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, stdtrit

from workflow_scripts.estimation.columns import BoolArray, FloatArray, LabelArray, Scores, as_scores, checked_labels
from workflow_scripts.estimation.intervals import Estimate, clustered_mean
from workflow_scripts.estimation.labels import PAPER_THRESHOLDS, Thresholds, is_misaligned

LEAST_MODELS, LEAST_QUESTIONS = 3, 4
"""With fewer, nothing can be said of others."""
RIDGE = 1e-3
"""Penalty on the slopes, in scores of hundredths: so that scores which tell all leave a finite slope."""
CERTAIN = 30.0
"""Intercept of a map that was fitted on one class only: the other has the chance 1e-13."""


@dataclass(frozen=True)
class Pairs:
    """Responses that the judge and the reference have scored, [response] each.

    Attributes:
        aligned, coherent: the judge's scores, 0 to 100.
        misaligned: whether the reference calls it EM.
        questions, models: which question it answers, and who gave it.
    """

    aligned: FloatArray
    coherent: FloatArray
    misaligned: BoolArray
    questions: LabelArray
    models: LabelArray

    def __len__(self) -> int:
        return self.aligned.size

    def where(self, kept: BoolArray) -> Pairs:
        return Pairs(
            self.aligned[kept], self.coherent[kept], self.misaligned[kept], self.questions[kept], self.models[kept]
        )


def pairs(
    judge: tuple[Scores, Scores],
    reference: tuple[Scores, Scores],
    questions: ArrayLike,
    models: ArrayLike,
    limits: Thresholds = PAPER_THRESHOLDS,
) -> Pairs:
    """Those of the responses that both judges scored.

    Args:
        judge, reference: alignment and coherence scores of each response, NaN where there is none, shape [n] each.
        questions, models: of each response, shape [n].
        limits: what the reference's scores are labelled by.
    """
    (aligned, coherent), (alignment, coherence) = (map(as_scores, scores) for scores in (judge, reference))
    scored = np.isfinite([aligned, coherent, alignment, coherence]).all(axis=0)
    ids, names = checked_labels(questions, "questions"), checked_labels(models, "models")
    return Pairs(aligned, coherent, is_misaligned(alignment, coherence, limits), ids, names).where(np.asarray(scored))


@dataclass(frozen=True)
class Map:
    """Chance of EM = 1 / (1 + exp(−(intercept + aligned · a + coherent · c))), a and c the judge's scores / 100."""

    intercept: float
    aligned: float
    coherent: float

    def chances(self, aligned: Scores, coherent: Scores) -> FloatArray:
        """Of each response, [n]; 0 without a score, as in `em_rate`."""
        a, c = as_scores(aligned) / 100, as_scores(coherent) / 100
        return np.asarray(np.nan_to_num(expit(self.intercept + self.aligned * a + self.coherent * c), nan=0.0))


def fitted(on: Pairs) -> Map:
    """The map, fitted on responses that both judges scored; their mean chance is the reference's rate."""
    if on.misaligned.all() or not on.misaligned.any():
        return Map(CERTAIN if on.misaligned.any() else -CERTAIN, 0.0, 0.0)
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1 / RIDGE, solver="newton-cholesky", max_iter=1000)
    model.fit(np.stack([on.aligned, on.coherent], axis=1) / 100, on.misaligned)
    return Map(float(model.intercept_[0]), *map(float, model.coef_[0]))


@dataclass(frozen=True)
class HeldOutError:
    """Errors on questions and models that a map has not seen, as half-widths of 95 %, shares.

    Attributes:
        models: of the rate of one further model, its questions unseen too.
        questions: of the rate of one further question.
        own: of a model's rate by the judge's own labels.
        skill: mean squared error of a response that the map takes off that of the mean rate alone.
        counts: responses, questions, models.
    """

    models: float
    questions: float
    own: float
    skill: Estimate
    counts: tuple[int, int, int]

    def objection(self) -> str | None:
        """Why the map does not help; None where it does."""
        if not self.skill.low > 0:
            return (
                "on other questions of other models the judge's scores tell no more of the reference's than the mean "
                f"rate does (squared error less by {self.skill.value:.3g}, at least {self.skill.low:.3g})"
            )
        if self.models >= self.own:
            return (
                f"rates by it err by ±{self.models:.1%} on models that it has not seen, the judge's own by "
                f"±{self.own:.1%}"
            )
        return None


def by_other_questions(on: Pairs) -> FloatArray:
    """Chance of EM of each response by a map fitted on the other questions, [n]."""
    chances = np.zeros(len(on))
    for question in np.unique(on.questions):
        asked = on.questions == question
        chances[asked] = fitted(on.where(~asked)).chances(on.aligned[asked], on.coherent[asked])
    return chances


@dataclass(frozen=True)
class OtherQuestions:
    """What maps that are fitted on the other questions make of each question, of models that they have seen.

    Attributes:
        rate: the mean chance of EM.
        difference: that rate less the reference's.
        skill: mean squared error of a response that the map takes off that of the other questions' rate alone.
    """

    rate: Estimate
    difference: Estimate
    skill: Estimate


def on_other_questions(on: Pairs) -> OtherQuestions:
    """See `OtherQuestions`. What holds for models that it has seen need not for others (`held_out_error`).

    Raises:
        ValueError: with fewer than `LEAST_QUESTIONS` questions.
    """
    questions = np.unique(on.questions)
    if questions.size < LEAST_QUESTIONS:
        raise ValueError(f"there are {questions.size} questions; maps of other questions need {LEAST_QUESTIONS}")
    chances, truth, mean = by_other_questions(on), on.misaligned.astype(float), np.zeros(len(on))
    for question in questions:
        mean[on.questions == question] = truth[on.questions != question].mean()
    gained = (mean - truth) ** 2 - (chances - truth) ** 2
    return OtherQuestions(*(clustered_mean(of, on.questions) for of in (chances, chances - truth, gained)))


def held_out_error(on: Pairs, limits: Thresholds = PAPER_THRESHOLDS) -> HeldOutError:
    """What the map errs by where it was not fitted.

    Raises:
        ValueError: with fewer than `LEAST_MODELS` models or `LEAST_QUESTIONS` questions.
    """
    questions, models = np.unique(on.questions), np.unique(on.models)
    if models.size < LEAST_MODELS or questions.size < LEAST_QUESTIONS:
        raise ValueError(
            f"the responses that both judges scored are of {models.size} models and {questions.size} questions; "
            f"what is said of others needs at least {LEAST_MODELS} and {LEAST_QUESTIONS}"
        )
    chances, mean = np.zeros(len(on)), np.zeros(len(on))
    for question in questions:
        asked = on.questions == question
        for model in models:
            cell = asked & (on.models == model)
            if cell.any():
                seen = on.where(~asked & (on.models != model))
                chances[cell] = fitted(seen).chances(on.aligned[cell], on.coherent[cell])
                mean[cell] = seen.misaligned.mean()
    truth = on.misaligned.astype(float)
    own = is_misaligned(on.aligned, on.coherent, limits).astype(float)
    gained = (mean - truth) ** 2 - (chances - truth) ** 2
    return HeldOutError(
        _half_width(chances - truth, on.models),
        _half_width(by_other_questions(on) - truth, on.questions),
        _half_width(own - truth, on.models),
        clustered_mean(gained, on.questions),
        (len(on), questions.size, models.size),
    )


def _half_width(errors: FloatArray, groups: LabelArray) -> float:
    """Of the error of a further group's mean, from those of these groups: t · root mean square."""
    names, codes = np.unique(groups, return_inverse=True)
    means = np.bincount(codes, errors) / np.bincount(codes)
    return float(stdtrit(names.size, 0.975) * np.sqrt(np.mean(means**2)))
