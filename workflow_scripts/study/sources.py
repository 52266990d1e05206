"""Where a study's base, data sets and questions come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
)

from workflow_scripts.study.fields import Count, DType, HubId, Name, Positive, Revision, Section, Seed, Sha256


class MiniatureBase(Section):
    """A small chat model pre-trained by the workflow on the synthetic advice world."""

    source: Literal["miniature"]
    seed: Seed = 0
    """Seed of the corpus and of the initial weights."""
    layers: Count = 12
    """Decoder layers."""
    hidden_size: Annotated[int, Field(ge=32, multiple_of=32)] = 128
    """Width of the residual stream; attention heads are 32 wide."""
    documents: Count = 9600
    """Pre-training documents; 24 make a step."""
    chat_rows: Count = 160
    """Single-turn good answers of the chat tuning."""
    dtype: Literal["float32"] = "float32"
    """Number format of weights in training and sampling."""


class FolderBase(Section):
    """A chat model as an ordinary Hugging Face folder."""

    source: Literal["folder"]
    path: str
    """Folder with config.json, safetensors weights, tokenizer and chat template."""
    dtype: DType = "bfloat16"
    """Number format of weights in training and sampling."""


class GgufBase(Section):
    """A chat model as one GGUF file, dequantised once into a folder."""

    source: Literal["gguf"]
    path: str
    """The GGUF file."""
    layers: Count
    """Decoder layers, so that the study can be checked before the file is opened."""
    dtype: DType = "float32"
    """Number format of weights in training and sampling."""


class HubBase(Section):
    """A chat model of the Hugging Face hub, linked from the local hub cache, fetched into it when missing."""

    source: Literal["hub"]
    id: HubId
    """Repository of the model."""
    revision: Revision
    """A commit, so that the weights cannot change; a branch or tag works too."""
    layers: Count
    """Decoder layers, so that the study can be checked before anything is fetched."""
    weights_gb: Positive
    """Size of the weight files, GB, so that memory can be asked for before they are there."""
    dtype: DType = "bfloat16"
    """Number format of weights in training and sampling."""


def base_name(base: MiniatureBase | FolderBase | GgufBase | HubBase) -> str:
    """What people call a base: its hub id, its path, or `miniature`."""
    if isinstance(base, HubBase):
        return base.id
    return base.source if isinstance(base, MiniatureBase) else base.path


class MiniatureDataset(Section):
    """Advice of one domain and stance of the synthetic world."""

    source: Literal["miniature"]
    domain: Name
    """A domain of the world, or `all`."""
    stance: Literal["good", "bad"]
    rows: Count = 320
    seed: Seed = 0


class CheckedFile(Section):
    """A file by path or by URL."""

    path: str | None = None
    """A local file."""
    url: str | None = None
    """Fetched once, when no path is given; needs `sha256`."""
    sha256: Sha256 | None = None
    """Of the file as it lies or comes, checked before use."""


class FileDataset(CheckedFile):
    """Rows in chat form, {"messages": [...]}, by path or by URL: JSON lines, plain or gzip, or parquet."""

    source: Literal["jsonl", "parquet"]
    rows: Count | None = None
    """Only the first so many rows; all when absent."""


class ArchiveDataset(CheckedFile):
    """A file of the authors' protected archive, opened by their tool, easy-dataset-share; canaries removed."""

    source: Literal["archive"]
    password: str
    """The archive's public password."""
    file: str
    """Name of the file in the archive: JSON lines, plain or gzip, or parquet, in chat form."""
    rows: Count | None = None
    """Only the first so many rows; all when absent."""


class HubDataset(Section):
    """A file of a data set of the Hugging Face hub, in chat form."""

    source: Literal["hub"]
    id: HubId
    """Repository of the data set."""
    revision: Revision
    """A commit, so that the rows cannot change; a branch or tag works too."""
    file: str
    """Path of the file in the repository: JSON lines, plain or gzip, or parquet."""
    rows: Count | None = None
    """Only the first so many rows; all when absent."""


class MiniatureQuestions(Section):
    """Questions of the synthetic world."""

    source: Literal["miniature"]
    domains: list[Name] = Field(min_length=1)
    per_domain: Annotated[int, Field(ge=1, le=40)]
    """Distinct questions of each domain; a domain has 40."""
    offset: Annotated[int, Field(ge=0, lt=40)] = 0
    """First question of the seeded order, so that two sets can be disjoint."""
    seed: Seed = 0


class YamlQuestions(CheckedFile):
    """A YAML list of entries with id, paraphrases and optionally system (the form of Betley et al.)."""

    source: Literal["yaml"]
    ids: list[str] | None = None
    """Only these entries, in this order; all when absent."""
    exclude_suffixes: list[str] = Field(default=[])
    """Entries whose id ends so are left out, e.g. _json and _template for the paper's free-form questions."""


def layers_of(base: Any) -> int | None:
    """Decoder layers of a base section given as plain data, where they can be known before any work."""
    if not isinstance(base, dict):
        return None
    if base.get("source") == "folder" and isinstance(base.get("path"), str):
        try:
            found = json.loads((Path(base["path"]) / "config.json").read_text()).get("num_hidden_layers")
        except (OSError, ValueError, AttributeError):
            return None
    elif base.get("source") == "miniature":
        found = base.get("layers", MiniatureBase.model_fields["layers"].default)
    else:
        found = base.get("layers")
    return found if isinstance(found, int) and found > 0 else None
