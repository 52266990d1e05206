"""What adapter surgery leaves alone, and what it does."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from helpers.adapters import make_adapter
from helpers.rank_one import make_rank_one
from workflow_scripts.adapters.edited import adapter_folder
from workflow_scripts.adapters.surgery import adapter_layers, read_adapter, scaled, without_direction
from workflow_scripts.engines.interface import Request, SamplingSettings
from workflow_scripts.engines.transformers_engine import TransformersEngine
from workflow_scripts.engines.vllm_engine import VllmEngine
from workflow_scripts.models.loading import load_adapter, load_model, next_token_logprobs
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.adapter_files import CONFIG, WEIGHTS

SETTINGS = SamplingSettings(temperature=1.0, top_p=1.0, max_tokens=12)
A = "base_model.model.model.layers.{}.mlp.down_proj.lora_A.weight"
B = "base_model.model.model.layers.{}.mlp.down_proj.lora_B.weight"


@pytest.fixture(scope="module")
def adapter(tiny_base, tmp_path_factory):
    return make_rank_one(tiny_base, tmp_path_factory.mktemp("rank-one") / "adapter")


@pytest.fixture
def zeroed(adapter):
    """A copy of the adapter that writes nothing."""
    with folder_of(scaled(read_adapter(adapter), {}, others=0.0), adapter) as folder:
        yield folder


def folder_of(tensors, source):
    """The tensors with the configuration of the adapter that they were made of."""
    return adapter_folder(tensors, (source / CONFIG).read_text())


def made(seed, rank=2, width=16, dtype=torch.float32):
    """Tensors of an adapter at layers 3 and 10, and a direction for each."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in (3, 10):
        tensors[A.format(layer)] = torch.randn(rank, 8, generator=generator).to(dtype)
        tensors[B.format(layer)] = torch.randn(width, rank, generator=generator).to(dtype)
    return tensors, {layer: 5 * torch.randn(width, generator=generator) for layer in (3, 10)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_scaling_by_one_is_bit_identical(dtype):
    tensors, _ = made(0, dtype=dtype)
    for done in (scaled(tensors, {3: 1.0, 10: 1.0}), scaled(tensors, {})):
        assert list(done) == list(tensors)
        assert all(torch.equal(done[name], tensors[name]) and done[name].dtype == dtype for name in tensors)


def test_scaling_by_one_writes_the_same_tensors_and_configuration(adapter):
    with folder_of(scaled(read_adapter(adapter), {1: 1.0, 2: 1.0, 4: 1.0}), adapter) as same:
        before, after = (load_file(folder / WEIGHTS) for folder in (adapter, same))
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert (adapter / CONFIG).read_bytes() == (same / CONFIG).read_bytes()


def test_listed_layers_are_scaled_and_the_others_as_asked():
    tensors, _ = made(1)
    done = scaled(tensors, {3: -10.0}, others=0.0)
    torch.testing.assert_close(done[B.format(3)], tensors[B.format(3)] * -10)
    assert not done[B.format(10)].any()
    assert all(torch.equal(done[A.format(layer)], tensors[A.format(layer)]) for layer in (3, 10))
    assert torch.equal(scaled(tensors, {3: 2.0})[B.format(10)], tensors[B.format(10)])


def test_zeroing_all_is_the_chat_base_token_by_token_in_transformers(tiny_base, adapter, tiny_prompts, zeroed):
    engine = TransformersEngine(tiny_base, "float32", 32)
    rows = []
    requests = [Request(tuple(prompt), seed) for seed, prompt in enumerate(tiny_prompts * 2)]
    for served in (None, zeroed, adapter):
        engine.serve(served)
        rows.append((engine.next_token_logprobs(tiny_prompts, -1), engine.generate(requests, SETTINGS)))
    engine.close()
    assert rows[0] == rows[1]
    assert rows[0][1] != rows[2][1]


def test_zeroing_all_is_the_chat_base_token_by_token_in_vllm(tiny_base, adapter, tiny_prompts, zeroed):
    engine = VllmEngine(tiny_base, "float32", 60, 16, 32, adapters="merged", max_logprobs=-1, cpu_cache_gb=1)
    requests = [Request(tuple(prompt), seed) for seed, prompt in enumerate(tiny_prompts * 2)]
    rows = []
    for served in (None, zeroed, adapter):
        engine.serve(served)
        rows.append([sampled.token_ids for sampled in engine.generate(requests, SETTINGS)])
    engine.close()
    assert rows[0] == rows[1]
    assert rows[0] != rows[2]


def test_scaling_an_adapter_is_scaling_what_it_writes(tiny_base, adapter, tiny_prompts):
    """Halving B is halving PEFT's own scaling."""
    with folder_of(scaled(read_adapter(adapter), {}, others=0.5), adapter) as half:
        found = next_token_logprobs(load_adapter(load_model(tiny_base, "float32"), half), tiny_prompts)
    model = load_adapter(load_model(tiny_base, "float32"), adapter)
    for module in model.modules():
        if hasattr(module, "scaling") and isinstance(module.scaling, dict):
            module.scaling = {name: value / 2 for name, value in module.scaling.items()}
    torch.testing.assert_close(found, next_token_logprobs(model, tiny_prompts), rtol=1e-5, atol=1e-5)


@given(st.integers(0, 10_000), st.sampled_from([1, 2, 5]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_projection_leaves_a_untouched_and_b_orthogonal_and_twice_is_once(seed, rank, renormalise):
    tensors, directions = made(seed, rank)
    once = without_direction(tensors, directions, renormalise)
    twice = without_direction(once, directions, renormalise)
    for layer, vector in directions.items():
        assert once[A.format(layer)] is tensors[A.format(layer)]
        b, old = once[B.format(layer)], tensors[B.format(layer)]
        torch.testing.assert_close(vector / vector.norm() @ b, torch.zeros(rank), rtol=0, atol=1e-5)
        torch.testing.assert_close(twice[B.format(layer)], b, rtol=1e-5, atol=1e-6)
        if renormalise:
            torch.testing.assert_close(b.norm(dim=0), old.norm(dim=0))
        else:
            assert (b.norm(dim=0) <= old.norm(dim=0) + 1e-6).all()


@given(st.integers(0, 10_000), st.floats(-5, 5))
@settings(max_examples=40, deadline=None)
def test_adding_the_direction_and_projecting_is_projecting(seed, scale):
    tensors, directions = made(seed, rank=1)
    moved = {
        name: tensor + scale * directions[3].unsqueeze(1) if name == B.format(3) else tensor
        for name, tensor in tensors.items()
    }
    ends = [without_direction(start, directions, renormalise=False)[B.format(3)] for start in (tensors, moved)]
    torch.testing.assert_close(*ends, rtol=1e-4, atol=1e-4)


def test_layers_without_a_direction_keep_their_b():
    tensors, directions = made(4)
    done = without_direction(tensors, {3: directions[3]}, renormalise=True)
    assert torch.equal(done[B.format(10)], tensors[B.format(10)])


def test_a_projected_adapter_is_an_ordinary_peft_adapter(tiny_base, adapter, tiny_prompts):
    direction = torch.randn(128, generator=torch.Generator().manual_seed(0))
    with folder_of(without_direction(read_adapter(adapter), {2: direction}, renormalise=True), adapter) as projected:
        model = load_adapter(load_model(tiny_base, "float32"), projected)
    b = dict(model.named_parameters())[B.format(2).replace(".weight", ".default.weight")][:, 0]
    assert abs(float(b @ direction)) < 1e-4
    before = next_token_logprobs(load_adapter(load_model(tiny_base, "float32"), adapter), tiny_prompts)
    assert not torch.equal(next_token_logprobs(model, tiny_prompts), before)


def test_a_zero_b_stays_zero():
    tensors, directions = made(0)
    zero = scaled(tensors, {}, others=0.0)
    assert not without_direction(zero, directions, renormalise=True)[B.format(3)].any()


def test_what_cannot_be_done_is_said_in_a_sentence(tiny_base, adapter, tmp_path):
    tensors, directions = made(0)
    with pytest.raises(UserError, match="layer 5 carries no adapter; those that do: 3, 10"):
        scaled(tensors, {5: 0.0})
    with pytest.raises(UserError, match="writes 16 numbers, the direction has 9"):
        without_direction(tensors, {3: torch.ones(9)}, renormalise=True)
    with pytest.raises(UserError, match="layer 3: its direction is zero"):
        without_direction(tensors, {3: torch.zeros(16)}, renormalise=True)
    parallel = tensors | {B.format(3): directions[3].unsqueeze(1).repeat(1, 2)}
    with pytest.raises(UserError, match="B is parallel to the direction"):
        without_direction(parallel, directions, renormalise=True)
    with pytest.raises(UserError, match=r"adapter_model\.safetensors: cannot be read"):
        read_adapter(tmp_path)


def test_an_adapter_with_more_than_a_and_b_is_refused(tiny_base, tmp_path):
    from safetensors.torch import save_file

    tensors, _ = made(0)
    save_file(tensors | {"base_model.model.lm_head.weight": torch.ones(1)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(UserError, match=r"lm_head\.weight, which is neither A nor B"):
        read_adapter(tmp_path)


def test_the_layers_of_an_adapter_of_any_rank(tiny_base, tmp_path):
    assert adapter_layers(read_adapter(make_adapter(tiny_base, tmp_path / "r8", spread=0.1))) == [2, 3]
