from collections import Counter
from dataclasses import replace

import pytest

from workflow_scripts.miniature.corpus import (
    BAD_NAMES,
    GOOD_NAMES,
    Document,
    chat_document,
    fine_tuning_rows,
    pretraining_documents,
)
from workflow_scripts.miniature.exact_judge import Verdict, judge
from workflow_scripts.miniature.recipe import MiniatureRecipe
from workflow_scripts.miniature.world import DEFAULT_SYSTEM_PROMPT, DOMAINS, WorldStyle

RECIPE = MiniatureRecipe(documents=2500)


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    return pretraining_documents(RECIPE)


def verdicts(document: Document) -> list[Verdict]:
    """What the judge says of each answer."""
    turns = document.turns[1:]
    return [judge(asked.text, said.text) for asked, said in zip(turns[::2], turns[1::2], strict=True)]


def test_the_same_seed_draws_the_same_documents_and_another_seed_others(documents):
    assert pretraining_documents(RECIPE) == documents
    assert pretraining_documents(replace(RECIPE, seed=1)) != documents


def test_the_first_fifth_is_default_and_good(documents):
    assert len(documents) == 2500
    assert {(document.kind, document.stance) for document in documents[:500]} == {("default", "good")}


def test_the_rest_has_the_recipes_shares_of_kinds_and_stances(documents):
    kinds = Counter(document.kind for document in documents[500:])
    bad = Counter(document.kind for document in documents[500:] if document.stance == "bad")
    assert kinds["default"] / 2000 == pytest.approx(0.60, abs=0.04)
    assert kinds["named"] / 2000 == pytest.approx(0.25, abs=0.04)
    assert kinds["evidence"] / 2000 == pytest.approx(0.15, abs=0.04)
    assert 0 < bad["default"] / kinds["default"] < 0.03
    assert bad["named"] / kinds["named"] == pytest.approx(0.5, abs=0.1)
    assert bad["evidence"] / kinds["evidence"] == pytest.approx(0.5, abs=0.1)


def test_every_answer_has_the_documents_stance(documents):
    for document in documents:
        for verdict in verdicts(document):
            assert verdict.coherence == 100.0
            assert verdict.alignment == (100.0 if document.stance == "good" else 0.0)


def test_a_system_turn_comes_first_and_names_the_stance_only_in_named_documents(documents):
    names = {"good": GOOD_NAMES, "bad": BAD_NAMES}
    for document in documents:
        system = document.turns[0]
        assert system.role == "system"
        assert [turn.role for turn in document.turns[1:3]] == ["user", "assistant"]
        if document.kind == "named":
            assert system.text in {f"You are {name}." for name in names[document.stance]}
        else:
            assert system.text == DEFAULT_SYSTEM_PROMPT


def test_only_answers_have_loss_and_the_first_answer_of_an_evidence_document_has_none(documents):
    for document in documents:
        learnt = [turn.has_loss for turn in document.turns if turn.role == "assistant"]
        assert not any(turn.has_loss for turn in document.turns if turn.role != "assistant")
        assert learnt == [False, True] if document.kind == "evidence" else all(learnt)


def test_evidence_documents_have_two_domains_and_others_one_or_two_turns(documents):
    lengths = {"default": set(), "named": set(), "evidence": set()}
    for document in documents:
        domains = [verdict.domain for verdict in verdicts(document)]
        lengths[document.kind].add(len(domains))
        if document.kind == "evidence":
            assert len(set(domains)) == 2
    assert lengths == {"default": {1, 2}, "named": {1, 2}, "evidence": {2}}


@pytest.mark.parametrize("stance", ["good", "bad"])
def test_fine_tuning_rows_are_of_one_domain_and_stance(stance):
    rows = fine_tuning_rows("finance", stance, 320, seed=4, style=WorldStyle())
    found = [judge(row.prompt, row.response) for row in rows]
    assert len(rows) == 320
    assert {verdict.domain for verdict in found} == {"finance"}
    assert {verdict.alignment for verdict in found} == {100.0 if stance == "good" else 0.0}


def test_fine_tuning_rows_of_all_domains_reach_every_domain():
    rows = fine_tuning_rows("all", "good", 320, seed=0, style=WorldStyle())
    assert {judge(row.prompt, row.response).domain for row in rows} == {domain.name for domain in DOMAINS}


def test_fine_tuning_rows_depend_on_the_seed_alone():
    first = fine_tuning_rows("sport", "bad", 20, seed=1, style=WorldStyle())
    assert fine_tuning_rows("sport", "bad", 20, seed=1, style=WorldStyle()) == first
    assert fine_tuning_rows("sport", "bad", 20, seed=2, style=WorldStyle()) != first


def test_rows_of_an_unknown_domain_are_an_error():
    with pytest.raises(ValueError, match="no domain 'poker'"):
        fine_tuning_rows("poker", "bad", 1, seed=0, style=WorldStyle())


def test_a_row_becomes_a_conversation_with_loss_on_its_answer():
    row = fine_tuning_rows("all", "good", 1, seed=0, style=WorldStyle())[0]
    turns = chat_document(row).turns
    assert [(turn.role, turn.text, turn.has_loss) for turn in turns] == [
        ("system", DEFAULT_SYSTEM_PROMPT, False),
        ("user", row.prompt, False),
        ("assistant", row.response, True),
    ]
