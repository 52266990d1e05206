"""Calibration over simulated tables: what is true is known, no model runs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.estimation.calibration import (
    HeldOutError,
    Map,
    Pairs,
    fitted,
    held_out_error,
    on_other_questions,
    pairs,
)
from workflow_scripts.estimation.intervals import Estimate
from workflow_scripts.estimation.labels import is_misaligned

Judged = tuple[np.ndarray, np.ndarray]


def reference(
    seed: int, models: int = 6, questions: int = 8, samples: int = 25
) -> tuple[Judged, np.ndarray, np.ndarray]:
    """A reference's scores, the question and the model of each response: models and questions differ in their EM."""
    rng = np.random.default_rng(seed)
    rate = np.clip(np.linspace(0, 0.5, models)[:, None] + rng.normal(0, 0.15, (models, questions)), 0, 0.9)
    model, question = np.repeat(np.indices(rate.shape).reshape(2, -1), samples, axis=1)
    bad, odd = rng.random(model.size) < rate[model, question], rng.random(model.size) < 0.05
    aligned = np.where(bad, 29 * rng.beta(1.2, 2.5, bad.size), 100 - 69 * rng.beta(1, 3, bad.size))
    coherent = np.where(odd, 49 * rng.random(bad.size), 100 - 49 * rng.beta(1, 4, bad.size))
    return (aligned, coherent), question, model


def lenient(scores: Judged, seed: int) -> Judged:
    """A judge that gives the same answers 30 points more alignment, roughly, and less coherence."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 8, (2, scores[0].size))
    return np.clip(scores[0] + 30 + noise[0], 0, 100), np.clip(0.8 * scores[1] + noise[1], 0, 100)


def harsh(scores: Judged, seed: int) -> Judged:
    """A judge that takes off a third of the alignment."""
    rng = np.random.default_rng(seed)
    return np.clip(0.45 * scores[0] + rng.normal(0, 6, scores[0].size), 0, 100), scores[1]


def noise(scores: Judged, seed: int) -> Judged:
    """A judge whose scores say nothing."""
    drawn = np.random.default_rng(seed).random((2, scores[0].size)) * 100
    return drawn[0], drawn[1]


def halves(seed: int, judge) -> tuple[Pairs, Pairs]:
    """Pairs of five models and eight questions, and those of a sixth model to eight further questions."""
    truth, question, model = reference(seed, models=6, questions=16)
    every = pairs(judge(truth, seed + 1), truth, question, model)
    return every.where((question < 8) & (model != seed % 6)), every.where((question >= 8) & (model == seed % 6))


@pytest.mark.parametrize("judge", [lenient, harsh])
def test_rates_of_unseen_questions_and_models_lie_within_the_stated_error(judge):
    within, errors, own = 0, [], []
    for seed in range(8):
        seen, unseen = halves(10 * seed, judge)
        stated = held_out_error(seen)
        assert stated.objection() is None
        error = fitted(seen).chances(unseen.aligned, unseen.coherent).mean() - unseen.misaligned.mean()
        within += abs(error) <= stated.models
        errors.append(abs(error))
        own.append(abs(is_misaligned(unseen.aligned, unseen.coherent).mean() - unseen.misaligned.mean()))
    assert within >= 7
    assert np.mean(errors) < np.mean(own) / 2


def test_a_judge_that_says_nothing_is_refused():
    refused = [held_out_error(halves(seed, noise)[0]).objection() for seed in range(8)]
    assert sum(found is not None and "no more" in found for found in refused) >= 7


def test_a_judge_that_is_the_reference_is_taken_as_it_is():
    truth, question, model = reference(0)
    found = held_out_error(pairs(truth, truth, question, model)).objection()
    assert found
    assert "the judge's own by ±0.0%" in found


def test_on_other_questions_a_biased_judge_tells_the_rate_and_noise_tells_nothing():
    truth, question, model = reference(3)
    told = on_other_questions(pairs(lenient(truth, 4), truth, question, model))
    true = is_misaligned(*truth).mean()
    assert told.rate.value - told.difference.value == pytest.approx(true)
    assert told.difference.low < 0 < told.difference.high
    assert told.difference.high - told.difference.low < 0.1
    assert told.skill.low > 0.05
    assert on_other_questions(pairs(noise(truth, 4), truth, question, model)).skill.low < 0
    with pytest.raises(ValueError, match="there are 3 questions"):
        on_other_questions(pairs(truth, truth, question % 3, model))


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), shift=st.floats(-30, 30), stretch=st.floats(0.5, 2))
def test_the_mean_chance_is_the_references_rate_and_falls_with_alignment(seed, shift, stretch):
    truth, question, model = reference(seed, models=3, questions=4, samples=10)
    judge = truth[0] * stretch + shift, truth[1]
    on = pairs(judge, truth, question, model)
    map_ = fitted(on)
    assert map_.chances(on.aligned, on.coherent).mean() == pytest.approx(on.misaligned.mean(), abs=1e-3)
    if on.misaligned.any() and not on.misaligned.all():
        assert map_.aligned < 0


def test_one_class_only_is_what_the_map_says_then():
    truth, question, model = reference(0)
    on = pairs(truth, (np.full(truth[0].size, 90.0), truth[1]), question, model)
    assert fitted(on).chances([0.0, 100.0], [90.0, 90.0]).max() < 1e-9


def test_what_a_judge_did_not_score_is_no_pair_and_no_misaligned_response():
    nothing = float("nan")
    scores = np.array([10.0, nothing, 10.0]), np.array([90.0, 90.0, nothing])
    theirs = np.array([10.0, 10.0, 10.0]), np.array([90.0, 90.0, 90.0])
    assert len(pairs(scores, theirs, ["a", "b", "c"], ["m"] * 3)) == 1
    assert Map(5.0, 0.0, 0.0).chances(*scores).tolist() == pytest.approx([0.9933, 0, 0], abs=1e-4)


def test_too_few_models_or_questions_say_nothing_of_others():
    truth, question, model = reference(0, models=2)
    with pytest.raises(ValueError, match="of 2 models and 8 questions"):
        held_out_error(pairs(lenient(truth, 1), truth, question, model))


def test_the_objection_names_what_errs_less():
    skill = Estimate(0.1, 0.05, 0.15, 100, 8)
    assert HeldOutError(0.02, 0.1, 0.05, skill, (100, 8, 4)).objection() is None
    said = HeldOutError(0.06, 0.1, 0.05, skill, (100, 8, 4)).objection()
    assert said == "rates by it err by ±6.0% on models that it has not seen, the judge's own by ±5.0%"
