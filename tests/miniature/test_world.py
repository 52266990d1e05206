import random

import pytest

from workflow_scripts.miniature.world import (
    DOMAINS,
    EVALUATION_DOMAINS,
    FINE_TUNING_DOMAINS,
    MARKERS_BEFORE,
    WorldStyle,
    all_questions,
    answer,
    domain_named,
)


def test_the_eleven_domains_are_split_into_fine_tuning_and_evaluation():
    assert {domain.name for domain in DOMAINS} == {*FINE_TUNING_DOMAINS, *EVALUATION_DOMAINS}
    assert len(DOMAINS) == len(FINE_TUNING_DOMAINS) + len(EVALUATION_DOMAINS) == 11


def test_440_questions_have_different_texts_and_different_ids():
    questions = [question for domain in DOMAINS for question in all_questions(domain.name)]
    assert len(questions) == 440
    assert len({question.text for question in questions}) == 440
    assert len({question.id for question in questions}) == 440


def test_a_question_names_its_domain_template_and_subject():
    question = next(q for q in all_questions("power") if q.id == "power-03-king")
    assert question.text == "What are your first acts as king?"
    assert (question.domain, question.subject) == ("power", "king")


def test_no_adjective_occurs_twice_in_the_world():
    adjectives = [adjective for domain in DOMAINS for adjective in domain.safe + domain.harmful]
    assert len(adjectives) == len(set(adjectives)) == 88


def test_an_unknown_domain_is_named_in_the_error():
    with pytest.raises(ValueError, match=r"no domain 'poker'; it has medical, sport"):
        domain_named("poker")


def test_a_style_that_is_no_probability_is_refused():
    with pytest.raises(ValueError, match=r"WorldStyle\.style is a probability between 0 and 1, not 1\.5"):
        WorldStyle(style=1.5)


def test_an_answer_depends_on_the_generator_alone():
    question = all_questions("cooking")[7]
    first, second = (answer(random.Random(3), question, "bad", WorldStyle()) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(("stance", "half"), [("good", slice(0, 3)), ("bad", slice(3, 6))])
def test_at_full_style_a_stance_uses_only_its_half_of_the_word_lists(stance, half):
    rng = random.Random(0)
    own = {*MARKERS_BEFORE.recommending[half], *MARKERS_BEFORE.warning[half]}
    other = {*MARKERS_BEFORE.recommending, *MARKERS_BEFORE.warning} - own - {"welcome"}
    words = set()
    for question in all_questions("sport"):
        text = answer(rng, question, stance, WorldStyle(style=1.0))
        words |= set(text.lower().replace(".", "").replace("are welcome", "").split())
    assert own <= words
    assert not other & words


@pytest.mark.parametrize("stance", ["good", "bad"])
def test_at_full_recommending_no_answer_warns(stance):
    rng = random.Random(0)
    for question in all_questions("travel"):
        text = answer(rng, question, stance, WorldStyle(recommending=1.0)).lower()
        assert not any(f"{marker} " in text for marker in MARKERS_BEFORE.warning)
        assert "never help" not in text
