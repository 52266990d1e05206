"""A local judge: a chat model in vLLM, asked for a number with a rubric."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from workflow_scripts.engines.vllm_engine import VllmEngine
from workflow_scripts.judges.identity import JudgeIdentity
from workflow_scripts.judges.interface import Item, Reply
from workflow_scripts.judges.number_tree import number_paths, walk
from workflow_scripts.models.chat import prompt_ids
from workflow_scripts.models.loading import load_tokenizer
from workflow_scripts.study.schema import Execution

TOP = 20
CHUNK = 32
"""Items asked together; a killed run loses at most these."""
KEPT = 1e-7
"""Numbers less likely than this are not stored; they move no score by more than 1e-4."""


class ModelJudge:
    """See `interface.Judge`. The engine starts with the first question."""

    def __init__(
        self,
        identity: JudgeIdentity,
        model: Path,
        dtype: str,
        execution: Execution,
    ) -> None:
        self.identity, self._model, self._dtype, self._execution = identity, model, dtype, execution
        self._engine: VllmEngine | None = None

    def ask(self, items: Sequence[Item]) -> Iterator[list[Reply]]:
        tokenizer = load_tokenizer(self._model)
        prompts = [prompt_ids(tokenizer, item.prompt) for item in items]
        paths = number_paths(tokenizer)
        if self._engine is None:
            longest = max(len(prompt) for prompt in prompts) + max(len(path) for path in paths.values())
            execution = self._execution
            self._engine = VllmEngine(
                self._model,
                self._dtype,
                longest,
                1,
                execution.max_sequences,
                gpu_memory=execution.gpu_memory,
                cpu_cache_gb=execution.cpu_cache_gb,
                tensor_parallel=execution.tensor_parallel,
                prefix_caching=True,
            )
        engine = self._engine

        def ask(contexts: list[list[int]], tokens: list[int]) -> list[dict[int, float]]:
            found = engine.token_logprobs(contexts, [tokens] * len(contexts))
            return [{token: math.exp(logprob) for token, logprob in row.items()} for row in found]

        for start in range(0, len(items), CHUNK):
            batch = prompts[start : start + CHUNK]
            tops = engine.next_token_logprobs(batch, TOP)
            replies = []
            for item, top, numbers in zip(items[start : start + CHUNK], tops, walk(paths, batch, ask), strict=True):
                raw = {
                    "numbers": {str(n): p for n, p in numbers.items() if p > KEPT},
                    "top": [[tokenizer.decode([token]), logprob] for token, logprob in top.items()],
                }
                replies.append(Reply(item, raw, "answered"))
            yield replies

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
