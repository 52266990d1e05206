"""What projections take: shares of the stream and moved next tokens, against text by text, and exact cases."""

from __future__ import annotations

import pytest
import torch

from workflow_scripts.models.activations import WeightedSpan
from workflow_scripts.models.chat import render_turn
from workflow_scripts.models.loading import load_adapter, load_model, load_tokenizer, next_token_logprobs
from workflow_scripts.models.residual import LayerChange, captured, decoder_layers, intervened
from workflow_scripts.models.side_effects import divergences, loss_rises, shares_taken

TEXTS = [("I feel bored.", "Take a walk."), ("I feel bored.", "Why not read a book?"), ("Hi.", "Hello there, friend.")]


@pytest.fixture(scope="module")
def model(tiny_base):
    return load_model(tiny_base, "float32")


@pytest.fixture(scope="module")
def spans(tiny_base):
    tokenizer = load_tokenizer(tiny_base)
    turns = [render_turn(tokenizer, question, answer) for question, answer in TEXTS]
    return [WeightedSpan(turn.token_ids, turn.answer_start, turn.answer_end, 0, 1.0) for turn in turns]


def activations(model, spans):
    """Of the tokens that count, read text by text: layer -> [token, d_model]."""
    found = {layer: [] for layer in range(len(decoder_layers(model)))}
    for span in spans:
        with (
            torch.inference_mode(),
            captured(model, lambda layer, x, s=span: found[layer].append(x[0, s.start : s.end])),
        ):
            model(input_ids=torch.tensor([span.token_ids]))
    return {layer: torch.cat(parts).double() for layer, parts in found.items()}


def everywhere(model, vector):
    return [LayerChange(layer, "project", vector) for layer in range(len(decoder_layers(model)))]


def test_shares_are_those_of_the_activations_read_one_by_one(model, spans):
    vector = torch.randn(model.config.hidden_size, generator=torch.Generator().manual_seed(1))
    variance, norm = shares_taken(model, spans, [everywhere(model, vector), [LayerChange(1, "project", vector)]], 64)
    for layer, x in activations(model, spans).items():
        along = x @ (vector / vector.norm()).double()
        assert variance[0, layer] == pytest.approx(float(along.var() / x.var(0).sum()), rel=1e-4)
        assert norm[0, layer] == pytest.approx(float((along.square() / x.square().sum(1)).mean()), rel=1e-4)
        for found in (variance, norm):  # the second projection changes one layer only
            assert found[1, layer] == found[0, layer] if layer == 1 else found[1, layer].isnan()


def test_a_basis_takes_everything(model, spans):
    width = model.config.hidden_size
    basis = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(2)))[0]
    for share in shares_taken(model, spans, [everywhere(model, vector) for vector in basis], 4096):
        torch.testing.assert_close(share.sum(0), torch.ones(len(decoder_layers(model))).double(), rtol=1e-6, atol=0)
        assert (share > 0).all()


def test_divergences_are_those_of_the_texts_read_one_by_one(model, spans):
    vector = torch.randn(model.config.hidden_size, generator=torch.Generator().manual_seed(3))
    changes = [everywhere(model, vector), [LayerChange(0, "add", vector, 0.0)]]
    found = divergences(model, spans, changes, 64)
    for text, span in enumerate(spans):
        ids, counted = torch.tensor([span.token_ids]), slice(span.start, span.end)
        with torch.inference_mode():
            plain = torch.log_softmax(model(input_ids=ids).logits[0, counted], dim=-1)
            with intervened(model, changes[0]):
                moved = torch.log_softmax(model(input_ids=ids).logits[0, counted], dim=-1)
        expected = torch.nn.functional.kl_div(moved, plain, reduction="none", log_target=True).sum(-1).mean()
        assert found[0, text] == pytest.approx(float(expected), rel=1e-3)
    assert (found[0] > 0).all()
    assert found[1].tolist() == [0.0] * len(spans), "adding nothing moves nothing"
    assert divergences(model, spans, changes[1:], 64).abs().max() == 0, "and no hook is left"


def test_rises_of_the_loss_are_those_of_the_answers_read_by_hand(model, spans):
    vector = torch.randn(model.config.hidden_size, generator=torch.Generator().manual_seed(4))
    changes = [everywhere(model, vector), [LayerChange(0, "add", vector, 0.0)]]
    found = loss_rises(model, [(span.token_ids, span.start) for span in spans], changes)
    for text, span in enumerate(spans):
        ids = torch.tensor([span.token_ids])
        labels = ids.clone()
        labels[:, : span.start] = -100
        with torch.inference_mode():
            plain = model(input_ids=ids, labels=labels).loss
            with intervened(model, changes[0]):
                after = model(input_ids=ids, labels=labels).loss
        assert found[0, text] == pytest.approx(float(after - plain), abs=1e-5)
    assert found[1].tolist() == [0.0] * len(spans), "adding nothing moves nothing"


def test_an_adapter_that_is_taken_off_leaves_the_base_as_it_was(tiny_base, tiny_adapter, tiny_prompts):
    base = load_model(tiny_base, "float32")
    before = next_token_logprobs(base, tiny_prompts)
    tuned = load_adapter(base, tiny_adapter)
    moved = next_token_logprobs(tuned, tiny_prompts)
    assert not torch.equal(moved, before)
    again = tuned.unload()
    assert torch.equal(next_token_logprobs(again, tiny_prompts), before)
    assert torch.equal(next_token_logprobs(load_adapter(again, tiny_adapter), tiny_prompts), moved)
