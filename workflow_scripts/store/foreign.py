"""Files of others: whatever a library raises on one becomes one sentence that names it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workflow_scripts.runtime.command import OUT_OF_SPACE, error_number
from workflow_scripts.runtime.errors import UserError

LONGEST_REASON = 200
"""Characters of what a library says."""
LARGEST_JSON = 200_000_000
"""Bytes; the largest tokenizers have a tenth."""


@contextmanager
def foreign(sentence: str) -> Iterator[None]:
    """Turns whatever a library raises on a file of others into a sentence, with the library's own reason.

    A file that nobody checked can make a library raise anything, an IndexError as well as its own kinds. Left alone are
    our own sentences, and a disk that is full.

    Args:
        sentence: what the file is not, without its end: `my-model: is no model`.
    """
    try:
        yield
    except UserError:
        raise
    except BaseException as error:
        panicked = type(error).__name__ == "PanicException"  # of a library in Rust
        if not (panicked or isinstance(error, Exception)) or (
            isinstance(error, Exception) and error_number(error) in OUT_OF_SPACE
        ):
            raise
        raise UserError(f"{sentence} ({reason(error)}).") from error


def reason(error: BaseException) -> str:
    """What an error says, on one line and cut short; its type where it says nothing, or only a name."""
    text = " ".join(re.sub(r"[^\x20-\x7e\xa0-\ud7ff]+", " ", str(error)).split()).rstrip(". ")
    named = text if " " in text else f"{type(error).__name__} {text}".strip()
    return named if len(named) <= LONGEST_REASON else f"{named[:LONGEST_REASON]}…"


def read_foreign_json(file: Path, sentence: str = "") -> dict[str, Any]:
    """The object in a JSON file of others.

    Args:
        file: a plain file; pipes and devices are not read.
        sentence: as of `foreign`; the file's name when absent.

    Raises:
        UserError: if it is no such file, or holds no JSON object.
    """
    with foreign(sentence or f"{file}: is no JSON"):
        if not file.is_file():
            raise ValueError("it is not a plain file" if file.exists() else "it does not exist")
        if file.stat().st_size > LARGEST_JSON:
            raise ValueError(f"it has more than {LARGEST_JSON:,} bytes")
        found = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise TypeError("it holds no JSON object")
        return found
