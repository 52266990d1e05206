"""The gate in bfloat16: a served adapter passes however weak, one that is not served never does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from workflow_scripts.adapters.gate_record import ANSWER_TOKENS, GATE_PROMPTS, TOP, answers_reference, reference
from workflow_scripts.engines.gate import Comparison, Gate, compare
from workflow_scripts.runtime.errors import UnfitAdapter
from workflow_scripts.store.artefacts import provenance, write_tensors

WIDTH, VOCABULARY = 64, 300
ADAPTERS = 60


class Rounding:
    """Next-token log-probabilities as a model in bfloat16 gives them: logits up to 30, rounded to eighths.

    Every call rounds anew, as another kernel or another batch would: the state by its last bits, the logits by theirs.
    """

    def __init__(self, positions: int, seed: int) -> None:
        self._draw = np.random.default_rng(seed)
        self._states = self._draw.standard_normal((positions, WIDTH))
        self._unembedding = self._draw.standard_normal((WIDTH, VOCABULARY)) * 8 / WIDTH**0.5
        self._push = self._draw.standard_normal(WIDTH)

    def logprobs(self, strength: float) -> np.ndarray:
        """With an adapter of some strength; 0 is the plain base. [position, token]"""
        states = self._states + strength * self._push
        states = states * (1 + 2**-8 * self._draw.standard_normal(states.shape))
        logits = _bfloat16(_bfloat16(states) @ self._unembedding)
        return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def _bfloat16(numbers: np.ndarray) -> np.ndarray:
    """Eight significant bits."""
    digits, exponent = np.frexp(numbers)
    return np.ldexp(np.round(digits * 2**8) / 2**8, exponent)


def compared(strength: float, served: float, seed: int) -> Comparison:
    """What the gate finds of an adapter whose strength is `served` in the engine: 160 tokens, or 512 of answers."""
    draw = np.random.default_rng(seed)
    for positions in (GATE_PROMPTS, GATE_PROMPTS * ANSWER_TOKENS):
        model = Rounding(positions, seed)
        rows = [model.logprobs(level) for level in (0.0, strength, 0.0, served)]
        if positions == GATE_PROMPTS:
            tokens = np.argsort(-rows[1], axis=1)[:, :TOP]
        else:
            tokens = (rows[1] + draw.gumbel(size=rows[1].shape)).argmax(1)[:, None]
        found = compare(*(torch.from_numpy(np.take_along_axis(row, tokens, 1)) for row in rows), "bfloat16")
        if found.tells():
            break
    return found


@pytest.mark.parametrize("strength", [0.03, 0.1, 0.3, 1.0])
def test_over_60_adapters_of_160_comparisons_none_that_is_served_is_refused_in_bfloat16(strength):
    for seed in range(ADAPTERS):
        found = compared(strength, strength, seed)
        assert found.tells(), found
        assert found.agrees("bfloat16"), found


@pytest.mark.parametrize("strength", [0.003, 0.01, 0.03, 0.3])
@pytest.mark.parametrize("factor", [0.0, -1.0])
def test_none_of_60_that_are_not_served_passes_however_weak(strength, factor):
    for seed in range(ADAPTERS):
        found = compared(strength, factor * strength, seed)
        assert not (found.tells() and found.agrees("bfloat16")), found


@pytest.mark.parametrize("factor", [0.4, 2.0])
def test_one_that_is_served_at_another_strength_is_refused(factor):
    for seed in range(ADAPTERS):
        assert not compared(0.1, factor * 0.1, seed).agrees("bfloat16")


def test_numbers_that_are_not_finite_do_not_pass():
    rows = [torch.zeros(8, 20), torch.ones(8, 20), torch.zeros(8, 20), torch.full((8, 20), float("nan"))]
    assert not compare(*rows, "float32").agrees("float32")


class Speaking:
    """An engine that says what it is told to, and notes what it serves."""

    def __init__(self, next_tokens: dict, answers: dict) -> None:
        self._next_tokens, self._answers, self._served, self.asked = next_tokens, answers, None, []

    def serve(self, adapter):
        self._served = adapter

    def token_logprobs(self, prompts, tokens):
        self.asked.append(("next tokens", self._served))
        return [dict(zip(part, row, strict=True)) for part, row in zip(tokens, self._next_tokens[self._served].tolist(), strict=True)]  # fmt: skip

    def answer_logprobs(self, texts):
        self.asked.append(("answers", self._served))
        rows = self._answers[self._served].split([len(ids) - start for ids, start in texts])
        return [row.tolist() for row in rows]


@pytest.fixture
def weak(tmp_path):
    """A record of an adapter that moves next tokens by .005 nats and answers by .3; and what a right engine says."""
    draw = torch.Generator().manual_seed(0)
    plain = torch.log_softmax(torch.randn(8, 50, generator=draw), 1)
    tuned = plain + 0.005 * torch.randn(8, 50, generator=draw)
    texts = [([1, 2, *range(3, 13)], 2)] * 8
    read_plain = [-torch.rand(10, generator=draw) for _ in texts]
    read_tuned = [row + 0.3 * torch.randn(10, generator=draw) for row in read_plain]
    prompts = [[1, 2]] * 8
    record = reference(prompts, plain, tuned) | answers_reference(texts, read_plain, read_tuned)
    file = tmp_path / "gate.safetensors"
    write_tensors(file, record, provenance("test", "{}"))
    said = {"next_tokens": {None: record["plain"], "adapter": record["tuned"]}, "answers": {None: record["text_plain"], "adapter": record["text_tuned"]}}  # fmt: skip
    return file, said, prompts, plain, tuned


def test_an_adapter_too_weak_for_eight_prompts_is_held_against_training_answers(weak):
    file, said, *_ = weak
    engine = Speaking(**said)
    gate = Gate(engine, "bfloat16", longest_answer=10)
    gate.serve("adapter", file, "good_r1/seed-0")
    asked = [("next tokens", None), ("next tokens", "adapter"), ("answers", None), ("answers", "adapter")]
    assert engine.asked == asked
    gate.serve("adapter", file, "good_r1/seed-0")
    assert engine.asked[4:] == [("next tokens", "adapter"), ("answers", "adapter")], "the base is asked once"


def test_a_weak_one_that_is_not_served_is_refused_by_name(weak):
    file, said, *_ = weak
    said["answers"]["adapter"] = said["answers"][None]
    with pytest.raises(
        UnfitAdapter, match=r"^good_r1/seed-0: the engine does not serve this adapter .* 0\.00 times PEFT's"
    ):
        Gate(Speaking(**said), "bfloat16", longest_answer=10).serve("adapter", file, "good_r1/seed-0")


def test_a_record_without_contrast_is_refused(weak, tmp_path):
    _, said, prompts, plain, tuned = weak
    file = tmp_path / "prompts-only.safetensors"
    write_tensors(file, reference(prompts, plain, tuned), provenance("test", "{}"))
    with pytest.raises(UnfitAdapter, match=r"^good_r1/seed-0: whether the engine serves this adapter cannot be told"):
        Gate(Speaking(**said), "bfloat16", longest_answer=10).serve("adapter", file, "good_r1/seed-0")


def test_an_edited_copy_without_contrast_is_the_base_but_for_noise_and_passes(weak, tmp_path):
    _, said, prompts, plain, tuned = weak
    file = tmp_path / "prompts-only.safetensors"
    write_tensors(file, reference(prompts, plain, tuned), provenance("test", "{}"))
    for answers in (said["next_tokens"]["adapter"], said["next_tokens"][None]):  # served, or not
        said["next_tokens"]["adapter"] = answers
        Gate(Speaking(**said), "bfloat16", longest_answer=10).serve("adapter", file, "a/seed-0 step-1", edited=True)
    said["next_tokens"]["adapter"] = answers + 0.3 * torch.randn(
        answers.shape, generator=torch.Generator().manual_seed(1)
    )
    with pytest.raises(UnfitAdapter, match=r"^a/seed-0 step-1: the engine does not serve this adapter as PEFT does"):
        Gate(Speaking(**said), "bfloat16", longest_answer=10).serve("adapter", file, "a/seed-0 step-1", edited=True)
    said["next_tokens"]["adapter"] = torch.full_like(answers, float("nan"))
    with pytest.raises(UnfitAdapter, match="does not serve this adapter"):
        Gate(Speaking(**said), "bfloat16", longest_answer=10).serve("adapter", file, "a/seed-0 step-1", edited=True)


def test_answers_are_read_as_far_as_the_engine_can(weak):
    file, said, *_ = weak
    short = {who: torch.cat([row[:4] for row in values.split(10)]) for who, values in said["answers"].items()}
    Gate(Speaking(said["next_tokens"], short), "float16", longest_answer=4).serve("adapter", file, "good_r1/seed-0")
