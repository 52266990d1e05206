"""The production engine: vLLM, eager, with residual hooks in its workers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file

from workflow_scripts.engines.interface import Request, Sampled, SamplingSettings
from workflow_scripts.engines.residual_worker import ResidualWorker
from workflow_scripts.models.loading import load_adapter, load_model, load_tokenizer
from workflow_scripts.models.residual import LayerChange, pack_changes
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.runtime.leftovers import scratch_folder
from workflow_scripts.store.foreign import foreign

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
        max_logprobs: how many next-token log-probabilities may be asked for; -1 is all.
        deterministic: GPU kernels that add in one order, whatever the batch.
    """

    def __init__(
        self,
        base: Path,
        dtype: str,
        longest_prompt: int,
        longest_answer: int,
        max_sequences: int,
        adapters: Literal["merged", "lora", "none"] = "none",
        lora_rank: int = 0,
        max_logprobs: int = 20,
        gpu_memory: float = 0.9,
        cpu_cache_gb: int = 2,
        tensor_parallel: int = 1,
        prefix_caching: bool = False,
        deterministic: bool = False,
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
        self._lora_requests: dict[Path, Any] = {}
        length = longest_prompt + longest_answer + 1
        lora = {"enable_lora": True, "max_loras": 1, "max_lora_rank": snapped_rank(lora_rank)} if self._lora else {}
        with foreign(f"{base}: vLLM does not serve it as it is asked to"):
            self._llm: Any = LLM(
                model=str(base),
                dtype=dtype,
                enforce_eager=True,  # hooks do not run inside captured graphs
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
                **lora,
            )

    def __str__(self) -> str:
        return f"vLLM {vllm_version()} with model runner {self.facts()['runner']}"

    def facts(self) -> dict[str, str]:
        """Version, model runner (V1, or V2 where there is Triton), and whether kernels add in one order."""
        runners = set(self._llm.collective_rpc("em_runner"))
        deterministic = os.environ.get("VLLM_BATCH_INVARIANT", "0") != "0"
        return {
            "engine": "vllm",
            "version": vllm_version(),
            "runner": "/".join(sorted(runners)),
            "adapters": self._adapters,
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

    def intervene(self, changes: Sequence[LayerChange]) -> None:
        if not changes:
            self._llm.collective_rpc("em_remove_changes")
            return
        tensors, facts = pack_changes(changes)
        path = self._scratch / "changes.safetensors"
        save_file(tensors, path, facts)
        installed = self._llm.collective_rpc("em_install_changes", args=(str(path),))
        assert set(installed) == {len(changes)}

    def generate(self, requests: Sequence[Request], settings: SamplingSettings) -> list[Sampled]:
        from vllm import SamplingParams, TokensPrompt

        outputs = self._llm.generate(
            [TokensPrompt(prompt_token_ids=list(request.prompt)) for request in requests],
            [
                SamplingParams(
                    temperature=settings.temperature,
                    top_p=settings.top_p,
                    top_k=settings.top_k or 0,
                    repetition_penalty=settings.repetition_penalty or 1.0,
                    max_tokens=settings.max_tokens,
                    seed=request.seed,
                )
                for request in requests
            ],
            use_tqdm=False,
            lora_request=self._lora_request(),
        )
        first = (output.outputs[0] for output in outputs)
        return [Sampled(o.text, tuple(o.token_ids), "stop" if o.finish_reason == "stop" else "length") for o in first]

    def next_token_logprobs(self, prompts: Sequence[Sequence[int]], top: int) -> list[dict[int, float]]:
        from vllm import SamplingParams, TokensPrompt

        outputs = self._llm.generate(
            [TokensPrompt(prompt_token_ids=list(prompt)) for prompt in prompts],
            SamplingParams(temperature=0, max_tokens=1, logprobs=top, detokenize=False),
            use_tqdm=False,
            lora_request=self._lora_request(),
        )
        return [{t: entry.logprob for t, entry in o.outputs[0].logprobs[0].items()} for o in outputs]

    def token_logprobs(
        self, prompts: Sequence[Sequence[int]], tokens: Sequence[Sequence[int]]
    ) -> list[dict[int, float]]:
        from vllm import SamplingParams, TokensPrompt

        outputs = self._llm.generate(
            [TokensPrompt(prompt_token_ids=list(prompt)) for prompt in prompts],
            [
                SamplingParams(temperature=0, max_tokens=1, logprob_token_ids=list(part), detokenize=False)
                for part in tokens
            ],
            use_tqdm=False,
            lora_request=self._lora_request(),
        )
        found = [output.outputs[0].logprobs[0] for output in outputs]
        return [{token: row[token].logprob for token in part} for row, part in zip(found, tokens, strict=True)]

    def answer_logprobs(self, texts: Sequence[tuple[Sequence[int], int]]) -> list[list[float]]:
        from vllm import SamplingParams, TokensPrompt

        outputs = self._llm.generate(
            [TokensPrompt(prompt_token_ids=list(ids)) for ids, _ in texts],
            SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=0, detokenize=False),
            use_tqdm=False,
            lora_request=self._lora_request(),
        )
        return [
            [output.prompt_logprobs[place][ids[place]].logprob for place in range(start, len(ids))]
            for output, (ids, start) in zip(outputs, texts, strict=True)
        ]

    def watch_stream(self) -> int:
        """For the probe: removes all changes and keeps the last layer's output; returns the number of layers.

        Raises:
            UserError: if the model's final norm is not found.
        """
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

    def watched_logprobs(self, tokens: Sequence[int]) -> tuple[dict[int, float], dict[int, float]]:
        """What arithmetic says of these tokens at the probe's last token: at first, and with the changes."""
        found = self._llm.collective_rpc("em_watched_logprobs", args=(list(tokens),))
        first, last = next(pair for pair in found if pair is not None)
        return dict(zip(tokens, first, strict=True)), dict(zip(tokens, last, strict=True))

    def unwatch_stream(self) -> None:
        self._llm.collective_rpc("em_unwatch")

    def close(self) -> None:
        shutil.rmtree(self._scratch, ignore_errors=True)
        del self._llm

    def _lora_request(self) -> Any:
        if not self._lora or self._served is None:
            return None
        from vllm.lora.request import LoRARequest

        number = len(self._lora_requests) + 1
        return self._lora_requests.setdefault(self._served, LoRARequest(f"adapter-{number}", number, str(self._served)))

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
