"""Folders of links to a model's files: a large model is not copied."""

from __future__ import annotations

import logging
from pathlib import Path

from workflow_scripts.models.loading import TEMPLATE_SETTINGS
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.foreign import foreign, read_foreign_json

log = logging.getLogger(__name__)

ANSWER_OPENING = "answer_opening.txt"
"""What ends every prompt beside what the chat template says; by it the base differs from one prompted without."""
DESCRIPTION = ("*.json", "*.jinja", "*.txt", "*.model")
"""Files of a hub repository that say what a model is: a few MB, fetched before its weights."""
UNREAD = (".py", ".bin", ".pt", ".pth", ".gguf", ".safetensors", ".parquet")
"""Beside the weights that belong to the model: code, other forms of the weights, adapters, consolidated copies."""
OF_ADAPTERS = "adapter_config.json"
"""transformers and vLLM load an adapter that lies in a model's folder along with the model."""
OF_STAGE = (TEMPLATE_SETTINGS, ANSWER_OPENING, "fingerprint.json")
"""What this workflow writes into a base's folder; the base of another study has its own."""
SINGLE = "model.safetensors"
WHOLE = ("model*.safetensors", *DESCRIPTION)


def link_folder(source: Path, folder: Path, place: str = "base.path") -> None:
    """Makes a folder of links to the files of a model's folder.

    Args:
        source: the model.
        folder: is made.
        place: where the study names the model, for errors.

    What lies in the folder beside the model stays there: adapters, other forms of its weights, pipes.

    Raises:
        UserError: if the folder holds no config, or not all of its safetensors weights.
    """
    if not (source / "config.json").is_file():
        raise UserError(f"{place}: {source} is not a model folder, it has no config.json.")
    weights = shards(source) or [SINGLE]
    missing = [name for name in weights if not (source / name).is_file()]
    if missing == [SINGLE]:
        what = f"{SINGLE}, nor an index of its parts" if list(source.glob("*.safetensors")) else "*.safetensors weights"
        raise UserError(f"{place}: {source} has no {what}; other formats are not read.")
    if missing:
        raise UserError(f"{place}: {source} is not whole, its index names {missing[0]}, which is not there.")
    if (source / OF_ADAPTERS).exists():
        log.warning("%s: %s also holds an adapter (%s), which is left out", place, source, OF_ADAPTERS)
    folder.mkdir(parents=True)
    for file in source.iterdir():
        described = file.suffix not in UNREAD and file.name not in (*OF_STAGE, OF_ADAPTERS) and file.name[0] != "."
        if file.is_file() and (described or file.name in weights):
            (folder / file.name).symlink_to(file.resolve())


def shards(folder: Path) -> list[str]:
    """Names of the weight files that a folder's index lists; none where the weights are one file.

    Raises:
        UserError: if the index is none.
    """
    index = folder / f"{SINGLE}.index.json"
    if not index.exists():
        return []
    with foreign(f"{index}: is no index of weights"):
        names = set(read_foreign_json(index)["weight_map"].values())
        if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
            raise ValueError("weight_map names no files beside it")
        return sorted(names)
