"""What is read of a text does not depend on what is read beside it, whatever the model is made of."""

import pytest
import torch

from helpers.families import FAMILIES, direction_off, direction_one_by_one, texts
from workflow_scripts.models import activations
from workflow_scripts.models.activations import group_means
from workflow_scripts.models.packing import mixes_by_attention_alone

BY_NAME = {family.name: family for family in FAMILIES}
CARRY_A_STATE = {"Qwen3.5, 3.6", "Qwen3-Next", "LFM2"}
"""Linear attention or convolution along the row."""


@pytest.mark.parametrize("name", BY_NAME)
def test_a_direction_is_that_of_the_texts_read_one_by_one(name):
    model = BY_NAME[name].model(300)
    assert mixes_by_attention_alone(model) == (name not in CARRY_A_STATE)
    assert direction_off(model, texts()) < 1e-5


@pytest.mark.parametrize("name", sorted(CARRY_A_STATE))
def test_packed_texts_would_leak_into_each_other_where_a_state_is_carried(name, monkeypatch):
    monkeypatch.setattr(activations, "mixes_by_attention_alone", lambda model: True)
    assert direction_off(BY_NAME[name].model(300), texts()) > 1e-3


@pytest.mark.parametrize("name", ["Gemma 3 (text)", "OLMo-3", "gpt-oss", "Mistral (v0.1, v0.2)", "Phi-3, Phi-4"])
def test_a_window_is_kept_within_packed_rows(name, monkeypatch):
    model, spans = BY_NAME[name].model(300), texts()
    expected = direction_one_by_one(model, spans)
    monkeypatch.setattr(activations, "packed_mask", lambda given, model, dtype: full(given, dtype))
    mean = group_means(model, spans, 2, batch_tokens=2048).mean
    assert (mean[0] - mean[1] - expected).norm() / expected.norm() > 1e-3, "without it, other numbers come out"


def full(given, dtype):
    return torch.zeros(given.sees.shape, dtype=dtype).masked_fill(~given.sees, torch.finfo(dtype).min)[:, None]
