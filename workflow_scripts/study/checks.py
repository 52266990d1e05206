"""Checks on a study given as plain data that its sections share; each yields what is wrong, with its place.

They hold on malformed studies too: what is not of the expected kind is passed over, the schema says so already.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from workflow_scripts.runtime.spelling import nearest

Mistake = tuple[str, str]
"""Path in the file (a.b.0), and the sentence."""
Plain = dict[str, Any]


def section(raw: Plain, name: str) -> Plain:
    """A section, empty where there is none."""
    found = raw.get(name)
    return found if isinstance(found, dict) else {}


def listed(value: Any) -> list[Any]:
    """A list, empty where it is none."""
    return value if isinstance(value, list) else []


def organism_settings(raw: Plain, name: Any) -> Plain | None:
    """Settings of an organism, None where there is none of that name."""
    found = section(raw, "organisms").get(str(name))
    return found if isinstance(found, dict) else None


def reference(raw: Plain, kind: str, path: str, value: Any) -> Iterator[Mistake]:
    """A name that no entry of the section `kind` has."""
    known = section(raw, kind)
    if isinstance(value, str) and value not in known:
        yield path, f"no {kind.rstrip('s')} is named {value!r}{nearest(value, known)}"


def direction_taken(raw: Plain, path: str, name: Any) -> Iterator[Mistake]:
    """An organism that is there, but whose direction the study does not take."""
    settings, chosen = organism_settings(raw, name), section(raw, "directions").get("organisms")
    if settings is None:
        return
    taken = name in chosen if isinstance(chosen, list) else settings.get("expect_misaligned", True)
    if not taken:
        yield path, f"no direction is taken of {name!r}; add it to directions.organisms."


def seed_trained(raw: Plain, path: str, name: Any, seed: Any) -> Iterator[Mistake]:
    """A fine-tuning seed that an organism does not have."""
    settings = organism_settings(raw, name)
    trained = settings.get("seeds", [0]) if settings else None
    if isinstance(trained, list) and isinstance(seed, int) and seed not in trained:
        yield path, f"organisms.{name} has no seed {seed}; it has {', '.join(str(known) for known in trained)}."


def layers_exist(path: str, value: Any, layers: int | None) -> Iterator[Mistake]:
    """A decoder layer, or layers of a list, outside the base; `layers` is None where their number is not known."""
    for layer in value if isinstance(value, list) else [value]:
        if layers is not None and isinstance(layer, int) and not isinstance(layer, bool) and layer >= layers:
            yield path, f"layer {layer} does not exist; the base model has layers 0 to {layers - 1}."


def distinct(path: str, value: Any) -> Iterator[Mistake]:
    """Entries that stand in a list more than once."""
    shown = [str(item) for item in listed(value)]
    for item in dict.fromkeys(shown):
        if shown.count(item) > 1:
            yield path, f"{item} stands there more than once."
