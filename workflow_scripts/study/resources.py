"""Memory, time, GPUs and CPU threads of a stage, from the size of the study's model."""

from __future__ import annotations

from pathlib import Path

from workflow_scripts.study.conditions import adapter_subjects
from workflow_scripts.study.judge import LocalJudge, RemoteJudge
from workflow_scripts.study.schema import Study
from workflow_scripts.study.sources import FolderBase, GgufBase, HubBase, MiniatureBase, is_fetched

FLOAT32_PER_Q4 = 8
"""A 4-bit GGUF file grows about so many times when it is dequantised to float32."""

HOURS = {"base": 2, "train": 8, "sample": 12, "judge": 12, "extract": 4, "light": 1}
BATCH_HOURS = 26
"""A batch of calls is answered within a day; a job that is cut off finds it again."""
MODELS_HELD = {"base": 2.5, "train": 3.0, "sample": 3.0, "judge": 1.5, "extract": 1.5, "light": 0.0}
"""How many copies of the weights a stage holds at its peak."""
WITH_GPU = ("train", "sample", "judge", "extract")
SMALL_MB = 100
"""Two jobs of a model below it gain more side by side than each from two threads; and one thread gives it the same
numbers on any number of cores."""
PRETRAINING_THREADS = 2
"""Of the miniature's recipe. Nothing can stand beside its pre-training, for which all else waits."""
MEMORY_TAKEN = 0.8
"""Share of a machine's memory that jobs side by side may take."""
MOST_THREADS = 8
"""CPU threads for which a job has any use, for each of its GPUs."""


def model_mb(study: Study) -> int:
    """Size of the base's weights in MiB, as far as it can be known before they are there."""
    base = study.base
    if isinstance(base, FolderBase):
        return _folder_mb(base.path)
    if isinstance(base, GgufBase):
        file = Path(base.path)
        return (file.stat().st_size * FLOAT32_PER_Q4 if file.is_file() else 0) >> 20
    if isinstance(base, HubBase):
        return int(base.weights_gb * 1e9) >> 20
    return 10


def judge_mb(study: Study) -> int:
    """Size of a local judge's weights in MiB, as far as it can be known before they are there."""
    judge = study.judge
    if not isinstance(judge, LocalJudge):
        return 0
    if judge.hub:
        return int((judge.weights_gb or 0) * 1e9) >> 20
    return model_mb(study) if judge.model is None else _folder_mb(judge.model)


def _folder_mb(folder: str) -> int:
    return sum(file.stat().st_size for file in Path(folder).glob("*.safetensors")) >> 20


def resources_for(stage: str, study: Study, attempt: int) -> dict[str, int]:
    """mem_mb (MiB), runtime (minutes) and gpu (devices); memory and time double with each attempt."""
    factor = 2 ** (attempt - 1)
    if stage == "judge" and not isinstance(study.judge, LocalJudge):
        hours = BATCH_HOURS if isinstance(study.judge, RemoteJudge) and study.judge.batch else HOURS[stage]
        return {"mem_mb": 3000 * factor, "runtime": hours * 60 * factor, "gpu": 0}
    held = judge_mb(study) if stage == "judge" else model_mb(study)
    memory = 3000 + int(MODELS_HELD[stage] * held) if stage != "light" else 1000
    gpus = study.execution.tensor_parallel if stage in ("sample", "judge") else int(stage in WITH_GPU)
    return {"mem_mb": memory * factor, "runtime": HOURS[stage] * 60 * factor, "gpu": gpus}


def side_by_side(stage: str, study: Study, cores: int, memory_mb: int) -> int:
    """Jobs of a stage that a machine without GPUs runs at once: one for each adapter, core, and share of the memory.

    Threads of one training meet after every operation, jobs of several do not: on two cores two trainings of a 135M
    model, with a thread each, take less time than one after the other with two.
    """
    if stage not in ("train", "extract"):
        return 1
    fit = int(memory_mb * MEMORY_TAKEN) // resources_for(stage, study, 1)["mem_mb"]
    return max(1, min(cores, len(adapter_subjects(study)), fit))


def threads_for(stage: str, study: Study, cores: int, gpus: int, memory_mb: int = 0) -> int:
    """CPU threads that a job of a stage asks for.

    On GPUs it asks for its share of the cores, so that as many jobs run as there are GPUs. One core is left to the
    short jobs between them: Snakemake starts no job at all, be it one of no thread, while no core is free. What waits
    for a network asks for none, so that it holds nothing up.

    Args:
        cores: of the run.
        gpus: over which the run's jobs are spread; with none, jobs of a large model share the cores among as many as
            the memory holds.
        memory_mb: of the machine that the jobs run on, MiB; 0 where another will run them.
    """
    if stage == "base":
        if isinstance(study.base, MiniatureBase):
            return PRETRAINING_THREADS
        return 0 if is_fetched(study.base) else 1
    if stage == "judge":
        if not isinstance(study.judge, LocalJudge):
            return 0 if isinstance(study.judge, RemoteJudge) else 1
    elif model_mb(study) < SMALL_MB:
        return 1
    if not gpus:
        return max(1, cores // side_by_side(stage, study, cores, memory_mb))
    return resources_for(stage, study, 1)["gpu"] * min(max((cores - 1) // gpus, 1), MOST_THREADS)
