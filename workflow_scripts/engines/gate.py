"""The gate: before an adapter is sampled, the engine's next-token log-probabilities are held against PEFT's.

vLLM can silently serve an adapter that does nothing. Training records PEFT's numbers; sampling compares.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from workflow_scripts.engines.interface import Engine
from workflow_scripts.runtime.errors import UnfitAdapter
from workflow_scripts.store.artefacts import read_tensors

GATE_PROMPTS = 8
TOP = 20
TOLERANCE = {"float32": 1e-2, "bfloat16": 0.5, "float16": 0.1}
"""Largest difference in log-probability over the top 20 tokens that passes."""


def reference(prompts: list[list[int]], plain: Tensor, tuned: Tensor) -> dict[str, Tensor]:
    """What the gate needs of log-probabilities [prompt, vocabulary]: the adapter's top tokens, with and without it."""
    values, tokens = tuned.topk(min(TOP, tuned.shape[1]), dim=1)
    return {
        "prompt_tokens": torch.tensor([token for prompt in prompts for token in prompt]),
        "prompt_lengths": torch.tensor([len(prompt) for prompt in prompts]),
        "tokens": tokens,
        "tuned": values,
        "plain": plain.gather(1, tokens),
    }


def hold(engine: Engine, file: Path, subject: str, dtype: str) -> None:
    """Compares the adapter that the engine serves with PEFT's record of it.

    Raises:
        UnfitAdapter: naming the subject, if the engine serves the plain base or something else.
    """
    kept, _ = read_tensors(file, ["prompt_tokens", "prompt_lengths", "tokens", "tuned", "plain"])
    prompts = [part.tolist() for part in kept["prompt_tokens"].split(kept["prompt_lengths"].tolist())]
    given = engine.next_token_logprobs(prompts, TOP)
    rows, columns = [], []
    for number, row in enumerate(given):
        for column, token in enumerate(kept["tokens"][number].tolist()):
            if token in row:
                rows.append((number, column))
                columns.append(row[token])
    if not columns:
        raise UnfitAdapter(
            f"{subject}: the engine's likeliest tokens share none with PEFT's; the adapter is not served."
        )
    index = tuple(torch.tensor(rows).T)
    served = torch.tensor(columns)
    from_tuned = float((served - kept["tuned"][index]).abs().max())
    from_plain = float((served - kept["plain"][index]).abs().max())
    if from_tuned > TOLERANCE[dtype] or from_plain == 0.0 or len(columns) < kept["tokens"].numel() // 2:
        raise UnfitAdapter(
            f"{subject}: the engine does not serve this adapter as PEFT does (largest difference in log-probability "
            f"{from_tuned:.3g} from PEFT with the adapter, {from_plain:.3g} without it; allowed {TOLERANCE[dtype]:g})."
        )
