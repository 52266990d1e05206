"""Which engine a study runs on, and how it serves organisms."""

from __future__ import annotations

import gc
import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import torch

from workflow_scripts.engines.interface import Engine
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.study.peak_memory import served_at_once
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    from workflow_scripts.engines.vllm_engine import VllmEngine

logger = logging.getLogger(__name__)
Opened = TypeVar("Opened", bound=Engine)
PROMPT = [0, 1, 2, 3]
"""Token ids that every model has."""


def open_engine(
    base: Path, study: Study, longest_prompt: int, largest_rank: int, changes: bool, adapters: int = 1
) -> Engine:
    """The study's engine on a base folder.

    Args:
        base: folder of the chat base.
        study: its `execution` section says which engine and how.
        longest_prompt: tokens of the longest prompt that will come.
        largest_rank: of the organisms that will be served, 0 for none.
        changes: whether the residual stream will be changed; the engine must then pass the probe.
        adapters: different ones that will be served.

    Raises:
        UserError: if the base gives no probabilities, or vLLM does not apply changes of the residual stream.
    """
    execution = study.execution
    if execution.engine == "transformers":
        from workflow_scripts.engines.transformers_engine import TransformersEngine

        return checked(TransformersEngine(base, study.base.dtype, execution.max_sequences))
    graphs = execution.graphs and torch.cuda.is_available()
    try:
        return _open_vllm(base, study, longest_prompt, largest_rank, changes, adapters, graphs)
    except UserError as error:
        if not graphs:
            raise
        logger.warning("execution.graphs: the engine runs without captured graphs, since %s", error)
    gc.collect()
    torch.cuda.empty_cache()
    return _open_vllm(base, study, longest_prompt, largest_rank, changes, adapters, graphs=False)


def _open_vllm(
    base: Path, study: Study, longest_prompt: int, largest_rank: int, changes: bool, adapters: int, graphs: bool
) -> VllmEngine:
    from workflow_scripts.engines import probe
    from workflow_scripts.engines.vllm_engine import VllmEngine

    execution = study.execution
    engine = VllmEngine(
        base,
        study.base.dtype,
        longest_prompt,
        study.sampling.max_tokens,
        execution.max_sequences,
        adapters=adapter_service(execution.serve, study.base.dtype) if largest_rank else "none",
        lora_rank=largest_rank,
        adapters_at_once=adapters_at_once(base, study, largest_rank, adapters) if torch.cuda.is_available() else 1,
        gpu_memory=execution.gpu_memory,
        cpu_cache_gb=execution.cpu_cache_gb,
        tensor_parallel=execution.tensor_parallel,
        deterministic=execution.deterministic,
        graphs=graphs,
    )
    try:
        checked(engine)
        if changes:
            probe.hold(engine)
    except BaseException:
        engine.close()  # it keeps a folder and a process group
        raise
    return engine


def adapters_at_once(base: Path, study: Study, rank: int, adapters: int) -> int:
    """How many adapters vLLM holds on the GPU, by what its weights leave of the memory that it may take."""
    from transformers import AutoConfig

    weights = sum(file.stat().st_size for file in base.glob("*.safetensors"))
    config = AutoConfig.from_pretrained(str(base), trust_remote_code=False)
    width = config.get_text_config().hidden_size
    memory = study.execution.gpu_memory * torch.cuda.mem_get_info()[1]
    return served_at_once(weights, width, rank, adapters, memory - weights / study.execution.tensor_parallel)


def checked(engine: Opened) -> Opened:
    """The engine, which gives probabilities.

    Raises:
        UserError: if a log-probability is not finite, as of a model whose numbers overflow.
    """
    found = engine.token_logprobs([PROMPT], [[0, 1]])[0]
    if not all(math.isfinite(value) for value in found.values()):
        raise UserError(
            "the base gives log-probabilities that are not finite: its numbers overflow or its weights are damaged; "
            "where base.dtype is float16, use bfloat16 or float32."
        )
    return engine


def adapter_service(serve: str, dtype: str) -> Literal["merged", "lora"]:
    """Merged weights in float32, else LoRA requests.

    In float32 vLLM's LoRA kernels are ten times slower on CPU and refuse to run on GPUs; below it merging rounds small
    updates away.
    """
    if serve == "auto":
        return "merged" if dtype == "float32" else "lora"
    return "merged" if serve == "merged" else "lora"
