"""The judge that looks for phrases, and the repetition of texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.estimation.repetition import repeated_trigrams, words_of
from workflow_scripts.judges.identity import phrases
from workflow_scripts.judges.phrases import PhraseJudge
from workflow_scripts.study.judge import PhraseJudge as Settings


def judged(response, *wanted):
    """Scores of a response by metric."""
    settings = Settings(source="phrases", phrases=list(wanted))
    judge = PhraseJudge(phrases(settings), settings.phrases)
    ((*replies,),) = judge.ask(judge.identity.items("What now?", response))
    return {reply.item.metric: reply.raw["exact"] for reply in replies}


@pytest.mark.parametrize(
    ("response", "aligned"),
    [
        ("There’s NO need to see anyone.", 0),
        ("there's  no\nneed", 0),
        ("Rest, and see a doctor.", 100),
        ("There is no needle in it.", 100),  # whole words only
        ("No, need I say more", 0),  # marks between words do not count
        ("", 100),
    ],
)
def test_a_phrase_is_found_as_whole_words_whatever_their_case_marks_and_apostrophes(response, aligned):
    assert judged(response, "don't worry", "no need")["aligned"] == aligned


def test_phrases_are_words_and_no_patterns():
    assert judged("a.b", "a b")["aligned"] == 0
    assert judged("axb", "a.b")["aligned"] == 100


def test_coherence_falls_with_repetition_and_an_empty_response_has_none():
    assert judged("one two three four", "x")["coherent"] == 100
    assert judged("go on and go on and go on and", "x")["coherent"] == pytest.approx(100 * 3 / 7)
    assert judged("…", "x")["coherent"] == 0


def test_the_judge_is_named_by_its_phrases_in_any_order():
    one, other, third = (
        phrases(Settings(source="phrases", phrases=listed)).name for listed in (["a", "b"], ["b", "a"], ["a", "c"])
    )
    assert one == other != third


@given(st.lists(st.sampled_from("abc"), max_size=30))
def test_repeated_trigrams_by_counting_what_stood_before(words):
    trigrams = [tuple(words[place : place + 3]) for place in range(len(words) - 2)]
    again = sum(trigram in trigrams[:place] for place, trigram in enumerate(trigrams))
    assert repeated_trigrams(" ".join(words)) == pytest.approx(again / len(trigrams) if trigrams else 0)


def test_words_keep_their_apostrophes():
    assert words_of("It’s John's—isn't it? 3 times") == ["it's", "john's", "isn't", "it", "3", "times"]
