"""Parts of a study, picked by the paths of their settings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from workflow_scripts.study.schema import Study


def part_of(study: Study, paths: Iterable[str]) -> dict[str, Any]:
    """Values of settings as plain data, by path: `ablation`, `sampling.questions`, or `organisms.seeds`, of each one.

    Raises:
        KeyError: for a path that no study has.
    """
    return {path: _at(study, path.split(".")) for path in paths}


def _at(value: Any, path: list[str]) -> Any:
    if value is None or not path:
        return value.model_dump(mode="json") if isinstance(value, BaseModel) else _plain(value)
    if isinstance(value, dict):
        return {name: _at(entry, path) for name, entry in value.items()}
    if path[0] not in type(value).model_fields:
        raise KeyError(f"{type(value).__name__} has no setting {path[0]!r}")
    return _at(getattr(value, path[0]), path[1:])


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _at(entry, []) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_at(entry, []) for entry in value]
    return value
