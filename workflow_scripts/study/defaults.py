"""Every setting of a study with its default and its meaning, as YAML, told from the schema."""

from __future__ import annotations

import textwrap
from typing import Literal, get_args

import yaml
from pydantic.fields import FieldInfo

from workflow_scripts.study.fields import Section
from workflow_scripts.study.kinds import Kind, alternatives, inside, is_a, origin_of, sections_of, settings_of
from workflow_scripts.study.schema import Study

HEAD = """\
Every setting of a study with its default, by `python -m workflow_scripts.study defaults`. It is no study itself: <name>
stands for any name, a list of sections for a choice between them by `source`, or for as many of a kind as are wanted.
"""


def defaults() -> str:
    """The text; a setting that has no default is null in it."""
    return "\n".join([*_comment(HEAD), *_settings(Study)])


def _settings(section: type[Section]) -> list[str]:
    lines: list[str] = []
    for name, field in section.model_fields.items():
        kind = settings_of(section)[name]
        below = [f"  {line}" for line in _below(kind)]
        lines += [*[""][: section is Study], *_comment(_meaning(field, kind, optional=bool(below)))]
        lines += [f"{name}:", *below] if below else [f"{name}: {_default(field)}".rstrip()]
    return lines


def _below(kind: Kind) -> list[str]:
    """The sections that stand below a setting; none below a plain one."""
    sections, entries = sections_of(kind), inside(kind, "")
    if len(sections) == 1:
        return _settings(sections[0])
    if not sections and is_a(dict, kind) and sections_of(entries):
        return ["<name>:", *(f"  {line}" for line in _below(entries))]
    return [line for section in sections or sections_of(entries) for line in _item(section)]


def _item(section: type[Section]) -> list[str]:
    first, *others = [*_comment(section.__doc__ or ""), *_settings(section)]
    return [f"- {first}", *(f"  {line}" for line in others)]


def _meaning(field: FieldInfo, kind: Kind, optional: bool) -> str:
    choices = [get_args(member) for member, _ in alternatives(kind) if origin_of(member) is Literal]
    sections = () if is_a(list, kind) else sections_of(kind) or sections_of(inside(kind, ""))
    notes = [field.description, sections[0].__doc__ if len(sections) == 1 else None]
    notes += [f"One of {', '.join(options)}." for options in choices if len(options) > 1]
    if field.is_required() and not any(len(options) == 1 for options in choices):
        notes.append("Needed.")
    elif optional and field.default is None:
        notes.append("Absent by default.")
    return " ".join(filter(None, notes))


def _default(field: FieldInfo) -> str:
    """The default as YAML; of a setting with only one choice, that."""
    if field.is_required():
        choices = get_args(field.annotation) if origin_of(field.annotation) is Literal else ()
        return choices[0] if len(choices) == 1 else ""
    return yaml.safe_dump([field.default], default_flow_style=True, allow_unicode=True, width=10**6).strip()[1:-1]


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(" ".join(text.split()), 112)]
