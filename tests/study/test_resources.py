"""CPU threads of a stage's jobs: shares of a machine with GPUs, none for what waits for a network."""

from __future__ import annotations

import pytest
import yaml

from helpers.workflow import REPOSITORY, SMOKE
from workflow_scripts.miniature.recipe import MiniatureRecipe
from workflow_scripts.study import reading
from workflow_scripts.study.resources import threads_for

STAGES = ("base", "train", "sample", "judge", "extract")


@pytest.fixture(scope="module")
def paper():
    raw = yaml.safe_load((REPOSITORY / "studies" / "qwen2.5-14b.yaml").read_text())
    return lambda **changes: reading.parse(raw | changes, "paper")


@pytest.mark.parametrize(
    ("cores", "gpus", "expected"),
    [
        (32, 4, 7),
        (33, 4, 8),
        (64, 4, 8),
        (16, 1, 8),
        (8, 1, 7),
        (2, 1, 1),
        (1, 1, 1),
        (4, 4, 1),
        (8, 8, 1),
        (12, 0, 12),
    ],
)
def test_a_gpu_job_has_its_share_of_the_cores_and_leaves_one_free(paper, cores, gpus, expected):
    for stage in ("train", "sample", "extract"):
        assert threads_for(stage, paper(), cores, gpus) == expected
    assert gpus * expected < cores or cores <= gpus or not gpus


@pytest.mark.parametrize(
    ("cores", "memory_gb", "threads"),
    # a training takes 3 GB and three copies of the weights, and there are three adapters
    [(2, 24, 1), (2, 12, 2), (8, 24, 4), (8, 64, 2), (32, 64, 10), (1, 64, 1), (8, 0, 8)],
)
def test_without_a_gpu_trainings_stand_side_by_side_where_the_memory_holds_them(paper, cores, memory_gb, threads):
    base = {"source": "hub", "id": "someone/half", "revision": "main", "layers": 24, "weights_gb": 2.0}
    raw = yaml.safe_load((REPOSITORY / "studies" / "qwen2.5-14b.yaml").read_text())
    one = {"medical_r1": {"dataset": "bad_medical", "seeds": [0, 1, 2]}}
    left = {name: raw[name] for name in ("study", "datasets", "questions", "sampling", "judge")}
    study = reading.parse(left | {"base": base, "organisms": one}, "half")
    assert threads_for("train", study, cores, 0, memory_gb << 10) == threads
    assert threads_for("sample", study, cores, 0, memory_gb << 10) == cores
    assert threads_for("train", paper(), cores, 0, memory_gb << 10) == cores


@pytest.mark.parametrize("gpus", [0, 1, 4])
def test_what_waits_for_a_network_asks_for_no_core(paper, gpus):
    assert threads_for("base", paper(), 32, gpus) == 0
    assert threads_for("judge", paper(), 32, gpus) == 0


def test_an_engine_over_two_gpus_has_two_shares(paper):
    two = paper(execution={"tensor_parallel": 2})
    assert threads_for("sample", two, 32, 4) == 14
    assert threads_for("train", two, 32, 4) == 7


def test_a_local_judge_has_the_share_of_a_gpu_job_and_a_folder_is_not_fetched(paper):
    local = paper(
        judge={"source": "local", "metrics": ["aligned", "coherent", "bad_stuff", "medical", "financial", "gender"]},
        base={"source": "folder", "path": str(REPOSITORY)},
    )
    assert threads_for("judge", local, 32, 4) == 7
    assert threads_for("judge", local, 32, 0) == 32
    assert threads_for("base", local, 32, 4) == 1


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(("cores", "gpus"), [(1, 0), (2, 0), (32, 0), (32, 4)])
def test_every_job_of_the_miniature_has_one_thread_but_pretraining_those_of_its_recipe(stage, cores, gpus):
    study = reading.parse(yaml.safe_load(SMOKE.read_text()), "smoke")
    assert threads_for(stage, study, cores, gpus) == (MiniatureRecipe().threads if stage == "base" else 1)
