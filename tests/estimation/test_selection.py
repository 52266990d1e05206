"""The best of many conditions is read where it was not chosen."""

import numpy as np
import pandas as pd
import pytest

from workflow_scripts.estimation.selection import cross_fitted, halves

QUESTIONS = list("abcd")


def answers(*values, each=1):
    return pd.DataFrame(
        {"question_id": [q for q in QUESTIONS for _ in range(each)], "hit": [v for v in values for _ in range(each)]}
    )


def test_every_other_question_is_in_a_half():
    assert halves(answers(0, 0, 0, 0).question_id) == ({"a", "c"}, {"b", "d"})


def test_each_half_is_read_under_the_condition_that_the_other_chose():
    parts = {"x": answers(1, 0, 1, 0), "y": answers(0, 1, 0, 1)}  # x is best on a and c, y on b and d
    chosen = cross_fitted(parts, lambda part: part.hit.mean())
    assert [key for key, _ in chosen] == ["x", "y"]
    read = pd.concat(part for _, part in chosen)
    assert read.set_index("question_id").hit.sort_index().tolist() == [0, 0, 0, 0], "all luck, and it is gone"


def test_a_condition_that_does_not_qualify_is_not_chosen():
    parts = {"x": answers(1, 1, 1, 1), "y": answers(0, 0, 0, 1)}
    chosen = cross_fitted(parts, lambda part: np.nan if part.hit.all() else part.hit.mean())
    assert [(key, len(part)) for key, part in chosen] == [("y", 2), ("y", 2)]
    assert cross_fitted(parts, lambda part: np.nan) == []
    assert cross_fitted({}, lambda part: 1.0) == []


def test_the_largest_of_many_equal_cells_is_no_larger_than_they_are():
    rng = np.random.default_rng(0)
    naive, fair = [], []
    for _ in range(50):
        parts = {k: pd.DataFrame({"question_id": QUESTIONS * 20, "hit": rng.binomial(1, 0.2, 80)}) for k in range(30)}
        naive.append(max(part.hit.mean() for part in parts.values()))
        fair.append(pd.concat(part for _, part in cross_fitted(parts, lambda part: part.hit.mean())).hit.mean())
    assert np.mean(naive) > 0.28
    assert np.mean(fair) == pytest.approx(0.2, abs=0.02)
