"""Where an artefact belongs and what it was made from, written into it and compared by whoever reads it.

Each artefact of a study carries its place below the study's folder, a digest of its own content, and the digest of each
artefact that it was made from. So files that were exchanged, edited, or left behind by a later run of what they were
made from are named when they are read, whatever their times say. Snakemake's ancient inputs (manifests, which only say
that a store is filled) are not among what an artefact was made from. Files without these facts, of an earlier version
or of others, are read as they are; so are copies outside a study's folder.

Tables and tensors carry the facts in their metadata; JSON, which people read, in a hidden file beside it.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

import pyarrow.parquet as pq

from workflow_scripts.runtime.errors import UserError

PLACE = "place"
INPUTS = "inputs"
CONTENT = "content"
COLUMNS = "columns_digest"
"""Names and types of a table's columns, which stand behind the data that `CONTENT` is of."""
TENSORS_DIGEST = "tensors_digest"
UNSEALED = "of a table that was written anew by something else"
"""What stands as a table's content until it is known; whoever reads and rewrites the table keeps this."""
STUDY = "study.json"
"""In the folder of a study's results."""
FOOTER = 8
"""Bytes at a parquet file's end: length of the metadata before them, and the format's mark."""

Facts = dict[str, str]


def facts_of(path: Path) -> Facts:
    """Provenance of a table, a safetensors file or a JSON file; of any other file, or one that has none, nothing.

    A file of another suffix, as people name what the tools write, is told by its beginning. Errors of the libraries
    that read it pass through.
    """
    form = path.suffix if path.suffix in (".parquet", ".safetensors", ".json") else _form(path)
    if form == ".parquet":
        found = pq.read_metadata(path).metadata or {}
        return {key.decode(): value.decode() for key, value in found.items() if key not in (b"pandas", b"ARROW:schema")}
    if form == ".safetensors":
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > path.stat().st_size:
                raise ValueError("the header is longer than the file")
            return dict(json.loads(file.read(length)).get("__metadata__") or {})
    beside = beside_json(path)
    return dict(json.loads(beside.read_bytes())) if form == ".json" and beside.is_file() else {}


def _form(path: Path) -> str:
    with path.open("rb") as file:
        begins = file.read(9)
    return ".parquet" if begins.startswith(b"PAR1") else ".safetensors" if begins[7:] == b"\0{" else ""


def beside_json(path: Path) -> Path:
    """The hidden file that holds the provenance of a JSON file."""
    return path.with_name(f".{path.name}.provenance")


def content_of(path: Path) -> str | None:
    """Digest of an artefact's content as it was written, without its provenance; None where none is known."""
    if path.suffix == ".json":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    facts = facts_of(path)
    return facts.get(CONTENT) or facts.get(TENSORS_DIGEST)


def data_digest(path: Path) -> str:
    """sha256 of a parquet file's data, all but the metadata at its end."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(-FOOTER, 2)
        left = file.tell() - struct.unpack("<I", file.read(4))[0]
        file.seek(0)
        while left > 0 and (block := file.read(min(left, 1 << 20))):
            sha.update(block)
            left -= len(block)
    return sha.hexdigest()


def origin(root: Path, output: Path, made_from: Iterable[Path] = ()) -> Facts:
    """Facts for the provenance of a study's artefact: its place, and what it was made from.

    Args:
        root: folder of the study's results.
        output: the artefact; outside of `root` it has no place, and nothing is recorded.
        made_from: other artefacts; those that carry no digest, as PEFT's own files, are told by others beside them.

    Raises:
        UserError: if one of them is damaged.
    """
    place = _below(root, output)
    if place is None:
        return {}
    digests = {}
    for path in made_from:
        inside = _below(root, path)
        if inside and path.is_file():
            try:
                content = content_of(path)
            except Exception as error:  # pyarrow and json raise half a dozen types for a damaged file
                raise changed(path) from error
            if content:
                digests[inside] = content
    return {PLACE: place, INPUTS: json.dumps(digests, sort_keys=True)}


def check(path: Path, facts: Mapping[str, str]) -> None:
    """Holds an artefact's facts against where it lies, and against the files that it was made from, to the first ones.

    Raises:
        UserError: if it belongs elsewhere, or one of them is not what it was made from.
    """
    _check(path, facts, set())


def _check(path: Path, facts: Mapping[str, str], seen: set[Path]) -> None:
    place = facts.get(PLACE)
    if place is None or path in seen:
        return
    seen.add(path)
    root = _root(path, place)
    if root is None:
        home = next((folder for folder in path.parents if (folder / STUDY).is_file()), None)
        if home is None:
            return
        others = [home / place] if (home / place).is_file() else []
        raise UserError(
            f"{path}: holds what belongs to {home / place}, it was copied or exchanged; run again with "
            f"`--forcerun {' '.join(map(str, [path, *others]))}`, which makes it anew with what follows from it."
        )
    for inside, expected in json.loads(facts.get(INPUTS, "{}")).items():
        source = root / inside
        if not source.is_file():
            continue
        try:
            above, found = _remembered(source)
        except Exception as error:  # pyarrow and json raise half a dozen types for a damaged file
            raise changed(source) from error
        _check(source, above, seen)
        if found is not None and found != expected:
            raise UserError(
                f"{path}: was made from another {source} than the one that lies there now; {mending(path)}."
            )


def _remembered(path: Path) -> tuple[Facts, str | None]:
    """Facts and content of a file, read once while it stays as it is: many artefacts share their beginnings."""
    state = path.stat()
    return _read(path.absolute(), state.st_size, state.st_mtime_ns, state.st_ino)


@lru_cache(maxsize=4096)
def _read(path: Path, _size: int, _changed: int, _inode: int) -> tuple[Facts, str | None]:
    return facts_of(path), content_of(path)


def changed(path: Path) -> UserError:
    """What is said of an artefact whose content is not what was written."""
    return UserError(f"{path}: was changed or damaged after it was made; put it back as it was, or {mending(path)}.")


def mending(path: Path) -> str:
    """What to do about an artefact that cannot be used; one of no study has no job that makes it."""
    if any((folder / STUDY).is_file() for folder in path.parents):
        return f"run again with `--forcerun {path}`, which makes it anew with what follows from it"
    return f"move {path} away and run again, only what depends on it is made anew"


def _root(path: Path, place: str) -> Path | None:
    """The study's folder in which a file lies at this place; None where it lies at another."""
    count = len(Path(place).parts)
    whole = path if len(path.parts) >= count else path.absolute()
    return whole.parents[count - 1] if whole.parts[-count:] == Path(place).parts else None


def _below(root: Path, path: Path) -> str | None:
    inside, folder = path.absolute(), root.absolute()
    return inside.relative_to(folder).as_posix() if inside.is_relative_to(folder) else None
