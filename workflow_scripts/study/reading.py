"""How a study file is read and checked: every mistake at once, each in one sentence with its path in the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import (
    ValidationError,
)

from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.yaml_files import read_yaml
from workflow_scripts.study.judge import own_metrics
from workflow_scripts.study.organisms import training_settings
from workflow_scripts.study.reference_checks import missing_files, reference_errors, sentences
from workflow_scripts.study.schema import Study
from workflow_scripts.study.sources import layers_of


def parse(raw: Any, name: str) -> Study:
    """Checks a study given as plain data; `name` is the file shown in errors.

    Raises:
        UserError: with one sentence per mistake, all of them, each with its path in the file.
    """
    if not isinstance(raw, dict):
        raise UserError(f"{name}: is not a mapping of sections (study, base, datasets, …).")
    mistakes: list[tuple[str, str]] = []
    study = None
    try:
        study = Study.model_validate(raw)
    except ValidationError as error:
        mistakes += sentences(error, Study)
    references = reference_errors(raw, layers_of(raw.get("base")), own_metrics(), training_settings())
    mistakes += [mistake for mistake in references if mistake not in mistakes]
    if mistakes or study is None:
        raise UserError("\n".join(f"{name}: {path}: {sentence}" for path, sentence in mistakes))
    return study


def check_files(study: Study, name: str) -> None:
    """Looks whether the local files and folders that a study names are there.

    Raises:
        UserError: with one sentence per missing file.
    """
    mistakes = missing_files(resolved(study))
    if mistakes:
        raise UserError("\n".join(f"{name}: {path}: {sentence}" for path, sentence in mistakes))


def load(path: Path) -> Study:
    """Reads and checks a study file, or the resolved study.json of a results folder."""
    return parse(read_yaml(path), str(path))


def gather(files: Sequence[Path], changes: Mapping[str, Any]) -> Any:
    """Plain data of a study: its files laid over each other, and the changes of --config on top.

    Raises:
        UserError: if a file is missing, not YAML, or holds a key twice.
    """
    raw, *others = (read_yaml(file) for file in files)
    for layer in (*others, typed(dict(changes))):
        if isinstance(raw, dict):
            update(raw, layer)
    return raw


def typed(value: Any) -> Any:
    """Values of --config as YAML reads them; within a mapping or list, Snakemake takes all for text."""
    if isinstance(value, dict):
        return {key: typed(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [typed(inner) for inner in value]
    if isinstance(value, str):
        try:
            read = yaml.safe_load(value)
        except yaml.YAMLError:
            return value
        return read if read is None or isinstance(read, bool | int | float) else value
    return value


def update(raw: dict[str, Any], changes: dict[str, Any]) -> None:
    """Lays changes (of --config) over a study given as plain data, section by section, in place."""
    for key, value in changes.items():
        if (
            isinstance(value, dict)
            and isinstance(raw.get(key), dict)
            and value.get("source") in (None, raw[key].get("source"))
        ):
            update(raw[key], value)
        else:
            raw[key] = value


def resolved(study: Study) -> dict[str, Any]:
    """The study with every default written out, as plain data; itself a valid study."""
    return study.model_dump(mode="json")
