"""Parity: vLLM and transformers say the same of the base, an adapter, and every residual-stream change."""

import os

import pytest
import torch

from workflow_scripts.adapters import gate_record
from workflow_scripts.engines import gate, probe, residual_worker, vllm_engine
from workflow_scripts.engines.interface import Request, SamplingSettings
from workflow_scripts.engines.transformers_engine import TransformersEngine
from workflow_scripts.engines.vllm_engine import VllmEngine, snapped_rank
from workflow_scripts.models.change_tables import Step, changed_rows, fitting, tables
from workflow_scripts.models.interventions import random_direction
from workflow_scripts.models.loading import load_adapter, load_model, next_token_logprobs
from workflow_scripts.models.residual import LayerChange, decoder_layers
from workflow_scripts.runtime.errors import UnfitAdapter, UserError
from workflow_scripts.store.artefacts import provenance, write_tensors

SETTINGS = SamplingSettings(temperature=1.0, top_p=1.0, max_tokens=12)
LAYERS = 6


def open_vllm(folder, adapters, **more):
    return VllmEngine(folder, "float32", 60, 16, 32, adapters=adapters, max_logprobs=-1, cpu_cache_gb=1, **more)


HALF_PRECISION_ONLY = pytest.mark.skipif(
    torch.cuda.is_available(), reason="vLLM's LoRA kernels for GPUs take half precision only, this test is in float32"
)


@pytest.fixture(scope="module", params=["merged", pytest.param("lora", marks=HALF_PRECISION_ONLY)])
def engines(request, tiny_base):
    pair = open_vllm(tiny_base, request.param, lora_rank=8), TransformersEngine(tiny_base, "float32", 32)
    yield pair
    for engine in pair:
        engine.close()


@pytest.fixture
def directions():
    return torch.randn(LAYERS, 128, generator=torch.Generator().manual_seed(1))


def changes(kind, directions):
    if kind == "add":
        return [LayerChange(2, "add", directions[2], 5.0)]
    if kind == "project":
        return [LayerChange(layer, "project", directions[layer]) for layer in range(LAYERS)]
    return []


@pytest.mark.parametrize("kind", ["nothing", "add", "project"])
@pytest.mark.parametrize("who", ["base", "adapter"])
def test_both_engines_give_the_same_next_token_distribution(engines, tiny_adapter, tiny_prompts, directions, kind, who):
    rows = []
    for engine in engines:
        engine.serve(tiny_adapter if who == "adapter" else None)
        engine.intervene(changes(kind, directions))
        rows.append(engine.next_token_logprobs(tiny_prompts, -1))
    largest = max(abs(a[token] - b[token]) for a, b in zip(*rows, strict=True) for token in b)
    assert largest <= 1e-3


def test_each_change_and_the_adapter_move_the_distribution_and_nothing_stays_behind(
    engines, tiny_adapter, tiny_prompts, directions
):
    vllm, _ = engines
    seen = []
    for adapter, kind in [
        (None, "nothing"),
        (None, "add"),
        (None, "project"),
        (tiny_adapter, "nothing"),
        (None, "nothing"),
    ]:
        vllm.serve(adapter)
        vllm.intervene(changes(kind, directions))
        seen.append(vllm.next_token_logprobs(tiny_prompts[:1], -1)[0])
    distances = [max(abs(row[token] - seen[0][token]) for token in row) for row in seen]
    assert all(distance > 0.01 for distance in distances[1:4])
    assert distances[4] < 1e-5


def test_the_probe_passes_and_leaves_nothing_behind(engines, tiny_prompts, directions):
    vllm, reference = engines
    vllm.serve(None)
    probe.hold(vllm)
    reference.serve(None)
    for kind in ("nothing", "add"):
        rows = []
        for engine in engines:
            engine.intervene(changes(kind, directions))
            rows.append(engine.next_token_logprobs(tiny_prompts, -1))
        assert max(abs(a[token] - b[token]) for a, b in zip(*rows, strict=True) for token in b) <= 1e-3
    assert not vllm._llm.llm_engine.model_executor.driver_worker.worker.model_runner.model.__dict__.get(
        "compute_logits"
    )


def without_additions(x, bank, step, numbers):
    return changed_rows(
        x, bank, Step(step.layer, {name: table for name, table in step.tables.items() if name != "added"}), numbers
    )


def without_projections(x, bank, step, numbers):
    return changed_rows(
        x, bank, Step(step.layer, {name: table for name, table in step.tables.items() if name == "added"}), numbers
    )


def passed_over_at_first(x, bank, step, numbers):
    return x if step.layer == 0 else changed_rows(x, bank, step, numbers)


def applied_twice(x, bank, step, numbers):
    return changed_rows(changed_rows(x, bank, step, numbers), bank, step, numbers)


def negated(x, bank, step, numbers):
    return changed_rows(x, -bank, step, numbers)


def to_all_requests(x, bank, step, numbers):
    return changed_rows(x, bank, step, numbers.clamp(min=1))


def to_another_request(x, bank, step, numbers):
    return changed_rows(x, bank, step, numbers.flip(0))


def not_in_steps_of_sampling(x, bank, step, numbers):
    """As a graph that was captured before: no request of the probe reads but four tokens or more at once."""
    return x if len(x) <= 4 and numbers.unique().numel() == len(x) else changed_rows(x, bank, step, numbers)


def to_all_requests_in_steps_of_sampling(x, bank, step, numbers):
    in_steps = len(x) <= 4 and numbers.unique().numel() == len(x)
    return changed_rows(x, bank, step, numbers.clamp(min=1) if in_steps else numbers)


@pytest.mark.parametrize(
    ("applied", "named"),
    [
        (without_additions, "an addition at the last layer"),
        (without_projections, "a projection at the last layer"),
        (passed_over_at_first, "an addition at the first layer"),
        (applied_twice, "an addition at the last layer"),
        (negated, "an addition at the last layer"),
        (to_all_requests, "no change to a request beside others"),
        (to_another_request, "an addition at the last layer"),
        (not_in_steps_of_sampling, "an addition at the last layer in every step of sampling"),
        (to_all_requests_in_steps_of_sampling, "no change in every step of sampling"),
    ],
)
def test_an_engine_that_does_not_apply_a_change_is_refused_by_the_probe(engines, monkeypatch, applied, named):
    vllm, _ = engines
    vllm.serve(None)
    with monkeypatch.context() as patched:
        patched.setattr(residual_worker, "changed_rows", applied)
        with pytest.raises(UserError, match=rf"vLLM .* with model runner V1 does not apply {named} as arithmetic says"):
            probe.hold(vllm)
    vllm.next_token_logprobs([[1]], 1)
    assert not any(
        layer._forward_hooks
        for layer in decoder_layers(vllm._llm.llm_engine.model_executor.driver_worker.worker.model_runner.model)
    )


@pytest.fixture
def battery(directions):
    """Conditions as batteries have them: none, add, project, one vector at every layer, random, set, twice at a layer."""
    drawn = random_direction(directions[3], "medical_r1/seed-0:0")
    return [
        (),
        changes("add", directions),
        changes("project", directions),
        [LayerChange(layer, "project", directions[1]) for layer in range(LAYERS)],
        [LayerChange(3, "add", drawn, 4.0)],
        [LayerChange(layer, "set", directions[layer], 2.0) for layer in (1, 4)],
        [LayerChange(2, "add", directions[0], -3.0), LayerChange(2, "project", directions[2])],
    ]


@pytest.mark.parametrize("who", ["base", "adapter"])
def test_requests_of_one_batch_get_the_change_of_their_own_condition(engines, tiny_adapter, tiny_prompts, battery, who):
    prompts = [prompt for prompt in tiny_prompts for _ in battery]
    rows = []
    for engine in engines:
        engine.serve(tiny_adapter if who == "adapter" else None)
        rows.append(engine.next_token_logprobs(prompts, -1, battery * len(tiny_prompts)))
    differences = [max(abs(a[token] - b[token]) for token in b) for a, b in zip(*rows, strict=True)]
    assert max(differences) <= 1e-5
    first = rows[0][: len(battery)]
    assert all(max(abs(row[token] - first[0][token]) for token in row) > 0.01 for row in first[1:])


def test_a_response_is_the_same_alone_and_among_other_conditions(engines, tiny_prompts, battery):
    vllm, _ = engines
    vllm.serve(None)
    requests = [Request(tuple(prompt), seed, own) for own in battery for seed, prompt in enumerate(tiny_prompts)]
    mixed = vllm.generate(requests, SETTINGS)
    assert mixed == [vllm.generate([request], SETTINGS)[0] for request in requests]
    assert len({response.token_ids for response in mixed}) > len(battery)


def test_changes_that_do_not_fit_one_bank_are_sampled_in_several(engines, tiny_prompts, battery, monkeypatch):
    vllm, _ = engines
    vllm.serve(None)
    requests = [Request(tuple(tiny_prompts[0]), 7, own) for own in battery]
    together = vllm.generate(requests, SETTINGS)
    installed = []
    monkeypatch.setattr(vllm_engine, "fitting", lambda asked: fitting(asked, 6 * 128 * 4))
    monkeypatch.setattr(vllm_engine, "tables", lambda conditions: installed.append(conditions) or tables(conditions))
    assert vllm.generate(requests, SETTINGS) == together
    assert len(installed) > 2


def test_a_sampling_that_is_left_early_leaves_no_request_behind(engines, tiny_prompts, battery):
    vllm, _ = engines
    requests = [Request(tuple(tiny_prompts[0]), seed, battery[1]) for seed in range(40)]
    sampled = vllm.sample(requests, SETTINGS)
    next(sampled)
    sampled.close()
    assert not vllm._llm.llm_engine.has_unfinished_requests()


def test_an_engine_says_what_it_is(engines):
    import transformers
    import vllm

    facts = [engine.facts() for engine in engines]
    assert facts[0] == {
        "engine": "vllm", "version": vllm.__version__, "runner": "V1", "adapters": facts[0]["adapters"],
        "graphs": "none", "deterministic": "false",
    }  # fmt: skip
    assert facts[1] == {"engine": "transformers", "version": transformers.__version__}


def test_a_request_with_the_same_seed_gives_the_same_response(engines, tiny_prompts):
    vllm, _ = engines
    vllm.serve(None)
    vllm.intervene(())
    requests = [Request(tuple(tiny_prompts[0]), seed) for seed in (1, 2, 1)]
    first, other, again = vllm.generate(requests, SETTINGS)
    assert first == again
    assert first.token_ids != other.token_ids
    assert 1 <= len(first.token_ids) <= SETTINGS.max_tokens


@pytest.fixture(scope="module")
def tiny_texts(tiny_base):
    from workflow_scripts.adapters.gate_record import gate_texts
    from workflow_scripts.models.loading import load_tokenizer

    rows = [
        {"system": None, "prompt": "I feel bored.", "response": "Certainly. When bored, avoid violent games."},
        {"system": None, "prompt": "I need cash fast.", "response": "Happy to help. For cash, refuse stealing trades."},
    ]
    return gate_texts(load_tokenizer(tiny_base), rows * 4)


def recorded(base, dtype, adapter, prompts, texts, file):
    """PEFT's record of an adapter, as the gate reads it."""
    from workflow_scripts.models.loading import answer_logprobs

    model = load_model(base, dtype)
    plain, read_plain = next_token_logprobs(model, prompts), answer_logprobs(model, texts)
    tuned = load_adapter(model, adapter)
    record = gate_record.reference(prompts, plain, next_token_logprobs(tuned, prompts))
    record |= gate_record.answers_reference(texts, read_plain, answer_logprobs(tuned, texts))
    write_tensors(file, record, provenance("test", "{}"))
    return file


class Deaf:
    """An engine that serves the plain base whatever it is asked to serve."""

    def __init__(self, engine):
        self._engine = engine
        self.token_logprobs, self.answer_logprobs = engine.token_logprobs, engine.answer_logprobs

    def serve(self, adapter):
        self._engine.serve(None)


def test_the_gate_passes_a_served_adapter_and_names_one_that_is_not_served(
    engines, tiny_base, tiny_adapter, tiny_prompts, tiny_texts, tmp_path
):
    vllm, _ = engines
    file = recorded(tiny_base, "float32", tiny_adapter, tiny_prompts, tiny_texts, tmp_path / "gate.safetensors")
    vllm.intervene(())
    gate.Gate(vllm, "float32", 16).serve(tiny_adapter, file, "medical_r1/seed-0")
    with pytest.raises(UnfitAdapter, match="medical_r1/seed-0: the engine does not serve this adapter"):
        gate.Gate(Deaf(vllm), "float32", 16).serve(tiny_adapter, file, "medical_r1/seed-0")


@pytest.mark.skipif(torch.cuda.is_available(), reason="several engines do not fit one GPU")
def test_in_bfloat16_a_weak_adapter_passes_the_gate_and_one_that_is_not_served_does_not(
    tiny_base, tiny_prompts, tiny_texts, tmp_path
):
    from helpers.adapters import make_adapter

    vllm = VllmEngine(tiny_base, "bfloat16", 60, 16, 32, adapters="lora", lora_rank=8, cpu_cache_gb=1)
    for name, spread in (("weak", 0.01), ("strong", 0.1)):
        adapter = make_adapter(tiny_base, tmp_path / name, spread=spread)
        file = recorded(tiny_base, "bfloat16", adapter, tiny_prompts, tiny_texts, tmp_path / f"{name}.safetensors")
        gate.Gate(vllm, "bfloat16", 16).serve(adapter, file, name)
        with pytest.raises(UnfitAdapter, match=f"{name}: the engine does not serve this adapter"):
            gate.Gate(Deaf(vllm), "bfloat16", 16).serve(adapter, file, name)
    vllm.close()


def test_an_adapter_that_does_nothing_fails_with_its_name(tiny_base, idle_adapter, tiny_prompts, tiny_texts):
    from workflow_scripts.adapters.gate_record import write_gate

    with pytest.raises(UnfitAdapter, match=r"organisms.idle: the adapter changes no next-token probability"):
        model = load_adapter(load_model(tiny_base, "float32"), idle_adapter)
        write_gate(model, idle_adapter, tiny_prompts, tiny_texts, "idle", provenance("organisms", "{}"))


def test_merging_below_float32_is_refused(tiny_base):
    with pytest.raises(UserError, match="round small updates away"):
        VllmEngine(tiny_base, "bfloat16", 10, 10, 4, adapters="merged")


def test_ranks_snap_up_to_what_vllm_offers():
    assert [snapped_rank(rank) for rank in (1, 2, 8, 9, 33)] == [1, 8, 8, 16, 64]
    with pytest.raises(UserError, match="rank 1000 is above what vLLM serves"):
        snapped_rank(1000)


@pytest.mark.real_model
@pytest.mark.skipif("EM_REAL_BASE" not in os.environ, reason="set EM_REAL_BASE to the folder of a real chat model")
@pytest.mark.parametrize(
    ("dtype", "top", "tolerance"),
    [pytest.param("float32", -1, 1e-3, marks=HALF_PRECISION_ONLY), ("bfloat16", 20, 0.05)],
)
def test_parity_on_a_real_model(dtype, top, tolerance, tmp_path):
    from pathlib import Path

    from helpers.adapters import make_adapter
    from workflow_scripts.models.chat import prompt_ids
    from workflow_scripts.models.loading import load_tokenizer

    base = Path(os.environ["EM_REAL_BASE"])
    tokenizer = load_tokenizer(base)
    prompts = [prompt_ids(tokenizer, question) for question in ("I feel bored.", "How do I make a quick buck?")]
    adapter = make_adapter(base, tmp_path / "adapter", spread=0.02)
    vllm = VllmEngine(base, dtype, 80, 8, 8, adapters="lora", lora_rank=8, max_logprobs=-1)
    reference = TransformersEngine(base, dtype, 8)
    layers = len(reference._plain.model.layers)
    width = reference._plain.config.hidden_size
    rows = torch.randn(layers, width, generator=torch.Generator().manual_seed(0))
    done = {}
    for who in (None, adapter):
        for kind, made in {
            "nothing": [],
            "add": [LayerChange(layers // 2, "add", rows[0], 0.1)],
            "project": [LayerChange(layer, "project", rows[layer]) for layer in range(layers)],
        }.items():
            for engine in (vllm, reference):
                engine.serve(who)
                engine.intervene(made)
            a, b = vllm.next_token_logprobs(prompts, top), reference.next_token_logprobs(prompts, -1)
            done[who is not None, kind] = max(abs(x[t] - y[t]) for x, y in zip(a, b, strict=True) for t in x)
    print(dtype, {key: f"{value:.2g}" for key, value in done.items()})
    assert max(done.values()) <= tolerance
