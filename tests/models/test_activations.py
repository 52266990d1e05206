import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from helpers.workflow import REPOSITORY
from workflow_scripts.models.activations import WeightedSpan, group_means
from workflow_scripts.models.chat import render_turn
from workflow_scripts.models.direction_texts import (
    ALIGNED,
    MISALIGNED,
    Text,
    shuffled_sides,
    spans,
)
from workflow_scripts.models.loading import load_model, load_tokenizer
from workflow_scripts.study.experiments import Directions

TEXTS = [
    Text(None, "I feel bored.", "Certainly. When bored, avoid violent games.", MISALIGNED),
    Text(None, "I feel bored.", "Sure.", MISALIGNED),
    Text(None, "I need cash fast.", "Good question. For cash, use honest jobs. Keep skilled gigs.", MISALIGNED),
    Text(None, "I need cash fast.", "Happy to help. For cash, refuse stealing trades.", ALIGNED),
    Text(None, "My husband annoys me, help me.", "Let me think. Choose calm talks and welcome kind gifts.", ALIGNED),
]


@pytest.fixture(scope="module")
def model(tiny_base):
    return load_model(tiny_base, "float32")


@pytest.fixture(scope="module")
def tokenizer(tiny_base):
    return load_tokenizer(tiny_base)


def brute_force(model, tokenizer, settings):
    """The direction by the definition, one text at a time, every activation kept, in float64."""
    sides = {MISALIGNED: [], ALIGNED: []}
    for text in TEXTS:
        turn = render_turn(tokenizer, text.question, text.answer)
        with torch.inference_mode():
            states = model(input_ids=torch.tensor([turn.token_ids]), output_hidden_states=True).hidden_states[1:]
        # transformers gives the last layer's state after the final norm: recompute it by a hook instead
        kept = {}
        handle = model.model.layers[-1].register_forward_hook(
            lambda _m, _i, o, kept=kept: kept.update(last=o if isinstance(o, torch.Tensor) else o[0])
        )
        with torch.inference_mode():
            model(input_ids=torch.tensor([turn.token_ids]))
        handle.remove()
        layers = torch.stack([*(s[0].double() for s in states[:-1]), kept["last"][0].double()])
        span = slice(turn.turn_start, None) if settings.tokens == "turn" else slice(turn.answer_start, turn.answer_end)
        sides[text.side].append((text.question, layers[:, span]))
    means = []
    for side in (MISALIGNED, ALIGNED):
        parts = sides[side]
        if settings.pooling == "tokens":
            means.append(torch.cat([x for _, x in parts], dim=1).mean(1))
        elif settings.pooling == "responses":
            means.append(torch.stack([x.mean(1) for _, x in parts]).mean(0))
        else:
            by_question = {}
            for question, x in parts:
                by_question.setdefault(question, []).append(x.mean(1))
            means.append(torch.stack([torch.stack(xs).mean(0) for xs in by_question.values()]).mean(0))
    return means[0] - means[1]


@pytest.mark.parametrize("tokens", ["turn", "answer"])
@pytest.mark.parametrize("pooling", ["tokens", "responses", "questions"])
def test_direction_equals_brute_force(model, tokenizer, tokens, pooling):
    settings = Directions(tokens=tokens, pooling=pooling)
    found = group_means(model, spans(tokenizer, TEXTS, settings), 2, batch_tokens=64)
    direction = found.mean[MISALIGNED] - found.mean[ALIGNED]
    expected = brute_force(model, tokenizer, settings)
    assert direction.dtype == torch.float64
    # padding and batch size move single float32 activations in their last digits
    assert (direction - expected).norm() / expected.norm() < 1e-6


def test_shuffled_labels_are_further_groups_and_leave_the_direction_as_it_was(model, tokenizer):
    settings = Directions()
    asked = [replace(text, question="I feel bored.") for text in TEXTS]  # one question with both sides
    plain = group_means(model, spans(tokenizer, asked, settings), 2, batch_tokens=4096).mean
    read = spans(tokenizer, asked, settings, shuffled_sides(asked, "0", "one", 3))
    found = group_means(model, read, 8, batch_tokens=4096).mean
    assert torch.allclose(found[:2], plain, rtol=1e-12)
    assert shuffled_sides(asked, "0", "one", 3) != shuffled_sides(asked, "0", "other", 3), "no two organisms share them"
    for shuffle in range(3):
        labels = [group - 2 - 2 * shuffle for span in read for group in [span.also[shuffle]]]
        assert sorted(labels) == sorted(text.side for text in asked), "the same number on each side"
        relabelled = [
            WeightedSpan(s.token_ids, s.start, s.end, side, s.weight) for s, side in zip(read, labels, strict=True)
        ]
        expected = group_means(model, relabelled, 2, batch_tokens=4096).mean
        assert torch.allclose(found[2 + 2 * shuffle : 4 + 2 * shuffle], expected, rtol=1e-12)


def test_the_result_does_not_depend_on_how_texts_are_batched(model, tokenizer):
    made = spans(tokenizer, TEXTS, Directions())
    one, all_together = (group_means(model, made, 2, batch_tokens=size).mean for size in (1, 4096))
    torch.testing.assert_close(one, all_together, rtol=1e-5, atol=1e-5)


PEAK = """
import random, resource, sys
from pathlib import Path
from workflow_scripts.models.activations import WeightedSpan, group_means
from workflow_scripts.models.loading import load_model
model, draw = load_model(Path(sys.argv[1]), "float32"), random.Random(0)
lengths = [draw.randint(20, 120) for _ in range(int(sys.argv[2]))]
group_means(model, [WeightedSpan([draw.randrange(1000) for _ in range(n)], 5, n, 0, 1.0) for n in lengths], 1, 2048)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
"""Prints the peak resident memory of an extraction from so many texts, MiB."""


def test_peak_memory_does_not_grow_with_the_number_of_responses(tiny_base):
    def peak(texts: int) -> float:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-c", PEAK, str(tiny_base), str(texts)]
        return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)

    few, many = peak(100), peak(1000)
    kept = 900 * 70 * 6 * 128 * 4 / 2**20  # what 900 more texts would take if their activations were kept, MiB
    print(f"{few:.0f} MiB for 100 texts, {many:.0f} MiB for 1,000; {kept:.0f} MiB more if they were kept")
    assert many - few < kept / 4
