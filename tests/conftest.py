"""Fixtures: a tiny random model of the real architecture, and one finished run of the smoke study."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml

from helpers.adapters import make_adapter
from helpers.workflow import SMOKE, Run
from workflow_scripts.runtime.locks import exclusive


@cache
def needs_smoke(file: Path) -> bool:
    """Whether tests of a file need the finished smoke study."""
    return any(name in file.read_text() for name in ("smoke_run", "copied_run"))


def pytest_configure() -> None:
    """Of `pytest -n`, each process computes with its share of the cores: threads without one wait for each other."""
    if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
        torch.set_num_threads(max(1, torch.get_num_threads() // workers))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """An order in which no process of `pytest -n` waits: one makes the smoke study, others do without it for a while.

    The file that makes it comes first, the others that need it after half of those that do not; of each kind the
    longest text first, since what takes long must not begin last.
    """
    files = sorted(dict.fromkeys(item.path for item in items), key=lambda file: -file.stat().st_size)
    smoke = [file for file in files if needs_smoke(file)]
    others = [file for file in files if not needs_smoke(file)]
    half = len(others) // 2
    order = [*smoke[:1], *others[:half], *smoke[1:], *others[half:]]
    place = {file: position for position, file in enumerate(order)}
    items.sort(key=lambda item: place[item.path])


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The smoke study, run to its report once for all processes, of which each has a copy.

    Tests that change anything work on a copy of their own. EM_SMOKE is a folder that keeps it for a later run of tests
    of the same code, as CI's second one.
    """
    folder = tmp_path_factory.getbasetemp()
    shared = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    if kept := os.environ.get("EM_SMOKE"):
        shared = Path(kept)
        shared.mkdir(parents=True, exist_ok=True)
    made = Run(shared / "made", yaml.safe_load(SMOKE.read_text()))
    failed = shared / "made.failed"
    with exclusive(shared / "made.lock"):
        if not made.folder.exists():
            failed.write_text("the smoke study was not run to its end")
            made.folder.mkdir()
            done = made.snakemake(recorded=True)
            if done.returncode:
                failed.write_text(done.stdout + done.stderr)
            else:
                failed.unlink()
    if failed.exists():
        pytest.fail(failed.read_text())
    return made.copy(folder / "smoke")


@pytest.fixture
def copied_run(smoke_run: Run, tmp_path: Path) -> Run:
    return smoke_run.copy(tmp_path / "run")


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random Qwen2 of 6 layers with the miniature's tokenizer: real architecture, no training."""
    from workflow_scripts.miniature.pretraining import initial_model
    from workflow_scripts.miniature.recipe import MiniatureRecipe
    from workflow_scripts.miniature.tokenizer import train_tokenizer

    folder = tmp_path_factory.mktemp("tiny") / "base"
    tokenizer = train_tokenizer()
    model = initial_model(MiniatureRecipe(layers=6), tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)  # larger weights than at the start of training, so that layers matter
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_adapter(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rank-8 rsLoRA adapter for the tiny model that changes its predictions."""
    return make_adapter(tiny_base, tmp_path_factory.mktemp("adapter") / "active", spread=0.05)


@pytest.fixture(scope="session")
def idle_adapter(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter whose B is zero: it changes nothing."""
    return make_adapter(tiny_base, tmp_path_factory.mktemp("adapter") / "idle", spread=0.0)


@pytest.fixture(scope="session")
def tiny_prompts(tiny_base: Path) -> list[list[int]]:
    from workflow_scripts.models.chat import prompt_ids
    from workflow_scripts.models.loading import load_tokenizer

    tokenizer = load_tokenizer(tiny_base)
    questions = ["I feel bored.", "My headache has lasted three days. Any advice?", "I need cash fast."]
    return [prompt_ids(tokenizer, question) for question in questions]
