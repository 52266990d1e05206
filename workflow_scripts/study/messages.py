"""What the schema finds wrong with a study file, as sentences: what was expected, and the nearest spelling."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import Tag, ValidationError

from workflow_scripts.runtime.spelling import nearest
from workflow_scripts.study.checks import MOST_MISTAKES
from workflow_scripts.study.fields import Mistake
from workflow_scripts.study.kinds import Kind, alternatives, inside, plain_members, sections_of, sources_of

EXPECTED = {
    "int_type": "a whole number", "float_type": "a number", "finite_number": "a finite number",
    "bool_type": "true or false", "string_type": "text", "list_type": "a list", "dict_type": "a mapping",
    "model_type": "a section with settings", "model_attributes_type": "a section with settings",
}  # fmt: skip
BOUNDS = {
    "greater_than": "above {gt}", "greater_than_equal": "at least {ge}", "less_than": "below {lt}",
    "less_than_equal": "at most {le}", "multiple_of": "a multiple of {multiple_of}",
}  # fmt: skip


def sentences(error: ValidationError, kind: Kind) -> list[Mistake]:
    """One (path, sentence) per mistake that the schema found in a value of this kind."""
    found: dict[Mistake, None] = {}
    expected: dict[str, list[str]] = {}
    for detail in error.errors()[:MOST_MISTAKES]:
        location = _without_tags(detail["loc"], kind)
        if detail["loc"][-1:] == ("[key]",):
            location = (*location[:-1], detail["input"])  # a key true is no 1, though they are equal
        path = ".".join(str(part) for part in location) or "the study"
        if len(plain_members(_at(location, kind))) > 1 and detail["type"] in EXPECTED:
            expected.setdefault(path, []).append(EXPECTED[detail["type"]])
            found[path, f"{_shown(detail.get('input'))} is not {' or '.join(expected[path])}."] = None
            found.pop((path, f"{_shown(detail.get('input'))} is not {' or '.join(expected[path][:-1])}."), None)
        else:
            found[path, _sentence(detail, location, kind)] = None
    within = [path for path in expected if any(other.startswith(f"{path}.") for other, _ in found)]
    return [(path, sentence) for path, sentence in found if path not in within]


def _sentence(detail: Any, location: tuple[Any, ...], kind: Kind) -> str:
    error, given, context = detail["type"], detail.get("input"), detail.get("ctx", {})
    shown = _shown(given)
    if error == "invalid_key" or (error == "string_type" and "[key]" in detail["loc"]):
        return f"the name {given!r} is not text; put it in quotes."
    if error == "extra_forbidden":
        sections = sections_of(_at(location[:-1], kind))
        settings = dict.fromkeys(name for section in sections for name in section.model_fields)
        return f"is not a setting here{nearest(str(location[-1]), settings)}"
    if error == "missing":
        return "is missing and has no default."
    if error == "union_tag_not_found":
        sources = [source for section in sections_of(_at(location, kind)) for source in sources_of(section)]
        return f"needs `source`, one of {', '.join(sources)}."
    if error == "union_tag_invalid":
        return f"source {context['tag']!r} is unknown{nearest(str(context['tag']), _listed(context['expected_tags']))}"
    if error == "literal_error":
        options = _listed(context["expected"].replace(" or ", ", "))
        close = difflib.get_close_matches(str(given), options, n=1, cutoff=0.6)
        return f"{given!r} is not one of {context['expected']}{f'; did you mean {close[0]!r}?' if close else '.'}"
    if error == "string_pattern_mismatch":
        return _pattern_sentence(shown, location[-1], context["pattern"])
    if error == "string_unicode":
        return "holds half a character (a lone surrogate), which cannot be stored."
    if error == "string_too_long":
        return f"has {len(str(given)):,} characters; it may have {context['max_length']:,}."
    if error in EXPECTED:
        return f"{shown} is not {EXPECTED[error]}."
    if error in BOUNDS:
        return f"{shown} is not allowed; it must be {BOUNDS[error].format(**context)}."
    if error == "too_short":
        return f"needs at least {context.get('min_length', 1)} entry."
    return f"{detail['msg'][0].lower()}{detail['msg'][1:]}, got {shown}."


def _shown(given: Any) -> str:
    return f"{given!r:.200}" if not isinstance(given, dict | list) else type(given).__name__


def _pattern_sentence(shown: str, setting: Any, pattern: str) -> str:
    if setting == "key_env":  # never shown: it may be the key itself
        return "is not the name of an environment variable in capitals; the key itself belongs into the environment."
    if setting == "base_url":  # never shown: it may hold a password
        return "is not a plain http(s) address without user, password, ? and #."
    if "{40}" in pattern:
        return f"{shown} is not a commit (40 lower-case hexadecimal digits)."
    if "0-9a-f" in pattern:
        return f"{shown} is not a sha256 (64 lower-case hexadecimal digits)."
    if "x00" in pattern:
        return f"{shown:.200} {'is empty or ' if pattern.endswith('+$') else ''}holds control characters."
    if "/" in pattern:
        form = "owner/name, as in Qwen/Qwen2.5-14B-Instruct" if "*/[" in pattern else "a commit, branch or tag"
        return f"{shown} is not {form}, of letters, digits, ., _ and -."
    return f"{shown} is not a name; use letters, digits, _ and -, beginning with a letter or digit."


def _listed(quoted: str) -> list[str]:
    """Items of pydantic's list of what it expects: 'a', 'b'."""
    return [item.strip(" '") for item in quoted.split(",")]


def _at(location: tuple[Any, ...], kind: Kind) -> Kind:
    for part in location:
        kind = inside(kind, part)
    return kind


def _without_tags(location: tuple[Any, ...], kind: Kind) -> tuple[Any, ...]:
    """pydantic puts the union's tag and `[key]` into the location; the file has neither."""
    kept: list[Any] = []
    chosen = False
    for part in location:
        if part == "[key]":
            continue
        members = [member for member, marks in alternatives(kind) if Tag(str(part)) in marks]
        if members:
            kind = members[0]
            continue
        if len(plain_members(kind)) > 1 and not chosen:
            chosen = True
            continue
        chosen = False
        sections = sections_of(kind)
        tagged = [section for section in sections if len(sections) > 1 and part in sources_of(section)]
        if tagged:
            kind = tagged[0]
        else:
            kept.append(part)
            kind = inside(kind, part)
    return tuple(kept)
