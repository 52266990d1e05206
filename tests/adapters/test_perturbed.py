"""Adapters scaled and turned aside: norms against the updates themselves, noise against its definition."""

import pytest
import torch

from workflow_scripts.adapter_losses import losses
from workflow_scripts.adapters.perturbed import lora_tensors, replaced, scaled, turned, update_norm
from workflow_scripts.models.loading import answer_logprobs, load_adapter, load_model
from workflow_scripts.study.experiments import Narrow

TEXTS = [([5, 17, 40, 9, 12], 2), ([8, 30, 11, 60], 1)]


@pytest.fixture(scope="module")
def model(tiny_base, tiny_adapter):
    return load_adapter(load_model(tiny_base, "float32"), tiny_adapter)


@pytest.fixture
def tensors():
    torch.manual_seed(0)
    return {"x.lora_A.weight": torch.randn(2, 30), "x.lora_B.weight": torch.randn(20, 2)}


def test_the_norm_is_that_of_what_peft_adds_to_the_weights(model):
    total = sum(
        float(module.get_delta_weight("default").detach().double().square().sum())
        for module in model.modules()
        if hasattr(module, "get_delta_weight")
    )
    assert update_norm(model) == pytest.approx(total**0.5, rel=1e-5)
    with replaced(model, scaled(lora_tensors(model), 2)):
        assert update_norm(model) == pytest.approx(2 * total**0.5, rel=1e-5)


@pytest.mark.parametrize("share", [0.1, 0.6, 1.0])
def test_noise_is_orthogonal_and_keeps_each_tensor_s_length(tensors, share):
    for name, made in turned(tensors, share, 3).items():
        own = tensors[name]
        assert made.norm() == pytest.approx(float(own.norm()), rel=1e-5)
        cosine = float((made * own).sum() / own.norm() ** 2)
        assert cosine == pytest.approx((1 - share**2) ** 0.5, abs=1e-6)


def test_no_noise_leaves_every_bit_and_each_draw_is_its_own(tensors):
    assert all(torch.equal(made, tensors[name]) for name, made in turned(tensors, 0.0, 3).items())
    first, again, other = (turned(tensors, 0.3, draw)["x.lora_A.weight"] for draw in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_an_adapter_of_zeros_stays_one():
    nothing = {"x.lora_B.weight": torch.zeros(4, 1)}
    assert torch.equal(turned(nothing, 0.5, 0)["x.lora_B.weight"], nothing["x.lora_B.weight"])


def test_losses_are_those_of_the_variant_and_the_adapter_is_itself_again(model):
    before = {name: tensor.clone() for name, tensor in lora_tensors(model).items()}
    settings = Narrow(twins={"a": "b"}, domain_questions="q", factors=[2], noise=[0.3], draws=2)
    table = losses(model, TEXTS, settings)
    assert all(torch.equal(tensor, before[name]) for name, tensor in lora_tensors(model).items())
    assert len(table) == (3 + 2) * len(TEXTS)
    own = table[(table.kind == "scaled") & (table.scale == 1)]
    expected = [-float(found.double().mean()) for found in answer_logprobs(model, TEXTS)]
    assert list(own.loss) == pytest.approx(expected)
    assert list(own.tokens) == [3, 3]
    with model.disable_adapter():
        expected = [-float(found.double().mean()) for found in answer_logprobs(model, TEXTS)]
    none = table[(table.kind == "scaled") & (table.scale == 0)]
    assert list(none.loss) == pytest.approx(expected)
    assert list(none.norm) == [0, 0]
    assert table[table.kind == "noise"].groupby("draw").loss.mean().nunique() == 2
