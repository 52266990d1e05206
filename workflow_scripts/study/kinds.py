"""What the schema lets stand at a place of a study."""

from __future__ import annotations

import types
from functools import cache
from typing import Any, Union, get_args, get_origin

from workflow_scripts.study.fields import Section

Kind = Any
"""The annotation of a setting."""


def origin_of(kind: Kind) -> Any:
    """`list` of a list of something, `Literal` of choices; None of a plain kind."""
    return get_origin(kind)


@cache
def alternatives(kind: Kind) -> tuple[tuple[Kind, tuple[Any, ...]], ...]:
    """Members of a union, each with what is annotated to it; of any other kind, itself."""
    if origin_of(kind) in (Union, types.UnionType):
        return tuple(found for member in get_args(kind) for found in alternatives(member))
    if hasattr(kind, "__metadata__"):
        inner, *outer = get_args(kind)
        return tuple((member, (*own, *outer)) for member, own in alternatives(inner))
    return ((kind, ()),)


@cache
def settings_of(section: type[Section]) -> dict[str, Kind]:
    """The kind of each setting of a section."""
    return {name: field.rebuild_annotation() for name, field in section.model_fields.items()}


@cache
def sections_of(kind: Kind) -> tuple[type[Section], ...]:
    """The kinds of section that may stand there."""
    return tuple(member for member, _ in alternatives(kind) if isinstance(member, type) and issubclass(member, Section))


def plain_members(kind: Kind) -> list[Kind]:
    """Kinds that may stand there, where none is a section."""
    members = [member for member, _ in alternatives(kind) if member is not type(None)]
    return [] if sections_of(kind) else members


def sources_of(section: type[Section]) -> tuple[str, ...]:
    """Values of `source` that make a section one of this kind; none where there is only one kind."""
    field = section.model_fields.get("source")
    return get_args(field.annotation) if field else ()


def has_sources(kind: Kind) -> bool:
    """Whether the setting `source` decides which kind of section stands there."""
    return len(sections_of(kind)) > 1


def is_a(container: type, kind: Kind) -> bool:
    """Whether a mapping (dict) or list may stand there."""
    return any(origin_of(member) is container for member, _ in alternatives(kind))


def inside(kind: Kind, part: Any) -> Kind:
    """The kind of a setting, entry or item; None where there is no such."""
    for member, _ in alternatives(kind):
        if origin_of(member) in (dict, list):
            return get_args(member)[-1]
    found = (settings_of(section) for section in sections_of(kind))
    return next((settings[part] for settings in found if part in settings), None)
