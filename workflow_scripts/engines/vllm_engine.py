"""The production engine: vLLM with residual hooks in its workers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file

from workflow_scripts.engines.interface import Request, Sampled, SamplingSettings, in_order
from workflow_scripts.engines.residual_worker import CONDITION, ResidualWorker
from workflow_scripts.models.change_tables import Changes, fitting, pack_tables, tables
from workflow_scripts.models.loading import load_adapter, load_model, load_tokenizer
from workflow_scripts.models.residual import LayerChange
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.runtime.leftovers import scratch_folder
from workflow_scripts.runtime.phases import phase
from workflow_scripts.store.foreign import foreign

DECODING_GRAPHS = {"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY"}
"""vLLM's settings for captured graphs of steps that sample, without its compiler, which would trace past the hooks."""
VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values that vLLM takes for max_lora_rank."""


class VllmEngine:
    """One vLLM engine on a base folder; see `interface.Engine`.

    Args:
        base: folder of the chat base.
        dtype: number format of weights and activations.
        longest_prompt: tokens of the longest prompt that will come.
        longest_answer: tokens of the longest response.
        max_sequences: sequences sampled at once.
        adapters: how `serve` brings an adapter: merged into the weights, as a LoRA request, or not at all.
        lora_rank: largest rank that will be served as a LoRA request.
        adapters_at_once: of one batch, as LoRA requests on a GPU; a CPU's kernels give the adapter to plain rows too.
        max_logprobs: how many next-token log-probabilities may be asked for; -1 is all.
        deterministic: GPU kernels that add in one order, whatever the batch.
        graphs: steps that sample one token for each sequence are replayed from captured graphs, where the platform has
            them; not where adapters are served, since the gate reads prompts, and would not see one that captured
            steps leave out.
    """

    @phase("engine")
    def __init__(
        self,
        base: Path,
        dtype: str,
        longest_prompt: int,
        longest_answer: int,
        max_sequences: int,
        adapters: Literal["merged", "lora", "none"] = "none",
        lora_rank: int = 0,
        adapters_at_once: int = 1,
        max_logprobs: int = 20,
        gpu_memory: float = 0.9,
        cpu_cache_gb: int = 2,
        tensor_parallel: int = 1,
        prefix_caching: bool = False,
        deterministic: bool = False,
        graphs: bool = False,
    ) -> None:
        if adapters == "merged" and dtype != "float32":
            raise UserError(
                f"execution.serve: merged weights in {dtype} round small updates away; use lora, or a float32 base."
            )
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        on_gpu = torch.cuda.is_available()
        if adapters == "lora" and dtype == "float32" and on_gpu:
            raise UserError(
                "execution.serve: vLLM's LoRA kernels for GPUs refuse float32; use merged, or a base in bfloat16."
            )
        if deterministic and on_gpu:
            ask_for_determinism()
        if not on_gpu:
            os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(cpu_cache_gb))
        if tensor_parallel == 1:  # the engine in this process: it starts four times faster
            os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        else:
            os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
        from vllm import LLM

        self._base, self._adapters, self._lora = base, adapters, adapters == "lora"
        self._scratch = scratch_folder("engine")
        self._tokenizer = load_tokenizer(base)
        self._served: Path | None = None
        self._changes: Changes = ()
        self._installed: list[Changes] = []
        self._prefixes_shared = prefix_caching
        self.adapters_at_once = adapters_at_once if self._lora and on_gpu else 1
        self._lora_requests: dict[Path, Any] = {}
        length = longest_prompt + longest_answer + 1
        lora = (
            {"enable_lora": True, "max_loras": self.adapters_at_once, "max_lora_rank": snapped_rank(lora_rank)}
            if self._lora
            else {}
        )
        captured = {"compilation_config": DECODING_GRAPHS} if graphs and on_gpu and adapters == "none" else {}
        with foreign(f"{base}: vLLM does not serve it as it is asked to"):
            self._llm: Any = LLM(
                model=str(base),
                dtype=dtype,
                enforce_eager=not captured,
                worker_extension_cls=f"{ResidualWorker.__module__}.{ResidualWorker.__qualname__}",
                max_model_len=length,
                max_num_seqs=max_sequences,
                max_num_batched_tokens=batched_tokens(length, longest_prompt, max_sequences, on_gpu),
                enable_prefix_caching=prefix_caching,
                block_size=32 if prefix_caching else None,  # shared in whole blocks; the CPU kernels want 32
                max_logprobs=max_logprobs,
                tensor_parallel_size=tensor_parallel,
                gpu_memory_utilization=gpu_memory,
                generation_config="vllm",
                disable_log_stats=True,
                trust_remote_code=False,
                **captured,
                **lora,
            )

    def __str__(self) -> str:
        return f"vLLM {vllm_version()} with model runner {self.facts()['runner']}"

    def facts(self) -> dict[str, str]:
        """Version, model runner (V1, or V2 where there is Triton), captured graphs, and how kernels add."""
        runners, graphs = (set(self._llm.collective_rpc(name)) for name in ("em_runner", "em_graphs"))
        deterministic = os.environ.get("VLLM_BATCH_INVARIANT", "0") != "0"
        return {
            "engine": "vllm",
            "version": vllm_version(),
            "runner": "/".join(sorted(runners)),
            "adapters": self._adapters,
            "graphs": "/".join(sorted(graphs)).lower(),
            "deterministic": str(deterministic).lower(),
        }

    def serve(self, adapter: Path | None) -> None:
        if adapter == self._served:
            return
        if not self._lora:
            if adapter is None:
                self._reload(self._base)
            else:
                folder = self._scratch / "merged"
                write_merged(self._base, adapter, folder)
                self._reload(folder)
                shutil.rmtree(folder)
        self._served = adapter

    def intervene(self, changes: Changes) -> None:
        self._changes = changes

    def generate(self, requests: Sequence[Request], settings: SamplingSettings) -> list[Sampled]:
        return in_order(self.sample(requests, settings))

    def sample(self, requests: Sequence[Request], settings: SamplingSettings) -> Iterator[tuple[int, Sampled]]:
        """All requests whose changes fit into one bank are one batch, into which they come in their order."""
        assert self._lora or all(request.adapter in (None, self._served) for request in requests)
        asked = [request.changes or self._changes for request in requests]
        start = 0
        while start < len(requests):
            end = start + fitting(asked[start:])
            for place, output in self._batch(requests[start:end], asked[start:end], settings):
                found = output.outputs[0]
                reason = "stop" if found.finish_reason == "stop" else "length"
                yield start + place, Sampled(found.text, tuple(found.token_ids), reason)
            start = end

    def _batch(
        self, requests: Sequence[Request], asked: Sequence[Changes], settings: SamplingSettings
    ) -> Iterator[tuple[int, Any]]:
        """vLLM's outputs, as they are finished."""
        from vllm import SamplingParams, TokensPrompt

        ids = self._llm.enqueue(
            [TokensPrompt(prompt_token_ids=list(request.prompt)) for request in requests],
            [
                SamplingParams(
                    temperature=settings.temperature,
                    top_p=settings.top_p,
                    top_k=settings.top_k or 0,
                    repetition_penalty=settings.repetition_penalty or 1.0,
                    max_tokens=settings.max_tokens,
                    seed=request.seed,
                    extra_args={CONDITION: number},
                )
                for request, number in zip(requests, self._numbers(asked), strict=True)
            ],
            use_tqdm=False,
            lora_request=[self._lora_request(request.adapter or self._served) for request in requests],
        )
        first = int(ids[0].partition("-")[0])  # vLLM counts requests, and adds a random ending within itself
        engine = self._llm.llm_engine
        try:
            while engine.has_unfinished_requests():
                for output in engine.step():
                    if output.finished:
                        yield int(output.request_id) - first, output
        finally:  # the caller may stop early
            if engine.has_unfinished_requests():
                engine.abort_request(ids, internal=True)

    def next_token_logprobs(
        self, prompts: Sequence[Sequence[int]], top: int, changes: Sequence[Changes] | None = None
    ) -> list[dict[int, float]]:
        asked = [{"logprobs": top}] * len(prompts)
        outputs = self._read(prompts, asked, changes)
        return [{t: entry.logprob for t, entry in o.outputs[0].logprobs[0].items()} for o in outputs]

    def sampled_logprobs(
        self, prompt: Sequence[int], top: int, changes: Sequence[Changes], steps: int
    ) -> list[tuple[list[int], dict[int, float]]]:
        """By condition, the likeliest tokens one by one, and the log-probabilities at the last step."""
        asked = [{"logprobs": top, "max_tokens": steps, "ignore_eos": True}] * len(changes)
        found = [output.outputs[0] for output in self._read([prompt] * len(changes), asked, changes)]
        return [
            (list(answer.token_ids), {token: entry.logprob for token, entry in answer.logprobs[-1].items()})
            for answer in found
        ]

    def token_logprobs(
        self,
        prompts: Sequence[Sequence[int]],
        tokens: Sequence[Sequence[int]],
        changes: Sequence[Changes] | None = None,
    ) -> list[dict[int, float]]:
        outputs = self._read(prompts, [{"logprob_token_ids": list(part)} for part in tokens], changes)
        found = [output.outputs[0].logprobs[0] for output in outputs]
        return [{token: row[token].logprob for token in part} for row, part in zip(found, tokens, strict=True)]

    def answer_logprobs(self, texts: Sequence[tuple[Sequence[int], int]]) -> list[list[float]]:
        outputs = self._read([ids for ids, _ in texts], [{"prompt_logprobs": 0}] * len(texts))
        return [
            [output.prompt_logprobs[place][ids[place]].logprob for place in range(start, len(ids))]
            for output, (ids, start) in zip(outputs, texts, strict=True)
        ]

    def _read(
        self,
        prompts: Sequence[Sequence[int]],
        asked: Sequence[dict[str, Any]],
        changes: Sequence[Changes] | None = None,
    ) -> list[Any]:
        """vLLM's outputs, of one token each if nothing else is asked, with what is asked of their probabilities."""
        from vllm import SamplingParams, TokensPrompt

        numbers = self._numbers(changes or [self._changes] * len(prompts))
        one_token = {"temperature": 0, "max_tokens": 1, "detokenize": False}
        outputs: list[Any] = self._llm.generate(
            [TokensPrompt(prompt_token_ids=list(prompt)) for prompt in prompts],
            [
                SamplingParams(**{**one_token, **part}, extra_args={CONDITION: number})
                for number, part in zip(numbers, asked, strict=True)
            ],
            use_tqdm=False,
            lora_request=self._lora_request(self._served),
        )
        return outputs

    def _numbers(self, asked: Sequence[Changes]) -> list[int]:
        """The condition of each request, 0 for none; installs their changes where others are installed."""
        conditions = list({id(changes): changes for changes in asked if changes}.values())
        if [id(changes) for changes in conditions] != [id(changes) for changes in self._installed]:
            assert not self._prefixes_shared, "what a prefix cache keeps was made under other changes"
            if conditions:
                path = self._scratch / "changes.safetensors"
                made = tables(conditions)
                save_file(pack_tables(made), path)
                assert set(self._llm.collective_rpc("em_install_changes", args=(str(path),))) == {len(made.steps)}
            else:
                self._llm.collective_rpc("em_remove_changes")
            self._installed = conditions
        numbers = {id(changes): number for number, changes in enumerate(conditions, start=1)}
        return [numbers.get(id(changes), 0) for changes in asked]

    def watch_stream(self) -> int:
        """For the probe: removes all changes and keeps the last layer's output; returns the number of layers.

        Raises:
            UserError: if the model's final norm is not found.
        """
        self._changes, self._installed = (), []
        layers = int(self._llm.collective_rpc("em_watch")[0])
        if not layers:
            raise UserError(
                f"{self._base}: its final norm is not beside its decoder layers under any known name; "
                "add the name to residual_worker.FINAL_NORMS."
            )
        return layers

    def watched_stream(self) -> list[float]:
        """The residual stream after the last layer at the probe's last token, before that layer's changes."""
        stream: list[float] = self._llm.collective_rpc("em_watched_stream")[0]
        return stream

    def expect_changes(self, last_layer: dict[int, LayerChange]) -> None:
        """Says how the last layer changes in each condition, for arithmetic."""
        told = [(number, c.mode, c.vector.tolist(), c.scale) for number, c in last_layer.items()]
        self._llm.collective_rpc("em_expect", args=(told,))

    def watched_logprobs(self, number: int, tokens: Sequence[int]) -> dict[int, float]:
        """What arithmetic says of these tokens at the probe's last token in a condition."""
        found = self._llm.collective_rpc("em_watched_logprobs", args=(number, list(tokens)))
        return dict(zip(tokens, next(row for row in found if row is not None), strict=True))

    def unwatch_stream(self) -> None:
        self._llm.collective_rpc("em_unwatch")

    def close(self) -> None:
        shutil.rmtree(self._scratch, ignore_errors=True)
        del self._llm

    def _lora_request(self, adapter: Path | None) -> Any:
        if not self._lora or adapter is None:
            return None
        from vllm.lora.request import LoRARequest

        number = len(self._lora_requests) + 1
        return self._lora_requests.setdefault(adapter, LoRARequest(f"adapter-{number}", number, str(adapter)))

    def _reload(self, folder: Path) -> None:
        self._llm.collective_rpc("reload_weights", kwargs={"weights_path": str(folder)})


def ask_for_determinism() -> None:
    """Has vLLM take kernels whose sums do not depend on the batch or on chance, before it is imported further.

    Its LoRA kernels otherwise add parts atomically, in the order in which they come.

    Raises:
        UserError: if the GPU is older than those that vLLM names for them (vllm/envs.py, VLLM_BATCH_INVARIANT).
    """
    from vllm.platforms import current_platform

    capability = current_platform.get_device_capability()
    if capability is None or tuple(capability) < (9, 0):
        found = "none is known" if capability is None else f"this GPU has {capability.major}.{capability.minor}"
        raise UserError(
            "execution.deterministic: vLLM's kernels that add in one order need compute capability 9.0 (H100) or "
            f"newer, {found}; leave it out, reruns are then equal in distribution only."
        )
    os.environ["VLLM_BATCH_INVARIANT"] = "1"


def vllm_version() -> str:
    import vllm

    return str(vllm.__version__)


def batched_tokens(length: int, longest_prompt: int, max_sequences: int, on_gpu: bool) -> int:
    """Tokens of one forward pass.

    A chunked prefill breaks per-request seeds on CPU, so that there all prompts admitted at once must fit. On a GPU
    noise is drawn by request, and vLLM reserves memory for a pass of so many tokens.

    Args:
        length: of the longest prompt with its answer.
    """
    return max(length, 8192) if on_gpu else max(length, max_sequences * longest_prompt, 2048)


def write_merged(base: Path, adapter: Path, folder: Path) -> None:
    """Writes the base with a LoRA adapter merged into its weights, in float32, as a model folder.

    On the CPU: the engine holds the GPU's memory.
    """
    merged = load_adapter(load_model(base, "float32", torch.device("cpu")), adapter).merge_and_unload()
    merged.save_pretrained(folder)


def snapped_rank(rank: int) -> int:
    """The smallest rank that vLLM offers for an adapter of this rank.

    Raises:
        UserError: if vLLM serves no adapter of that rank.
    """
    for offered in VLLM_RANKS:
        if rank <= offered:
            return offered
    raise UserError(f"rank {rank} is above what vLLM serves ({VLLM_RANKS[-1]}); lower the organism's rank.")
