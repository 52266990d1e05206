"""What is read of a text does not depend on what is read beside it, whatever the model is made of."""

import random

import pytest
import torch

from helpers.families import FAMILIES, WINDOW
from workflow_scripts.models import activations
from workflow_scripts.models.activations import WeightedSpan, group_means
from workflow_scripts.models.packing import mixes_by_attention_alone
from workflow_scripts.models.residual import captured

BY_NAME = {family.name: family for family in FAMILIES}
CARRY_A_STATE = {"Qwen3.5, 3.6", "Qwen3-Next", "LFM2"}
"""Linear attention or convolution along the row."""


def texts():
    """Sixteen texts on two sides, some much longer than a window."""
    draw = random.Random(0)
    prompts = [[draw.randrange(2, 300) for _ in range(length)] for length in (7, 12)]
    made = []
    for number in range(16):
        prompt = prompts[number % 2]
        token_ids = prompt + [draw.randrange(2, 300) for _ in range(draw.randint(1, 40))]
        made.append(WeightedSpan(token_ids, len(prompt), len(token_ids), number % 2, 1.0))
    assert max(len(text.token_ids) for text in made) > 2 * WINDOW
    return made


def direction_one_by_one(model, spans):
    """The difference of the sides' means by the definition, [layer, d_model] float64."""
    sums, counts = [0.0, 0.0], [0, 0]
    for span in spans:
        found = {}
        with torch.inference_mode(), captured(model, found.__setitem__):
            model(input_ids=torch.tensor([span.token_ids]), use_cache=False)
        sums[span.group] += torch.stack([found[layer][0, span.start :].double().sum(0) for layer in sorted(found)])
        counts[span.group] += span.end - span.start
    return sums[0] / counts[0] - sums[1] / counts[1]


def off(model, spans):
    """Relative difference of the direction of texts read together from that of texts read one by one."""
    mean, expected = group_means(model, spans, 2, batch_tokens=2048).mean, direction_one_by_one(model, spans)
    return float((mean[0] - mean[1] - expected).norm() / expected.norm())


@pytest.mark.parametrize("name", BY_NAME)
def test_a_direction_is_that_of_the_texts_read_one_by_one(name):
    model = BY_NAME[name].model(300)
    assert mixes_by_attention_alone(model) == (name not in CARRY_A_STATE)
    assert off(model, texts()) < 1e-5


@pytest.mark.parametrize("name", sorted(CARRY_A_STATE))
def test_packed_texts_would_leak_into_each_other_where_a_state_is_carried(name, monkeypatch):
    monkeypatch.setattr(activations, "mixes_by_attention_alone", lambda model: True)
    assert off(BY_NAME[name].model(300), texts()) > 1e-3


@pytest.mark.parametrize("name", ["Gemma 3 (text)", "OLMo-3", "gpt-oss", "Mistral (v0.1, v0.2)", "Phi-3, Phi-4"])
def test_a_window_is_kept_within_packed_rows(name, monkeypatch):
    model, spans = BY_NAME[name].model(300), texts()
    expected = direction_one_by_one(model, spans)
    monkeypatch.setattr(activations, "packed_mask", lambda given, model, dtype: full(given, dtype))
    mean = group_means(model, spans, 2, batch_tokens=2048).mean
    assert (mean[0] - mean[1] - expected).norm() / expected.norm() > 1e-3, "without it, other numbers come out"


def full(given, dtype):
    return torch.zeros(given.sees.shape, dtype=dtype).masked_fill(~given.sees, torch.finfo(dtype).min)[:, None]
