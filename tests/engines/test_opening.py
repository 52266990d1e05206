"""How an engine is opened on a GPU: with torch.cuda.is_available faked and vLLM's constructor recorded."""

from __future__ import annotations

import os
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from helpers.workflow import SMOKE
from workflow_scripts.engines import probe, vllm_engine
from workflow_scripts.engines.opening import adapter_service, open_engine
from workflow_scripts.engines.residual_worker import ResidualWorker
from workflow_scripts.engines.vllm_engine import VllmEngine, batched_tokens, write_merged
from workflow_scripts.models.change_tables import pack_tables, tables
from workflow_scripts.models.residual import LayerChange
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.study.peak_memory import served_at_once
from workflow_scripts.study.reading import parse


@pytest.fixture
def faked_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


@pytest.mark.parametrize("on_gpu", [False, True])
def test_float32_organisms_are_merged_on_every_device(on_gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: on_gpu)
    assert adapter_service("auto", "float32") == "merged"
    assert adapter_service("auto", "bfloat16") == "lora"
    assert adapter_service("lora", "float32") == "lora"
    assert adapter_service("merged", "bfloat16") == "merged"


def test_float32_lora_requests_on_a_gpu_are_refused_before_the_engine_starts(faked_gpu, tiny_base):
    with pytest.raises(UserError, match=r"execution\.serve: vLLM's LoRA kernels for GPUs refuse float32"):
        VllmEngine(tiny_base, "float32", 10, 10, 4, adapters="lora", lora_rank=8)


@pytest.mark.parametrize(("on_gpu", "expected"), [(False, 400 * 870), (True, 8192)])
def test_only_a_cpu_reserves_a_pass_over_all_prompts_at_once(on_gpu, expected, tiny_base, monkeypatch):
    import vllm

    asked = {}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: on_gpu)
    monkeypatch.setattr(vllm, "LLM", lambda **settings: asked.update(settings))
    VllmEngine(tiny_base, "float32", 870, 8, 400, adapters="merged")
    assert asked["max_num_batched_tokens"] == expected
    assert asked["max_model_len"] == 879


@pytest.mark.parametrize(("capability", "said"), [((8, 0), "this GPU has 8.0"), (None, "none is known")])
def test_deterministic_kernels_are_refused_on_gpus_without_them(capability, said, faked_gpu, tiny_base, monkeypatch):
    from vllm.platforms import current_platform
    from vllm.platforms.interface import DeviceCapability

    found = capability and DeviceCapability(*capability)
    monkeypatch.setattr(type(current_platform), "get_device_capability", classmethod(lambda _: found))
    with pytest.raises(UserError, match=rf"execution\.deterministic: .* 9\.0 \(H100\) or newer, {said}; leave it out"):
        VllmEngine(tiny_base, "float32", 10, 10, 4, adapters="merged", deterministic=True)


def test_deterministic_kernels_are_asked_for_before_the_engine_starts(faked_gpu, tiny_base, monkeypatch):
    import vllm
    from vllm.platforms import current_platform
    from vllm.platforms.interface import DeviceCapability

    monkeypatch.setattr(type(current_platform), "get_device_capability", classmethod(lambda _: DeviceCapability(9, 0)))
    monkeypatch.setenv("VLLM_BATCH_INVARIANT", "0")
    seen = []
    monkeypatch.setattr(vllm, "LLM", lambda **_: seen.append(os.environ["VLLM_BATCH_INVARIANT"]))
    for deterministic in (False, True):
        VllmEngine(tiny_base, "float32", 10, 10, 4, adapters="merged", deterministic=deterministic)
    assert seen == ["0", "1"]


def test_an_engine_that_does_not_pass_the_probe_is_closed(tiny_base, monkeypatch):
    closed = []

    class Deaf:
        def __init__(self, *_, **__):
            pass

        def token_logprobs(self, prompts, tokens):
            return [dict.fromkeys(part, -1.0) for part in tokens]

        def close(self):
            closed.append(self)

    def refused(_engine):
        raise UserError("it does not apply it")

    monkeypatch.setattr(vllm_engine, "VllmEngine", Deaf)
    monkeypatch.setattr(probe, "hold", refused)
    study = parse(yaml.safe_load(SMOKE.read_text()), "smoke")
    with pytest.raises(UserError, match="it does not apply it"):
        open_engine(tiny_base, study, 10, 0, changes=True)
    assert len(closed) == 1


def test_a_pass_holds_the_longest_text_on_either_device():
    assert batched_tokens(20_000, 19_000, 1, on_gpu=True) == 20_000
    assert batched_tokens(20_000, 19_000, 1, on_gpu=False) == 20_000
    assert batched_tokens(100, 50, 4, on_gpu=False) == 2048


def test_weights_are_merged_on_the_cpu_while_the_engine_holds_the_gpu(faked_gpu, tiny_base, tiny_adapter, tmp_path):
    write_merged(tiny_base, tiny_adapter, tmp_path / "merged")  # there is no GPU: any use of it is an error
    plain, merged = (load_file(folder / "model.safetensors") for folder in (tiny_base, tmp_path / "merged"))
    assert plain.keys() == merged.keys()
    assert any(not torch.equal(plain[name], merged[name]) for name in plain)


def test_adapters_are_served_together_as_memory_allows():
    at_14b, on_h100 = 29.5e9, 0.9 * 85e9 - 29.5e9
    assert served_at_once(at_14b, 5120, 32, 40, on_h100) == 6
    assert served_at_once(at_14b, 5120, 1, 40, on_h100) == 8, "no more than eight"
    assert served_at_once(at_14b, 5120, 1, 3, on_h100) == 3, "no more than there are"
    assert served_at_once(at_14b, 5120, 64, 40, 1e9) == 1
    assert served_at_once(at_14b, 5120, 64, 0, -1e9) == 1


@pytest.mark.parametrize(
    ("on_gpu", "adapters", "expected"), [(False, "lora", 1), (True, "lora", 4), (True, "merged", 1)]
)
def test_only_lora_requests_on_a_gpu_are_served_together(on_gpu, adapters, expected, tiny_base, monkeypatch):
    import vllm

    asked = {}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: on_gpu)
    monkeypatch.setattr(vllm, "LLM", lambda **settings: asked.update(settings))
    dtype = "bfloat16" if adapters == "lora" else "float32"
    engine = VllmEngine(tiny_base, dtype, 60, 8, 8, adapters=adapters, lora_rank=8, adapters_at_once=4)
    assert engine.adapters_at_once == expected
    assert asked.get("max_loras") == (expected if adapters == "lora" else None)


@pytest.mark.parametrize(("adapters", "captured"), [("none", True), ("lora", False), ("merged", False)])
def test_graphs_are_captured_where_no_adapter_is_served(adapters, captured, faked_gpu, tiny_base, monkeypatch):
    import vllm

    asked = {}
    monkeypatch.setattr(vllm, "LLM", lambda **settings: asked.update(settings))
    dtype = "bfloat16" if adapters == "lora" else "float32"
    VllmEngine(tiny_base, dtype, 10, 10, 4, adapters=adapters, lora_rank=8, graphs=True)
    assert asked["enforce_eager"] == (not captured)
    assert ("compilation_config" in asked) == captured


def test_an_engine_whose_graphs_do_not_pass_the_probe_is_opened_without(faked_gpu, tiny_base, monkeypatch, caplog):
    opened, closed = [], []

    class Engine:
        def __init__(self, *_, graphs, **__):
            opened.append(graphs)
            self.graphs = graphs

        def token_logprobs(self, prompts, tokens):
            return [dict.fromkeys(part, -1.0) for part in tokens]

        def close(self):
            closed.append(self.graphs)

    def held(engine):
        if engine.graphs:
            raise UserError("a change is not in them")

    monkeypatch.setattr(vllm_engine, "VllmEngine", Engine)
    monkeypatch.setattr(probe, "hold", held)
    monkeypatch.setattr("workflow_scripts.engines.opening.adapters_at_once", lambda *_: 1)
    raw = yaml.safe_load(SMOKE.read_text())
    raw["execution"]["graphs"] = True
    open_engine(tiny_base, parse(raw, "smoke"), 10, 0, changes=True)
    assert (opened, closed) == ([True, False], [True])
    assert "execution.graphs: the engine runs without captured graphs, since a change is not in them" in caplog.text


class Runner:
    """Stands in for a model runner of vLLM: a graph keeps what the layers did when it was captured."""

    max_num_tokens = 16

    def __init__(self, second: bool):
        self.model, self.graphs, self.captures = Model(), {}, 0
        self.cudagraph_manager = self
        self.second = second

    def get_model(self):
        return self.model

    def prepare_inputs(self, *_):
        raise AssertionError("a capture prepares no step")

    _prepare_inputs = prepare_inputs

    def release_graphs(self):
        self.graphs.clear()

    def capture_model(self):
        assert not self.graphs, "captured twice"
        self.captures += 1
        layers = self.model.model.layers
        self.graphs["decode"] = [len(layer._forward_hooks) for layer in layers]
        layers(torch.zeros(4, 8))  # as a capture does


class Layers(torch.nn.ModuleList):
    def forward(self, x):
        for layer in self:
            x = layer(x)
        return x


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.model = torch.nn.Module()
        self.model.layers = Layers([torch.nn.Linear(8, 8) for _ in range(3)])
        self.model.norm = torch.nn.LayerNorm(8)

    def compute_logits(self, hidden):
        return hidden


@pytest.mark.parametrize("second", [False, True])
def test_graphs_hold_the_hooks_that_are_there(second, tmp_path, monkeypatch):
    from vllm import config
    from vllm.compilation.cuda_graph import CUDAGraphWrapper

    runner = Runner(second)
    monkeypatch.setattr(config, "set_current_vllm_config", lambda _: nullcontext())
    monkeypatch.setattr(CUDAGraphWrapper, "clear_all_graphs", runner.release_graphs)
    worker = ResidualWorker()
    worker.model_runner, worker.use_v2_model_runner = runner, second
    mode = SimpleNamespace(cudagraph_mode=SimpleNamespace(name="FULL_DECODE_ONLY"))
    worker.vllm_config = SimpleNamespace(compilation_config=mode)
    runner.capture_model()
    assert worker.em_watch() == 3
    assert runner.graphs["decode"] == [0, 0, 1]
    worker._em_conditions().counts = [(0, 4)]  # of a step before
    save_file(pack_tables(tables([[LayerChange(1, "add", torch.ones(8))]])), tmp_path / "changes")
    worker.em_install_changes(str(tmp_path / "changes"))
    assert runner.graphs["decode"] == [0, 1, 1]
    assert worker.em_watched.streams == {}, "a capture's pass is no request's"
    worker.em_remove_changes()
    assert runner.graphs["decode"] == [0, 0, 1]
    worker.em_unwatch()
    assert runner.graphs["decode"] == [0, 0, 0]
    assert runner.captures == 5
    mode.cudagraph_mode.name = "NONE"
    worker.em_install_changes(str(tmp_path / "changes"))
    assert runner.captures == 5
