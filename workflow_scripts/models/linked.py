"""Folders of links to a model's files: a large model is not copied."""

from __future__ import annotations

import json
from pathlib import Path

from workflow_scripts.models.loading import TEMPLATE_SETTINGS
from workflow_scripts.runtime.errors import UserError

DESCRIPTION = ("*.json", "*.jinja", "*.txt", "*.model")
"""Files of a hub repository that say what a model is: a few MB, fetched before its weights."""
UNREAD = (".py", ".bin", ".pt", ".pth", ".gguf")
ANSWER_OPENING = "answer_opening.txt"
"""What ends every prompt beside what the chat template says; by it the base differs from one prompted without."""
WHOLE = ("model*.safetensors", *DESCRIPTION)


def link_folder(source: Path, folder: Path, place: str = "base.path") -> None:
    """Makes a folder of links to the files of a model's folder.

    Args:
        source: the model.
        folder: is made.
        place: where the study names the model, for errors.

    Raises:
        UserError: if the folder holds no config, or not all of its safetensors weights.
    """
    if not (source / "config.json").is_file():
        raise UserError(f"{place}: {source} is not a model folder, it has no config.json.")
    if not list(source.glob("*.safetensors")):
        raise UserError(f"{place}: {source} has no *.safetensors weights; other formats are not read.")
    missing = [name for name in shards(source) if not (source / name).is_file()]
    if missing:
        raise UserError(f"{place}: {source} is not whole, its index names {missing[0]}, which is not there.")
    folder.mkdir(parents=True)
    for file in source.iterdir():
        if file.is_file() and file.suffix not in UNREAD and file.name not in (TEMPLATE_SETTINGS, ANSWER_OPENING):
            (folder / file.name).symlink_to(file.resolve())


def shards(folder: Path) -> list[str]:
    """Names of the weight files that a folder's index lists; none where the weights are one file."""
    index = folder / "model.safetensors.index.json"
    return sorted(set(json.loads(index.read_text())["weight_map"].values())) if index.is_file() else []
