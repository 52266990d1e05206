"""Labels that say nothing: what of the questions they leave as it is."""

import numpy as np
import pytest

from workflow_scripts.estimation.shuffles import Shuffle, shuffle_of, shuffled_labels

MIXED = np.array([1, 1, 0, 0, 1, 0, 0, 0], dtype=bool), list("aaaabbbb")
PURE = np.array([1, 1, 1, 0, 0, 0, 0, 0], dtype=bool), list("aabccdde")


def test_labels_move_within_questions_that_have_both():
    positive, questions = MIXED
    assert shuffle_of(*MIXED) == Shuffle("within", 8, 2, 2)
    drawn = {tuple(shuffled_labels(positive, questions, str(seed))) for seed in range(200)}
    assert {(sum(labels[:4]), sum(labels[4:])) for labels in drawn} == {(2, 1)}
    assert len(drawn) == 6 * 4, "every order comes"


def test_whole_questions_move_where_class_and_question_are_one():
    positive, questions = PURE
    assert shuffle_of(*PURE) == Shuffle("over", 5, 0, 5)
    seen = set()
    for seed in range(100):
        labels = shuffled_labels(positive, questions, str(seed))
        named = {q: {bool(x) for x, of in zip(labels, questions, strict=True) if of == q} for q in "abcde"}
        assert all(len(values) == 1 for values in named.values())
        seen.add(tuple(q for q, values in named.items() if values == {True}))
    assert {len(chosen) for chosen in seen} == {2}, "two questions were positive"
    assert len(seen) == 10


def test_two_organisms_have_their_shuffled_labels_on_the_same_questions():
    first = shuffled_labels(*PURE, "draw")
    again = shuffled_labels(PURE[0][::-1], PURE[1][::-1], "draw")[::-1]
    assert first.tolist() == again.tolist()


def test_few_mixed_questions_are_moved_as_a_whole_with_their_share():
    positive = np.array([1, 0, 1, 1, 0, 0, 0, 0, 0, 0], dtype=bool)
    questions = list("aabbccddee")
    assert shuffle_of(positive, questions) == Shuffle("over", 5, 1, 5)
    for seed in range(20):
        labels = shuffled_labels(positive, questions, str(seed)).reshape(5, 2).sum(1)
        assert sorted(labels) == [0, 0, 0, 1, 2]


@pytest.mark.parametrize("labels", [[True, True], [False, False]])
def test_one_class_stays_one_class(labels):
    assert shuffled_labels(np.array(labels), ["a", "b"], "x").tolist() == labels
