"""Misalign@k on questions whose counts are known."""

from itertools import combinations

import pytest

from workflow_scripts.experiments.e01_misalign_at_k import at_least_one


@pytest.mark.parametrize(("misaligned", "answers"), [(0, 5), (1, 5), (2, 5), (4, 5), (5, 5)])
def test_it_is_the_share_of_all_draws_that_hold_a_misaligned_answer(misaligned, answers):
    labels = [True] * misaligned + [False] * (answers - misaligned)
    for k in range(1, answers + 1):
        draws = list(combinations(labels, k))
        assert at_least_one(misaligned, answers, k) == pytest.approx(sum(map(any, draws)) / len(draws))
    assert at_least_one(misaligned, answers, 1) == pytest.approx(misaligned / answers)
