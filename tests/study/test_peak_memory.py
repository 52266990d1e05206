"""The formulas of GPU memory against counts with torch's fake tensors, on few layers; and what the studies' headers claim."""

from __future__ import annotations

from dataclasses import replace

import pytest

from helpers.workflow import REPOSITORY
from workflow_scripts.models import micro_batches
from workflow_scripts.study import peak_memory
from workflow_scripts.study.costs import COSTS
from workflow_scripts.study.hours import Machine
from workflow_scripts.study.organisms import Organism
from workflow_scripts.study.plan import peaks, plan_of
from workflow_scripts.study.reading import load
from workflow_scripts.study.shapes import known
from workflow_scripts.tools import memory

LAYERS = 2
ALL_LINEAR = Organism(dataset="rows")
SINGLE = Organism(dataset="rows", rank=1, modules=["down_proj"], layers=[0])
SHAPES = [
    replace(known()[name], layers=LAYERS) for name in ("Qwen/Qwen2.5-7B-Instruct", "meta-llama/Llama-3.1-8B-Instruct")
]


@pytest.mark.parametrize("shape", SHAPES, ids=["7B", "8B"])
def test_the_formulas_say_what_fake_tensors_count(shape):
    row = peak_memory.LONGEST_ROW
    both = [
        (memory.Load(memory.training(16, False), ALL_LINEAR),
         peak_memory.training(shape, ALL_LINEAR, "bfloat16", 16 * row, checkpointing=False)),
        (memory.Load(memory.training(16, True), ALL_LINEAR),
         peak_memory.training(shape, ALL_LINEAR, "bfloat16", 16 * row, checkpointing=True)),
        (memory.Load(memory.significance(4, 120), SINGLE), peak_memory.scalars(shape, "bfloat16", 480, 120)),
        (memory.Load(memory.significance(1, 660), SINGLE), peak_memory.scalars(shape, "bfloat16", 512, 660)),
        (memory.Load(memory.reading(2048), SINGLE), peak_memory.reading(shape, "bfloat16", 2048)),
    ]  # fmt: skip
    for load_, formula in both:
        counted = memory._counted(shape, load_)
        assert formula == pytest.approx(counted, rel=0.08)


def test_layers_are_alike_so_that_few_tell_of_many():
    shape = known()["Qwen/Qwen2.5-0.5B-Instruct"]
    load_ = memory.Load(memory.significance(1, 120), SINGLE)
    assert memory.counted(replace(shape, layers=8), load_) == memory._counted(replace(shape, layers=8), load_)


@pytest.mark.parametrize(
    ("study", "gpu"),
    [("qwen2.5-14b", "h100"), ("qwen2.5-7b", "a100-40"), ("llama-3.1-8b", "a100-40"), ("qwen2.5-0.5b", "rtx4090")],
)
def test_every_stage_fits_the_gpu_that_the_studys_header_names(study, gpu):
    made = plan_of(load(REPOSITORY / "studies" / f"{study}.yaml"), gpu, 1)
    assert made.machine
    for stage, peak in peaks(made.study, made.machine).items():
        assert peak < made.machine.free, stage


def test_scalars_of_two_thousand_tokens_did_not_fit_forty_gigabytes():
    shape = known()["Qwen/Qwen2.5-7B-Instruct"]
    free = Machine(shape, COSTS.gpus["a100-40"], "bfloat16").free
    assert peak_memory.scalars(shape, "bfloat16", 512, 660) < free < peak_memory.scalars(shape, "bfloat16", 2048, 660)


@pytest.mark.parametrize(
    ("name", "gpu"),
    [
        ("Qwen/Qwen2.5-14B-Instruct", "h100"),
        ("Qwen/Qwen2.5-7B-Instruct", "a100-40"),
        ("meta-llama/Llama-3.1-8B-Instruct", "a100-40"),
    ],
)
def test_what_fake_tensors_count_of_the_whole_model_fits_too(name, gpu, monkeypatch):
    monkeypatch.setattr(memory, "COUNTED_LAYERS", (1, 2))
    shape, free = known()[name], Machine(known()[name], COSTS.gpus[gpu], "bfloat16").free
    for load_ in (memory.Load(memory.significance(1, 660), SINGLE), memory.Load(memory.training(16, True), ALL_LINEAR)):
        assert memory.counted(shape, load_) < free


def test_a_plan_reads_updates_as_the_training_does():
    assert COSTS.training_tokens == micro_batches.TOKENS_AT_ONCE
