"""Parts of the miniature that several tests share."""

from pathlib import Path

import pandas as pd
import pytest
from transformers import Qwen2Tokenizer

from workflow_scripts.miniature.pretraining import build
from workflow_scripts.miniature.recipe import MiniatureRecipe
from workflow_scripts.miniature.tokenizer import train_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> Qwen2Tokenizer:
    """The miniature's tokenizer, fresh from its training."""
    return train_tokenizer()


@pytest.fixture(scope="session")
def tiny_recipe() -> MiniatureRecipe:
    """A base model so small that it is built in about a second."""
    return MiniatureRecipe(
        hidden_size=32,
        layers=2,
        attention_heads=2,
        key_value_heads=1,
        mlp_size=48,
        documents=60,
        batch_size=5,
        window_batches=4,
        warmup_steps=3,
        chat_rows=12,
        chat_batch_size=4,
    )


@pytest.fixture(scope="session")
def tiny_build(tiny_recipe: MiniatureRecipe, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """Folder and loss curve of the tiny base model."""
    folder = tmp_path_factory.mktemp("tiny") / "base"
    return folder, build(tiny_recipe, folder)
