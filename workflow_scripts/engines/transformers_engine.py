"""The reference engine: transformers generate with the same residual hooks, for parity tests and comparison."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.utils.hooks import RemovableHandle

from workflow_scripts.engines.interface import Request, Sampled, SamplingSettings, in_order
from workflow_scripts.models.change_tables import Changes
from workflow_scripts.models.loading import (
    answer_logprobs,
    end_ids,
    load_adapter,
    load_model,
    load_tokenizer,
    next_token_logprobs,
)
from workflow_scripts.models.residual import install, intervened


class TransformersEngine:
    """One transformers model on a base folder; see `interface.Engine`.

    Batches hold prompts of one length under one condition.
    """

    adapters_at_once = 1

    def __init__(self, base: Path, dtype: str, max_sequences: int) -> None:
        self._tokenizer = load_tokenizer(base)
        self._plain = load_model(base, dtype)
        self._model: Any = self._plain
        self._max_sequences = max_sequences
        self._served: Path | None = None
        self._handles: list[RemovableHandle] = []
        self._changes: Changes = ()

    def serve(self, adapter: Path | None) -> None:
        self._remove()
        if self._model is not self._plain:
            self._model.unload()
        self._model = self._plain if adapter is None else load_adapter(self._plain, adapter)
        self._served = adapter
        self._handles = install(self._model, self._changes)

    def intervene(self, changes: Changes) -> None:
        self._remove()
        self._changes = changes
        self._handles = install(self._model, changes)

    def generate(self, requests: Sequence[Request], settings: SamplingSettings) -> list[Sampled]:
        return in_order(self.sample(requests, settings))

    def sample(self, requests: Sequence[Request], settings: SamplingSettings) -> Iterator[tuple[int, Sampled]]:
        """One random stream per batch, seeded by its first request: not vLLM's responses, but their distribution."""
        assert all(request.adapter in (None, self._served) for request in requests)
        held = self._changes
        try:
            for places in _by_condition([request.changes or held for request in requests]):
                self.intervene(requests[places[0]].changes or held)
                places.sort(key=lambda place: len(requests[place].prompt))
                for _, group in groupby(places, key=lambda place: len(requests[place].prompt)):
                    same_length = list(group)
                    for start in range(0, len(same_length), self._max_sequences):
                        batch = same_length[start : start + self._max_sequences]
                        yield from zip(batch, self._batch([requests[i] for i in batch], settings), strict=True)
        finally:
            self.intervene(held)

    def next_token_logprobs(
        self, prompts: Sequence[Sequence[int]], top: int, changes: Sequence[Changes] | None = None
    ) -> list[dict[int, float]]:
        if changes is not None:
            self._remove()
            found = []
            for prompt, own in zip(prompts, changes, strict=True):
                with intervened(self._model, own):
                    found += self.next_token_logprobs([prompt], top)
            self._handles = install(self._model, self._changes)
            return found
        rows = next_token_logprobs(self._model, [list(prompt) for prompt in prompts])
        found = []
        for row in rows:
            values, tokens = row.topk(len(row) if top == -1 else top)
            found.append(dict(zip(tokens.tolist(), values.tolist(), strict=True)))
        return found

    def facts(self) -> dict[str, str]:
        return {"engine": "transformers", "version": transformers.__version__}

    def token_logprobs(
        self, prompts: Sequence[Sequence[int]], tokens: Sequence[Sequence[int]]
    ) -> list[dict[int, float]]:
        rows = next_token_logprobs(self._model, [list(prompt) for prompt in prompts])
        return [{token: float(row[token]) for token in part} for row, part in zip(rows, tokens, strict=True)]

    def answer_logprobs(self, texts: Sequence[tuple[Sequence[int], int]]) -> list[list[float]]:
        return [row.tolist() for row in answer_logprobs(self._model, texts)]

    def close(self) -> None:
        self._remove()
        del self._model, self._plain

    @torch.inference_mode()
    def _batch(self, requests: Sequence[Request], settings: SamplingSettings) -> list[Sampled]:
        torch.manual_seed(requests[0].seed)
        ends = end_ids(self._model.generation_config, self._tokenizer)
        ids = torch.tensor([request.prompt for request in requests], device=self._model.device)
        output = self._model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=settings.temperature > 0,
            temperature=settings.temperature or None,
            # all of them, so that none is the model's own generation_config's
            top_p=settings.top_p,
            top_k=settings.top_k or 0,
            repetition_penalty=settings.repetition_penalty or 1.0,
            max_new_tokens=settings.max_tokens,
            pad_token_id=self._tokenizer.pad_token_id,
            eos_token_id=sorted(ends),
        )
        return [self._response(row, ends) for row in output[:, ids.shape[1] :].tolist()]

    def _response(self, tokens: list[int], ends: set[int]) -> Sampled:
        stop = next((position for position, token in enumerate(tokens) if token in ends), None)
        kept = tokens if stop is None else tokens[: stop + 1]
        text = str(self._tokenizer.decode(kept, skip_special_tokens=True))
        return Sampled(text, tuple(kept), "length" if stop is None else "stop")

    def _remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []


def _by_condition(asked: Sequence[Changes]) -> list[list[int]]:
    """Places of the requests of each condition, which share one object."""
    found: dict[int, list[int]] = {}
    for place, changes in enumerate(asked):
        found.setdefault(id(changes), []).append(place)
    return list(found.values())
