"""How the checks of a study run; each stands beside the settings that it checks.

A check of one setting is written into its type (`Check`, `OnDisk`); one that holds several against each other is a
method `check_…` of their section, which yields paths within it and sentences. All read the typed study. Of a malformed
file they see what is well-formed: the rest is absent, and a check that reads what is absent ends there, for the schema
has said so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import ConfigDict, TypeAdapter, ValidationError

from workflow_scripts.runtime.spelling import nearest
from workflow_scripts.study.fields import Mistake, Section
from workflow_scripts.study.kinds import (
    Kind,
    alternatives,
    inside,
    is_a,
    origin_of,
    sections_of,
    settings_of,
    sources_of,
)

if TYPE_CHECKING:
    from workflow_scripts.study.schema import Study


@dataclass(frozen=True)
class Check:
    """What may be wrong with a value beside its form, as sentences."""

    find: Callable[[Any, Study], Iterator[str]]

    def mistakes(self, value: Any, study: Study) -> Iterator[Mistake]:
        yield from (("", sentence) for sentence in self.find(value, study))


@dataclass(frozen=True)
class OnDisk:
    """A path that must be there when the study runs."""

    folder: bool


FILE, FOLDER = OnDisk(folder=False), OnDisk(folder=True)


def mistakes_of(study: Study) -> list[Mistake]:
    """What the checks find in a study, which may be `well_formed` of a malformed one."""
    found: dict[Mistake, None] = {}
    for place, marks, value in _values("", type(study), study):
        checks = [mark.mistakes(value, study) for mark in marks if isinstance(mark, Check)]
        if isinstance(value, Section):
            checks += [getattr(value, name)(study) for name in _checks_of(type(value))]
        for check in checks:
            try:
                for within, sentence in check:
                    if len(found) == MOST_MISTAKES:
                        return list(found)
                    found[f"{place}.{within}" if within else place, sentence] = None
            except AttributeError as error:
                if not isinstance(error.obj, Section):
                    raise
    return list(found)


def missing_files(study: Study) -> list[Mistake]:
    """Local files and folders that a valid study names and that are not there, for a look before anything runs."""
    named = [(path, mark, Path(value)) for path, marks, value in _values("", type(study), study)
             for mark in marks if isinstance(mark, OnDisk)]  # fmt: skip
    found = []
    for path, mark, place in named:
        try:
            if place.is_dir() if mark.folder else place.is_file():
                next(place.iterdir(), None) if mark.folder else place.open("rb").close()
                continue
            what = "does not exist" if not place.exists() else f"is not a {'folder' if mark.folder else 'file'}"
            siblings = [file.name for file in place.parent.iterdir()] if place.parent.is_dir() else []
            close = nearest(place.name, siblings) if not place.exists() else "."
        except OSError as error:
            what, close = f"cannot be read, {error.strerror}", "."
        found.append(
            (path, f"{place!s:.200} {what} (looked from {Path.cwd()}){close if 'did you mean' in close else '.'}")
        )
    return found


def well_formed(kind: Kind, value: Any) -> Any:
    """What of a value given as plain data is of its kind: sections lack the settings that are not.

    Entries keep their names, and items their positions, even where nothing of them is well-formed.

    Raises:
        ValidationError: if it is no section, nor a mapping or list of sections, and not of its kind.
    """
    sections = sections_of(kind)
    plain = any(member not in (*sections, type(None)) for member, _ in alternatives(kind))
    if sections and not (plain and not isinstance(value, dict)):
        optional = any(member is type(None) for member, _ in alternatives(kind))
        return None if value is None and optional else _well_formed_section(sections, value)
    if sections_of(inner := inside(kind, "")):
        if isinstance(value, dict) and is_a(dict, kind):
            return {name: well_formed(inner, entry) for name, entry in value.items() if isinstance(name, str)}
        if isinstance(value, list) and is_a(list, kind):
            return [well_formed(inner, entry) for entry in value]
    try:
        return _reader(kind).validate_python(value)
    except ValidationError as error:
        if all(detail["type"] == "string_pattern_mismatch" for detail in error.errors()):
            return value  # still a text, whose nearest right spelling can be told
        raise


@cache
def _checks_of(section: type[Section]) -> tuple[str, ...]:
    """Names of a section's own checks."""
    return tuple(name for name in dir(section) if name.startswith("check_"))


@cache
def _reader(kind: Kind) -> TypeAdapter[Any]:
    return TypeAdapter(kind, config=ConfigDict(strict=True, allow_inf_nan=False))


def unknown(what: str, name: str, known: Iterable[str]) -> Iterator[str]:
    """A name that no entry has."""
    if name not in (names := list(known)):
        yield f"no {what} is named {name!r}{nearest(name, names)}"


def needs_one(what: str, otherwise: str = "all") -> Check:
    """A list that is left out to mean something else, and may not be empty."""
    sentence = f"names no {what}; leave it out to mean {otherwise}, or name one."
    return Check(lambda listed, _: iter(() if listed else (sentence,)))


MOST_ENTRIES = 1000
"""Of a list or of sections with names: every organism, scale or seed is many jobs."""


MOST_MISTAKES = 200
"""That are looked for: the nearest right spelling of each takes its time."""


def _few(entries: Sized) -> Iterator[str]:
    if len(entries) > MOST_ENTRIES:
        yield f"has {len(entries):,} entries; at most {MOST_ENTRIES:,} can be run."


def _distinct(listed: list[Any], _: Study) -> Iterator[str]:
    yield from _few(listed)
    shown = [f"{item or 0.0:g}" if isinstance(item, float) else str(item) for item in listed]  # -0.0 is 0.0
    for name in [name for name, times in Counter(shown).items() if times > 1]:
        alike = dict.fromkeys(item for item, as_shown in zip(listed, shown, strict=True) if as_shown == name)
        if len(alike) == 1:
            yield f"{name} stands there more than once."
        else:
            yield f"{' and '.join(map(repr, alike))} are both called {name}; let them differ in six digits."


def _apart(entries: dict[str, Any], _: Study) -> Iterator[str]:
    yield from _few(entries)
    spelt: dict[str, str] = {}
    for name in entries:
        if (other := spelt.setdefault(name.lower(), name)) != name:
            yield f"{other!r} and {name!r} differ only in case, which some file systems do not tell apart; rename one."


DISTINCT = Check(_distinct)
"""A list that can be run: no item stands there twice, nor two numbers that names of conditions and files do not tell
apart."""
APART = Check(_apart)
"""Entries that can be run: their names differ by more than their case."""


def _path(place: str, part: Any) -> str:
    return f"{place}.{part}" if place else str(part)


def _values(place: str, kind: Kind, value: Any) -> Iterator[tuple[str, tuple[Any, ...], Any]]:
    """Every value that is not None, names of entries included: its path, what is annotated to its kind, itself."""
    if value is None:
        return
    marks = tuple(mark for member, own in alternatives(kind) if _may_be(value, member) for mark in own)
    yield place, marks, value
    if isinstance(value, Section):
        for name, setting in settings_of(type(value)).items():
            if name in value.__dict__:
                yield from _values(_path(place, name), setting, value.__dict__[name])
    elif isinstance(value, dict | list) and len(value) > MOST_ENTRIES:
        return  # told of the whole
    elif isinstance(value, dict):
        names = next(get_args(member)[0] for member, _ in alternatives(kind) if origin_of(member) is dict)
        for name, entry in value.items():
            yield from _values(_path(place, name), names, name)
            yield from _values(_path(place, name), inside(kind, name), entry)
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from _values(_path(place, position), inside(kind, position), item)


def _may_be(value: Any, member: Kind) -> bool:
    """Whether a value can be of a union's member, where some members are sections."""
    section = isinstance(member, type) and issubclass(member, Section)
    return isinstance(value, Section) == section


def _well_formed_section(kinds: Sequence[type[Section]], value: Any) -> Section:
    """A section without the settings that are malformed; of no kind at all where its source is unknown."""
    raw = value if isinstance(value, dict) else {}
    named = [kind for kind in kinds if len(kinds) == 1 or raw.get("source") in sources_of(kind)]
    model = named[0] if named else Section
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        try:
            if name in raw:
                found[name] = well_formed(settings_of(model)[name], raw[name])
            elif isinstance(value, dict) and not field.is_required():
                found[name] = field.get_default(call_default_factory=True, validated_data={})
        except ValidationError:
            continue
    made = model.model_construct(**found)
    for name in model.model_fields.keys() - found.keys():
        made.__dict__.pop(name, None)
    return made
