"""One engine over two CPU processes: every rank applies the residual-stream changes and serves the adapter."""

import os

import pytest
import torch

from workflow_scripts.engines import probe
from workflow_scripts.engines.interface import Request, SamplingSettings
from workflow_scripts.engines.transformers_engine import TransformersEngine
from workflow_scripts.engines.vllm_engine import VllmEngine
from workflow_scripts.models.residual import LayerChange

LAYERS = 6


@pytest.mark.slow
@pytest.mark.skipif("EM_SLOW" not in os.environ, reason="starts engines of two processes: set EM_SLOW=1")
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
@pytest.mark.skipif(torch.cuda.is_available(), reason="is about two CPU processes")
@pytest.mark.parametrize("service", ["merged", "lora"])
def test_hooks_and_adapters_are_right_on_every_rank(service, tiny_base, tiny_adapter, tiny_prompts, monkeypatch):
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "0|1")
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "1")
    vllm = VllmEngine(
        tiny_base, "float32", 60, 16, 32, adapters=service, lora_rank=8, max_logprobs=-1, cpu_cache_gb=1,
        tensor_parallel=2,
    )  # fmt: skip
    reference = TransformersEngine(tiny_base, "float32", 32)
    directions = torch.randn(LAYERS, 128, generator=torch.Generator().manual_seed(1))
    changes = {
        "nothing": [],
        "add": [LayerChange(2, "add", directions[2], 5.0)],
        "project": [LayerChange(layer, "project", directions[layer]) for layer in range(LAYERS)],
    }
    differences = {}
    try:
        assert len(vllm._llm.collective_rpc("em_remove_changes")) == 2
        probe.hold(vllm)
        assert vllm.facts()["runner"] == "V1"
        for adapter in (None, tiny_adapter):
            for kind, made in changes.items():
                for engine in (vllm, reference):
                    engine.serve(adapter)
                    engine.intervene(made)
                a, b = (engine.next_token_logprobs(tiny_prompts, -1) for engine in (vllm, reference))
                differences[adapter is not None, kind] = max(
                    abs(x[t] - y[t]) for x, y in zip(a, b, strict=True) for t in y
                )
        together = [[], changes["add"], changes["project"]]
        a, b = (engine.next_token_logprobs([tiny_prompts[0]] * 3, -1, together) for engine in (vllm, reference))
        differences["one batch"] = max(abs(x[t] - y[t]) for x, y in zip(a, b, strict=True) for t in y)
        requests = [Request(tuple(tiny_prompts[0]), seed) for seed in (1, 1)]
        first, again = vllm.generate(requests, SamplingSettings(1.0, 1.0, 12))
        assert first == again
    finally:
        vllm.close()
        reference.close()
    print(service, {key: f"{value:.2g}" for key, value in differences.items()})
    assert max(differences.values()) <= 1e-3
