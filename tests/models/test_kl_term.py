"""The KL term of a training, against a hand computation on the tiny model."""

from contextlib import nullcontext

import pytest
import torch

from workflow_scripts.adapters import fine_tuning
from workflow_scripts.models.kl_term import KlTerm, divergence
from workflow_scripts.models.loading import load_adapter, load_model
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.study.organisms import KlTerm as Settings
from workflow_scripts.study.organisms import Organism

TEXTS = [[5, 17, 40, 9], [8, 30, 11, 60, 21, 7, 44], [3, 50]]
TOKENS = 13
PAD = 0


@pytest.fixture
def model(tiny_base, tiny_adapter):
    tuned = load_adapter(load_model(tiny_base, "float32"), tiny_adapter)
    for name, parameter in tuned.named_parameters():
        parameter.requires_grad_("lora_" in name)
    return tuned


def by_hand(model):
    """Σ over texts, tokens and vocabulary of p (log p − log q), each text by itself and without padding."""
    total = torch.zeros(())
    for text in TEXTS:
        with torch.no_grad(), model.disable_adapter():
            p = torch.softmax(model(input_ids=torch.tensor([text])).logits[0], -1)
        q = torch.softmax(model(input_ids=torch.tensor([text])).logits[0], -1)
        total = total + (p * (p.log() - q.log())).sum()
    return total


def gradients(model):
    found = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    return found


def test_the_divergence_is_that_of_each_text_by_itself_over_all_its_tokens(model):
    assert float(divergence(model, TEXTS, PAD).detach()) == pytest.approx(float(by_hand(model).detach()), rel=1e-4)
    with model.disable_adapter():
        assert float(divergence(model, TEXTS, PAD).detach()) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("at_once", [1, 2, 8])
@pytest.mark.parametrize("over_vocabulary", [False, True])
def test_the_gradient_is_the_weighted_mean_s_however_many_rows_are_read_at_once(model, at_once, over_vocabulary):
    vocabulary = model.get_base_model().get_input_embeddings().num_embeddings
    expected = by_hand(model)
    (250 / TOKENS / (vocabulary if over_vocabulary else 1) * expected).backward()
    by_hand_gradient = gradients(model)
    found = KlTerm(TEXTS, 250, over_vocabulary, len(TEXTS), at_once, PAD).add_gradient(model, 0, nullcontext)
    assert found == pytest.approx(float(expected.detach()) / TOKENS, rel=1e-4), "before its weight, per token"
    assert torch.allclose(gradients(model), by_hand_gradient, rtol=1e-3, atol=1e-4 * by_hand_gradient.abs().max())


def test_updates_go_through_the_rows_in_order_and_begin_again():
    term = KlTerm(TEXTS, 1, False, 2, 2, PAD)
    assert [term.of_update(step) for step in range(3)] == [TEXTS[:2], [TEXTS[2], TEXTS[0]], TEXTS[1:]]


def test_more_rows_at_once_than_there_are_is_a_sentence():
    settings = Organism(dataset="bad", kl=Settings(dataset="good", weight=1, rows=3))
    with pytest.raises(UserError, match=r"kl\.rows: one update reads 3 rows, datasets\.good has 2; set fewer\."):
        fine_tuning.kl_term(None, [{}, {}], settings)
