"""How a study file is read and checked: every mistake at once, each in one sentence with its path in the file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.yaml_files import read_word, read_yaml
from workflow_scripts.study.checks import missing_files, mistakes_of, well_formed
from workflow_scripts.study.fields import LONGEST_PATH, Mistake
from workflow_scripts.study.kinds import Kind, has_sources, inside, is_a
from workflow_scripts.study.layout import PRIMARY, RESOLVED
from workflow_scripts.study.messages import sentences
from workflow_scripts.study.schema import Study
from workflow_scripts.study.sources import layers_of, unread_layers

MOST_BYTES, MOST_VALUES = 4_000_000, 40_000
"""Of a study file; one of 500 organisms has fewer, with every default written out."""
LONGEST_SENTENCE = 500
"""Characters."""
SHOWN_MISTAKES = 40
"""Of those that were found."""


def parse(raw: Any, name: str) -> Study:
    """Checks a study given as plain data; `name` is the file shown in errors.

    Raises:
        UserError: with one sentence per mistake, all of them, each with its path in the file.
    """
    if not isinstance(raw, dict):
        raise UserError(f"{name}: is not a mapping of sections (study, base, datasets, …).")
    panel = "judge" not in raw and isinstance(raw.get("judges"), dict) and PRIMARY in raw["judges"]
    if panel:
        others = dict(raw["judges"])
        raw = raw | {"judge": others.pop(PRIMARY), "judges": others}
    mistakes: list[Mistake] = []
    try:
        study = Study.model_validate(raw)
    except ValidationError as error:
        mistakes = sentences(error, Study)
        study = well_formed(Study, raw)
    found = dict.fromkeys([*mistakes, *mistakes_of(study)])
    _refuse(name, [(_in_panel(path), sentence) for path, sentence in found] if panel else found)
    return study


def _in_panel(path: str) -> str:
    """Where a setting stands in a file whose first judge is named in `judges`."""
    head, dot, rest = path.partition(".")
    return f"judges.{PRIMARY}{dot}{rest}" if head == "judge" else path


def check_files(study: Study, name: str) -> None:
    """Looks whether the local files and folders that a study names are there.

    Raises:
        UserError: with one sentence per missing file.
    """
    _refuse(name, missing_files(study) or _unread_layers(study))


def check_layers(study: Study, name: str) -> None:
    """Looks whether the base's decoder layers are known, without which no job can be planned.

    Raises:
        UserError: with a sentence, if its folder does not tell.
    """
    _refuse(name, _unread_layers(study))


def _unread_layers(study: Study) -> list[Mistake]:
    if layers_of(study.base) is not None:
        return []
    missing = [mistake for mistake in missing_files(study) if mistake[0] == "base.path"]
    return missing or [("base.path", unread_layers(study.base))]


def _refuse(name: str, mistakes: Iterable[Mistake]) -> None:
    shown = [f"{_printed(path)}: {_printed(sentence)}" for path, sentence in mistakes]
    if shown:
        told = [f"{name}: {mistake}" for mistake in shown[:SHOWN_MISTAKES]]
        more = [f"{name}: more mistakes follow these {len(told)}."] if len(shown) > len(told) else []
        raise UserError("\n".join(told + more))


def _printed(text: str) -> str:
    """A text that may hold what stands in the file, fit for a terminal."""
    cut = text if len(text) <= LONGEST_SENTENCE else f"{text[:LONGEST_SENTENCE]}…."
    return cut if cut.isprintable() else repr(cut)[1:-1]


def load(path: Path) -> Study:
    """Reads and checks a study file, or the resolved study.json of a results folder."""
    return parse(_read_resolved(path) or extended(path), str(path))


def _read_resolved(path: Path) -> Any:
    """Plain data of a study.json: every job reads it, and YAML's reader takes ten times as long; None where that reader
    has to say what is wrong with it.
    """
    if path.name != RESOLVED:
        return None
    try:
        if not path.is_file() or path.stat().st_size > MOST_BYTES:
            return None
        raw = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_without_twins)
    except (OSError, ValueError, RecursionError):
        return None
    return None if not isinstance(raw, dict) or "extends" in raw else raw


def _without_twins(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError
    return found


def extended(path: Path, above: Sequence[Path] = ()) -> Any:
    """Plain data of a study file, laid over the file that its `extends` names, if any, a path relative to it.

    Args:
        path: the study file.
        above: files that extend it, from the first.

    Raises:
        UserError: if a file is missing, not YAML, or extends itself, directly or not.
    """
    raw = read_yaml(path, MOST_BYTES, MOST_VALUES)
    if not isinstance(raw, dict) or "extends" not in raw:
        return raw
    other, here = raw.pop("extends"), path.resolve()
    if here in above:
        raise UserError(f"{path}: extends itself in the end; let one of these files stand alone.")
    if isinstance(other, str) and len(other) > LONGEST_PATH:
        raise UserError(f"{path}: extends: {other[:60]}…: cannot be read (File name too long).")
    if not isinstance(other, str) or not other.isprintable():
        raise UserError(f"{path}: extends: {other!r:.100} is not the path of a study file.")
    try:
        below = extended(path.parent / other, (*above, here))
    except UserError as error:
        raise UserError(f"{path}: extends: {error}") from error
    if not isinstance(below, dict):
        raise UserError(f"{path}: extends: {other} is not a mapping of sections (study, base, datasets, …).")
    update(below, raw)
    return below


def gather(files: Sequence[Path], changes: Mapping[str, Any]) -> Any:
    """Plain data of a study: its files laid over each other, and the changes of --config on top.

    Raises:
        UserError: as `extended`.
    """
    raw, *others = (*(extended(file) for file in files), typed(dict(changes)))
    for layer in others:
        if not isinstance(raw, dict) or not isinstance(layer, dict):
            return None
        update(raw, layer)
    return raw


def typed(value: Any) -> Any:
    """Values of --config as YAML reads them; within a mapping or list, Snakemake takes all for text."""
    if isinstance(value, dict):
        return {key: typed(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [typed(inner) for inner in value]
    if isinstance(value, str):
        read = read_word(value)
        return read if read is None or isinstance(read, bool | int | float) else value
    return value


def update(raw: dict[str, Any], changes: dict[str, Any], kind: Kind = Study) -> None:
    """Lays changes over a study given as plain data, setting by setting, in place.

    Null takes out a section or an entry that is there; one of another `source` replaces it whole.
    """
    for key, value in changes.items():
        inner, given = inside(kind, key), raw.get(key)
        if value is None and key in raw and (kind is Study or is_a(dict, kind)):
            del raw[key]
        elif (
            isinstance(value, dict)
            and isinstance(given, dict)
            and not (has_sources(inner) and value.get("source") not in (None, given.get("source")))
        ):
            raw[key] = dict(given)  # it may stand in another place too, by an alias
            update(raw[key], value, inner)
        else:
            raw[key] = value


def resolved(study: Study) -> dict[str, Any]:
    """The study with every default written out, as plain data; itself a valid study."""
    return study.model_dump(mode="json")


def as_jobs_read_it(study: Study) -> Study:
    """The same study with its keys in the order of study.json, so that whatever goes by the order of organisms, as what
    each shard has, is told alike by the workflow and its jobs.
    """
    return Study.model_validate(json.loads(json.dumps(resolved(study), sort_keys=True)))
