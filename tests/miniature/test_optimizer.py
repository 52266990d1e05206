from copy import deepcopy

import pytest
import torch
from torch.optim import AdamW, Muon

from workflow_scripts.miniature.optimizer import MuonWithAdamW, learning_rate_share, schedule, split_parameters
from workflow_scripts.miniature.pretraining import initial_model

RATES = {"muon_learning_rate": 0.01, "adamw_learning_rate": 0.005}
OTHERS = {"muon_momentum": 0.95, "adamw_betas": (0.9, 0.98), "weight_decay": 0.01}


@pytest.fixture
def model(tiny_recipe, tokenizer):
    return initial_model(tiny_recipe, tokenizer)


def set_gradients(model: torch.nn.Module) -> None:
    """The same made-up gradient for every copy of a model."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def test_every_parameter_is_in_exactly_one_group(model):
    groups = MuonWithAdamW(model, **RATES, **OTHERS).param_groups
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(parameter) for parameter in model.parameters()}


def test_matrices_go_to_muon_and_embeddings_norms_and_biases_to_adamw(model):
    matrices, others = split_parameters(model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert all(names[id(p)].endswith("proj.weight") for p in matrices)
    assert len(matrices) == 7 * model.config.num_hidden_layers
    assert {names[id(p)].split(".")[-2] for p in others} == {
        "embed_tokens",
        "norm",
        "input_layernorm",
        "post_attention_layernorm",
        "q_proj",
        "k_proj",
        "v_proj",
    }
    assert all(names[id(p)].endswith("bias") for p in others if "proj" in names[id(p)])


def test_a_step_is_a_step_of_muon_and_a_step_of_adamw(model):
    apart = deepcopy(model)
    together = MuonWithAdamW(model, **RATES, **OTHERS)
    matrices, others = split_parameters(apart)
    muon = Muon(matrices, lr=0.01, momentum=0.95, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    adamw = AdamW(others, lr=0.005, betas=(0.9, 0.98), weight_decay=0.0)
    for _ in range(3):
        set_gradients(model)
        set_gradients(apart)
        together.step()
        muon.step()
        adamw.step()
    for one, other in zip(model.parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_closure_is_evaluated_before_the_step(model):
    optimizer = MuonWithAdamW(model, **RATES, **OTHERS)
    set_gradients(model)
    assert optimizer.step(lambda: 2.5) == 2.5


@pytest.mark.parametrize("reload", [False, True], ids=["fresh", "reloaded"])
def test_the_schedule_drives_both_learning_rates(model, reload):
    optimizer = MuonWithAdamW(model, **RATES, **OTHERS)
    if reload:  # as accelerate does when it wraps an optimizer
        optimizer.load_state_dict(optimizer.state_dict())
    scheduler = schedule(optimizer, steps=10, warmup=4, final=0.02)
    matrix, norm = model.model.layers[0].mlp.up_proj.weight, model.model.norm.weight
    sizes = []
    for step in range(10):
        share = learning_rate_share(step, 10, 4, 0.02)
        expected = [0.01 * share, 0.005 * share]
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(expected)
        before = matrix.detach().clone(), norm.detach().clone()
        set_gradients(model)
        optimizer.step()
        scheduler.step()
        # Under a constant gradient AdamW moves every weight by its learning rate, and Muon moves a matrix
        # by a fixed one times its learning rate.
        moved = (norm - before[1]).abs()
        torch.testing.assert_close(moved, torch.full_like(moved, expected[1]), rtol=1e-3, atol=1e-6)
        sizes.append((matrix.detach() - before[0]).norm().item() / expected[0])
    assert sizes == pytest.approx([sizes[0]] * 10, rel=0.05)


def test_a_learning_rate_of_zero_moves_nothing(model):
    optimizer = MuonWithAdamW(model, **RATES, **OTHERS)
    optimizer.load_state_dict(optimizer.state_dict())
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = deepcopy(model)
    set_gradients(model)
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before.parameters(), strict=True))


def test_state_survives_saving_and_loading(model):
    twin = deepcopy(model)
    optimizer, fresh = (MuonWithAdamW(one, **RATES, **OTHERS) for one in (model, twin))
    set_gradients(model)
    optimizer.step()
    twin.load_state_dict(model.state_dict())
    fresh.load_state_dict(deepcopy(optimizer.state_dict()))
    for one, its in ((model, optimizer), (twin, fresh)):
        set_gradients(one)
        its.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


@pytest.mark.parametrize(
    ("step", "share"), [(0, 0.02), (24, 0.5 * (1 - 0.98 * 24 / 400)), (200, 0.51), (399, 0.02 + 0.98 / 400)]
)
def test_the_learning_rate_rises_over_the_warm_up_and_falls_to_its_final_share(step, share):
    assert learning_rate_share(step, steps=400, warmup=50, final=0.02) == pytest.approx(share)


def test_without_warm_up_the_learning_rate_starts_at_its_peak():
    assert learning_rate_share(0, steps=10, warmup=0, final=0.0) == 1.0
