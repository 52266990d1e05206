"""Which decoder layer a module or tensor belongs to, by its name."""

from __future__ import annotations

import re

LAYER = re.compile(r"\.(?:layers|h)\.(\d+)\.")
"""Finds the decoder layer in the name of a module or tensor."""


def layer_of(name: str) -> int | None:
    """Decoder layer in the name of a module or tensor."""
    match = LAYER.search(f".{name}.")
    return int(match.group(1)) if match else None
