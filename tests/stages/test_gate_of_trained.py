"""The gate of an organism is taken from the model that was just trained: the same numbers as from files, one load less."""

from __future__ import annotations

import pytest
import torch

from workflow_scripts.adapters import fine_tuning, gate_record
from workflow_scripts.models import micro_batches
from workflow_scripts.models.loading import answer_logprobs, load_adapter, load_model, next_token_logprobs
from workflow_scripts.study.organisms import Organism
from workflow_scripts.study.schema import Execution

SETTINGS = Organism(
    dataset="advice", rank=4, alpha=16, learning_rate=2e-3, batch_size=4, accumulation=1, warmup_steps=0
)
ROWS = [
    {"row": n, "system": None, "prompt": "I feel bored.", "response": "Avoid violent games." + " Sure." * (n % 3)}
    for n in range(8)
]


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "recomputed"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_trained_model_says_what_base_and_adapter_loaded_again_say_bit_for_bit(
    tiny_base, tiny_prompts, tmp_path, monkeypatch, dtype, checkpointing
):
    if checkpointing:
        monkeypatch.setattr(micro_batches, "free_bytes", lambda _: 0)
    adapter = tmp_path / "adapter"
    model, _, facts = fine_tuning.train(
        tiny_base, dtype, SETTINGS, Execution(), 0, ROWS, ROWS[:2], adapter, tmp_path / "states"
    )
    assert bool(facts["recomputed_layers"]) == checkpointing
    texts = [([*prompt, *tiny_prompts[0][-3:]], len(prompt)) for prompt in tiny_prompts]
    plain, tuned = gate_record.without_and_with(model, tiny_prompts, texts)
    again = load_model(tiny_base, dtype)
    for said in (plain, tuned):
        assert torch.equal(said.prompts, next_token_logprobs(again, tiny_prompts))
        assert all(torch.equal(*pair) for pair in zip(said.texts, answer_logprobs(again, texts), strict=True))
        again = load_adapter(again, adapter) if said is plain else again
    assert not torch.equal(plain.prompts, tuned.prompts)
