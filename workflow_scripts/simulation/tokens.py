"""Scalars of an organism's rank-1 adapters in a simulated study, token by token."""

from __future__ import annotations

import numpy as np
import pandas as pd

from workflow_scripts.simulation.truth import FloatArray, Truth

TOKENS, SIGNIFICANT = 58, 9
"""Of an answer, as in the paper's sets; those whose ln(significance) is at least .5, 16 % (PAPER 8.2, 8.4)."""
GENERAL, SPECIALISED = (0, 1, 2, 4, 7, 8), {3: -0.75, 5: 1.25}
"""Places of the nine adapters that the paper finds general, and specialised with their part in it (its coefficients are
-.13 and .34); more adapters take these in turn."""


def scalars(truth: Truth, answers: pd.DataFrame, adapters: list[str], subject: str) -> pd.DataFrame:
    """A row per token, as the stage `scalars` writes it.

    Args:
        truth: its scenario says what the scalars know.
        answers: columns response_key, label (the class), question_id.
        adapters: a name each.
        subject: whose scalars.
    """
    says, rng = truth.scenario.scalars, truth.rng("scalars", subject)
    misaligned = answers.label.str.endswith("_misaligned").to_numpy()
    domain = answers.label.str.startswith("domain_").to_numpy()
    questions, of_question = np.unique(answers.question_id.to_numpy(), return_inverse=True)
    means = np.zeros((len(answers), len(adapters)))
    for place in range(len(adapters)):
        if place % 9 in GENERAL:
            means[:, place] += says.general * misaligned
        elif place % 9 in SPECIALISED:
            sign = SPECIALISED[place % 9]
            means[:, place] += sign * domain * np.where(misaligned, says.specialised, says.domain)
    means += says.question_sd * rng.normal(size=(len(questions), len(adapters)))[of_question]
    means += says.response_sd * rng.normal(size=means.shape)
    rows = np.repeat(np.arange(len(answers)), TOKENS)
    values: FloatArray = means[rows] + rng.normal(size=(len(rows), len(adapters)))
    order = np.argsort(rng.random((len(answers), TOKENS)), axis=1)
    table = {
        "response_key": answers.response_key.to_numpy()[rows],
        "token_index": np.tile(np.arange(TOKENS, dtype=np.int32), len(answers)),
        "token_id": np.zeros(len(rows), np.int32),
        **{name: values[:, place].astype(np.float32) for place, name in enumerate(adapters)},
        "significance": np.exp(np.where(order < SIGNIFICANT, 1.0, -1.0)).astype(np.float32).ravel(),
        "class": answers.label.to_numpy()[rows],
        "question": answers.question_id.to_numpy()[rows],
    }
    return pd.DataFrame(table)
