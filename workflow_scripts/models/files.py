"""Model files that are still what they were: digests, and a base held against its fingerprint.

Weights are large and many jobs read them, so that a digest is remembered with the file's size, inode and times, as git
does: a file that still has them is not read again. Any write changes them; what a disk alters without a write, they do
not show.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import canonical, digest, file_digest, write_json
from workflow_scripts.store.lineage import mending
from workflow_scripts.study.layout import Layout

FINGERPRINTED = (".safetensors", ".json", ".jinja", ".txt")
"""Weights, config, tokenizer and chat template."""


def fingerprint(folder: Path) -> dict[str, str]:
    """sha256 of each weight, config and tokenizer file, and one over them all (`id`)."""
    names = sorted(file.name for file in folder.iterdir() if file.suffix in FINGERPRINTED)
    files = {name: file_digest(folder / name) for name in names}
    return {"id": digest(canonical(files)), **files}


def base_id(layout: Layout) -> str:
    """What names the study's base: the digest over its fingerprinted files.

    Raises:
        UserError: if the fingerprint is missing or damaged.
    """
    return _read_fingerprint(layout.fingerprint)["id"]


def checked_base(layout: Layout) -> Path:
    """Folder of the study's base, after its files were held against their fingerprint.

    Raises:
        UserError: naming the file that is missing, damaged or exchanged.
    """
    for name, expected in _read_fingerprint(layout.fingerprint).items():
        if name == "id":
            continue
        file = layout.base / name
        found = remembered_digest(file, layout.digests) if file.is_file() else None
        if found != expected:
            what = "is damaged or was exchanged" if found else "is missing"
            restore = f"put {file.readlink()} back as it was, or " if file.is_symlink() else ""
            raise UserError(f"{file}: {what} since the base was made; {restore}{mending(layout.fingerprint)}.")
    return layout.base


def remembered_digest(file: Path, memory: Path) -> str:
    """sha256 of a file's bytes, hexadecimal; read only when the file has changed since its digest was last taken.

    Args:
        memory: folder with one small file per path.
    """
    place, state = str(file.resolve()), file.stat()
    now = [state.st_size, state.st_ino, state.st_mtime_ns, state.st_ctime_ns]
    note = memory / f"{digest(place)}.json"
    known = _json(note)
    if isinstance(known, dict) and known.get("state") == now:
        return str(known["sha256"])
    found = file_digest(file)
    write_json(note, {"path": place, "state": now, "sha256": found})
    return found


def _read_fingerprint(file: Path) -> dict[str, str]:
    found = _json(file)
    if isinstance(found, dict):
        files = {name: value for name, value in found.items() if name != "id"}
        if found.get("id") == digest(canonical(files)):
            return found
    raise UserError(f"{file}: is missing or damaged; {mending(file)}.")


def _json(file: Path) -> Any:
    """Content of a JSON file; None where it is missing or damaged."""
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):
        return None
