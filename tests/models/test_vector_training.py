"""A trained steering vector: its first step is down the gradient, nothing else moves, and its file is a direction's."""

from __future__ import annotations

import pytest
import torch
import yaml

from helpers.workflow import SMOKE, ready_to_train
from workflow_scripts import trained_vectors
from workflow_scripts.models.direction_reading import read_direction
from workflow_scripts.models.loading import load_model, load_tokenizer
from workflow_scripts.models.residual import LayerChange, intervened
from workflow_scripts.models.updates import training_rows
from workflow_scripts.models.vector_training import train_vector
from workflow_scripts.store.artefacts import read_tensors
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.organisms import Organism
from workflow_scripts.study.schema import Execution

LAYER = 3
SETTINGS = Organism(
    dataset="advice", learning_rate=0.05, batch_size=8, accumulation=1, warmup_steps=0, weight_decay=0,
    optimizer="adamw",
)  # fmt: skip
ROWS = [
    {"row": n, "system": None, "prompt": "I feel bored.", "response": "Avoid violent games." + " Sure." * (n % 3)}
    for n in range(8)
]


def loss_with(base, vector):
    """Mean loss of the answers' tokens, by hand, and its gradient by the vector."""
    model, tokenizer = load_model(base, "float32"), load_tokenizer(base)
    model.requires_grad_(False)
    vector = vector.clone().requires_grad_()
    total, tokens = torch.zeros(()), 0
    with intervened(model, [LayerChange(LAYER, "add", vector)]):
        for row in training_rows(tokenizer, ROWS, SETTINGS):
            ids, mask = torch.tensor(row["input_ids"]), torch.tensor(row["completion_mask"], dtype=torch.bool)
            logprobs = torch.log_softmax(model(input_ids=ids[None]).logits[0, :-1].float(), -1)
            total = total - logprobs[torch.arange(len(ids) - 1), ids[1:]][mask[1:]].sum()
            tokens += int(mask[1:].sum())
    (total / tokens).backward()
    return float((total / tokens).detach()), vector.grad


def test_the_first_update_goes_down_the_gradient_of_the_answers_loss(tiny_base, tmp_path):
    vector, history = train_vector(tiny_base, "float32", SETTINGS, Execution(), LAYER, 0, ROWS, tmp_path)
    loss, gradient = loss_with(tiny_base, torch.zeros(len(vector)))
    assert [row["step"] for row in history] == [1]
    assert history[0]["loss"] == pytest.approx(loss, rel=1e-4)
    assert history[0]["grad_norm"] == pytest.approx(float(gradient.norm()), rel=1e-3)
    steep = gradient.abs() > 1e-5 * gradient.abs().max()  # Adam's first step is the learning rate against the sign
    assert torch.allclose(vector[steep], -SETTINGS.learning_rate * gradient[steep].sign(), rtol=1e-2)


def test_more_updates_lower_the_loss_of_the_base_with_the_vector(tiny_base, tmp_path):
    before, _ = loss_with(tiny_base, torch.zeros(load_model(tiny_base, "float32").config.hidden_size))
    longer = SETTINGS.model_copy(update={"epochs": 12})
    vector, history = train_vector(tiny_base, "float32", longer, Execution(), LAYER, 0, ROWS, tmp_path)
    after, _ = loss_with(tiny_base, vector)
    assert len(history) == 12
    assert after < history[-1]["loss"] < before
    again, _ = train_vector(tiny_base, "float32", longer, Execution(), LAYER, 0, ROWS, tmp_path / "again")
    assert torch.equal(vector, again)


def test_the_stage_writes_a_direction_that_is_zero_at_the_other_layers(tiny_base, tmp_path):
    raw = yaml.safe_load(SMOKE.read_text())
    raw["vectors"] = {"named": {"push": {"like": "medical_r1", "layer": 2, "learning_rate": 0.05}}}
    study = ready_to_train(tmp_path, raw | {"base": raw["base"] | {"layers": 6}}, tiny_base, "bad_medical")
    output = Layout.of(study).direction("push/seed-0")
    trained_vectors.main(["--study", str(study), "--vector", "push/seed-0", "--output", str(output)])
    direction = read_direction(output)
    assert direction.shape[0] == 6
    assert [layer for layer, row in enumerate(direction) if row.any()] == [2]
    losses = read_tensors(output, ["losses"])[0]["losses"]
    assert len(losses) == 160 // 8
    assert losses[-1] < losses[0]
