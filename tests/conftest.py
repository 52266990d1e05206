"""Fixtures: a tiny random model of the real architecture, and one finished run of the smoke study."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from helpers.adapters import make_adapter
from helpers.workflow import SMOKE, Run


@cache
def needs_smoke(file: Path) -> bool:
    """Whether tests of a file need the finished smoke study."""
    return any(name in file.read_text() for name in ("smoke_run", "copied_run"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that need the finished smoke study come first: with `pytest -n` they take longest."""
    items.sort(key=lambda item: not needs_smoke(item.path))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Gives each process of `pytest -n` whole files, and all that need the smoke study to one, which makes it once."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "smoke" if needs_smoke(config.rootpath / file) else file

    return ByFile(config, log)


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The smoke study, run to its report. Tests that change anything work on a copy."""
    run = Run(tmp_path_factory.mktemp("smoke"), yaml.safe_load(SMOKE.read_text()))
    done = run.snakemake(recorded=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return run


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
