"""What is left of a model's logits to draw from."""

import math

import torch

from workflow_scripts.models.drawing import SamplingSettings, adjusted

LOGITS = torch.tensor([[math.log(8), math.log(4), math.log(2), math.log(2)]])
NOTHING = torch.tensor([[3]])


def shares(settings: SamplingSettings, text: torch.Tensor = NOTHING) -> list[float]:
    return adjusted(LOGITS, text, settings).softmax(-1)[0].tolist()


def close(one, other):
    return all(math.isclose(a, b, abs_tol=1e-6) for a, b in zip(one, other, strict=True))


def test_logits_are_left_alone_where_nothing_is_set():
    assert torch.equal(adjusted(LOGITS, NOTHING, SamplingSettings(1.0, 1.0, 9)), LOGITS)


def test_top_k_and_top_p_leave_the_likeliest_tokens():
    assert close(shares(SamplingSettings(1.0, 1.0, 9, top_k=2)), [2 / 3, 1 / 3, 0, 0])
    assert close(shares(SamplingSettings(1.0, 0.6, 9)), [2 / 3, 1 / 3, 0, 0])
    assert close(shares(SamplingSettings(0.5, 1.0, 9, top_k=2)), [4 / 5, 1 / 5, 0, 0])


def test_the_penalty_divides_positive_logits_of_tokens_in_the_text():
    found = adjusted(LOGITS, torch.tensor([[0, 0]]), SamplingSettings(1.0, 1.0, 9, repetition_penalty=2.0))
    assert close(found[0].tolist(), [math.log(8) / 2, *LOGITS[0, 1:].tolist()])
