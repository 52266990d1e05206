"""Turns what is wrong with a study file into sentences: what, where, what was expected, the nearest spelling."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

Mistake = tuple[str, str]
"""Path in the file (a.b.0), and the sentence."""


def sentences(error: ValidationError, model: type[BaseModel]) -> list[Mistake]:
    """One (path, sentence) per mistake that the schema found."""
    found: list[Mistake] = []
    for detail in error.errors():
        location = _without_tags(detail["loc"], model)
        path = ".".join(str(part) for part in location) or "the study"
        mistake = (path, _sentence(detail, location, model))
        if mistake not in found:
            found.append(mistake)
    return found


def reference_errors(raw: dict[str, Any], layers: int | None) -> list[Mistake]:
    """Names that point nowhere, layers outside the model, settings that contradict each other.

    Works on plain data, so that these are reported even where other parts of the study are malformed.
    """
    found: list[Mistake] = []

    def section(name: str) -> dict[str, Any]:
        value = raw.get(name)
        return value if isinstance(value, dict) else {}

    def check_reference(path: str, value: Any, kind: str) -> None:
        known = section(kind)
        if isinstance(value, str) and value not in known:
            found.append((path, f"no {kind.rstrip('s')} is named {value!r}{nearest(value, known)}"))

    def check_layers(path: str, value: Any) -> None:
        for layer in value if isinstance(value, list) else [value]:
            if layers is not None and isinstance(layer, int) and not isinstance(layer, bool) and layer >= layers:
                found.append((path, f"layer {layer} does not exist; the base model has layers 0 to {layers - 1}."))

    def check_distinct(path: str, value: Any) -> None:
        if isinstance(value, list):
            for item in dict.fromkeys(str(i) for i in value):
                if [str(i) for i in value].count(item) > 1:
                    found.append((path, f"{item} stands there more than once."))

    def each_organism(path: str, value: Any) -> None:
        for position, name in enumerate(value if isinstance(value, list) else []):
            check_reference(f"{path}.{position}", name, "organisms")

    for name, organism in section("organisms").items():
        if name == "chat_base":
            found.append((f"organisms.{name}", "this name is taken by the chat base; choose another."))
        if isinstance(organism, dict):
            check_reference(f"organisms.{name}.dataset", organism.get("dataset"), "datasets")
            check_layers(f"organisms.{name}.layers", organism.get("layers") or [])
            for key in ("layers", "seeds", "modules"):
                check_distinct(f"organisms.{name}.{key}", organism.get(key))
    for kind in ("datasets", "questions"):
        for name, entry in section(kind).items():
            if isinstance(entry, dict) and entry.get("source") in ("jsonl", "yaml"):
                found += _source_errors(f"{kind}.{name}", entry)

    check_reference("sampling.questions", section("sampling").get("questions"), "questions")
    directions, steering, ablation = section("directions"), section("steering"), section("ablation")
    for name, part in (("directions", directions), ("steering", steering), ("ablation", ablation)):
        check_reference(f"{name}.questions", part.get("questions"), "questions")
        for key in ("layers", "scales", "seeds", "random_layers", "organisms", "targets"):
            check_distinct(f"{name}.{key}", part.get(key))
    if directions.get("source") == "datasets":
        for side in ("bad", "good"):
            if directions.get(side) is None:
                found.append((f"directions.{side}", "is needed when directions.source is datasets."))
            check_reference(f"directions.{side}", directions.get(side), "datasets")
    each_organism("directions.organisms", directions.get("organisms"))
    each_organism("ablation.targets", ablation.get("targets"))
    for name, part in (("steering", steering), ("ablation", ablation)):
        check_reference(f"{name}.source", part.get("source"), "organisms")
        found += _without_direction(name, part, directions, section("organisms"))
    check_layers("steering.layers", steering.get("layers") or [])
    check_layers("steering.random_layers", steering.get("random_layers") or [])
    check_layers("ablation.single_layer", ablation.get("single_layer"))
    source = section("organisms").get(str(steering.get("source")))
    if isinstance(source, dict) and isinstance(steering.get("seeds"), list):
        for seed in steering["seeds"]:
            if isinstance(seed, int) and seed not in (source.get("seeds") or [0]):
                found.append(
                    (
                        "steering.seeds",
                        f"organisms.{steering['source']} has no seed {seed}; it has {source.get('seeds', [0])}.",
                    )
                )
    if steering and steering.get("random_draws", 1) and not steering.get("random_layers"):
        found.append(("steering.random_layers", "is needed when random_draws is above 0."))
    judge = section("judge")
    if isinstance(judge.get("metrics"), list):
        for metric in ("aligned", "coherent"):
            if metric not in judge["metrics"]:
                found.append(("judge.metrics", f"lacks {metric!r}, which every rate needs."))
        check_distinct("judge.metrics", judge["metrics"])
    if isinstance(judge.get("rubrics"), dict):
        found += _source_errors("judge.rubrics", judge["rubrics"])
    if judge.get("source") == "remote":
        found += _remote_errors(judge)
    return found


def nearest(word: str, known: Iterable[str]) -> str:
    """'; did you mean …?' for the closest known word, else the list of what there is."""
    options = [str(option) for option in known]
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there is {', '.join(options)}." if options else "; there is none."


def _source_errors(path: str, entry: dict[str, Any]) -> list[Mistake]:
    if not entry.get("path") and not entry.get("url"):
        return [(path, "needs a path or a url.")]
    if entry.get("url") and not entry.get("path") and not entry.get("sha256"):
        return [(f"{path}.sha256", "is needed beside a url, so that the file can be checked.")]
    return []


def _remote_errors(judge: dict[str, Any]) -> list[Mistake]:
    found = []
    model = judge.get("model")
    if isinstance(model, str) and not all(model.partition("/")):
        found.append(("judge.model", f"{model!r} lacks its provider, e.g. openai/{model.strip('/')}."))
    if judge.get("budget_usd") is not None and judge.get("prices") is None:
        found.append(("judge.prices", "is needed beside budget_usd; give input_per_million in US dollars."))
    return found


def _without_direction(
    name: str, part: dict[str, Any], directions: dict[str, Any], organisms: dict[str, Any]
) -> list[Mistake]:
    """Organisms used as a source or target whose direction the study does not take."""
    listed = directions.get("organisms")
    targets = part.get("targets") if isinstance(part.get("targets"), list) else []
    found = []
    for path, organism in [(f"{name}.source", part.get("source"))] + [(f"{name}.targets", t) for t in targets]:
        entry = organisms.get(str(organism))
        if not isinstance(entry, dict):
            continue
        taken = organism in listed if isinstance(listed, list) else entry.get("expect_misaligned", True)
        if not taken:
            found.append((path, f"no direction is taken of {organism!r}; add it to directions.organisms."))
    return found


def _sentence(detail: Any, location: tuple[Any, ...], model: type[BaseModel]) -> str:
    kind, given, context = detail["type"], detail.get("input"), detail.get("ctx", {})
    if kind == "extra_forbidden":
        return f"is not a setting here{nearest(str(location[-1]), _settings_at(location[:-1], model))}"
    if kind == "missing":
        return "is missing and has no default."
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        tags = [tag.strip(" '") for tag in str(context.get("expected_tags", "")).split(",")]
        if kind == "union_tag_not_found":
            return f"needs `source`, one of {', '.join(filter(None, tags))}."
        return f"source {context.get('tag')!r} is unknown{nearest(str(context.get('tag')), tags)}"
    if kind == "literal_error":
        options = [option.strip(" '") for option in context["expected"].replace(" or ", ", ").split(",")]
        return f"{given!r} is not one of {context['expected']}{_guess(given, options)}."
    if kind == "string_pattern_mismatch" and location[-1] == "key_env":  # never shown: it may be the key itself
        return "is not the name of an environment variable in capitals; the key itself belongs into the environment."
    if kind == "string_pattern_mismatch" and location[-1] == "base_url":  # never shown: it may hold a password
        return "is not a plain http(s) address without user, password, ? and #."
    if kind == "string_pattern_mismatch":
        if "0-9a-f" in context["pattern"]:
            return f"{given!r} is not a sha256 (64 lower-case hexadecimal digits)."
        return f"{given!r} is not a name; use letters, digits, _ and -, beginning with a letter or digit."
    expected = {
        "int_type": "a whole number",
        "float_type": "a number",
        "bool_type": "true or false",
        "string_type": "text",
        "list_type": "a list",
        "dict_type": "a mapping",
        "model_type": "a section with settings",
        "finite_number": "a finite number",
    }.get(kind)
    shown = repr(given) if not isinstance(given, dict | list) else type(given).__name__
    if expected:
        return f"{shown} is not {expected}."
    bounds = {"greater_than": "above {gt}", "greater_than_equal": "at least {ge}", "less_than": "below {lt}",
              "less_than_equal": "at most {le}", "multiple_of": "a multiple of {multiple_of}"}  # fmt: skip
    if kind in bounds:
        return f"{shown} is not allowed; it must be {bounds[kind].format(**context)}."
    if kind == "too_short":
        return f"needs at least {context.get('min_length', 1)} entry."
    return f"{detail['msg'][0].lower()}{detail['msg'][1:]}, got {shown}."


def _guess(given: Any, options: list[str]) -> str:
    close = difflib.get_close_matches(str(given), options, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _without_tags(location: tuple[Any, ...], model: type[BaseModel]) -> tuple[Any, ...]:
    """pydantic puts the union's tag and `[key]` into the location; the file has neither."""
    kept: list[Any] = []
    annotation: Any = model
    for part in location:
        if part == "[key]":
            continue
        members = [m for m in _members(annotation) if isinstance(m, type) and issubclass(m, BaseModel)]
        if len(members) > 1 and any(_tag(member) == part for member in members):
            annotation = next(member for member in members if _tag(member) == part)
            continue
        kept.append(part)
        annotation = _inside(annotation, part)
    return tuple(kept)


def _settings_at(location: tuple[Any, ...], model: type[BaseModel]) -> list[str]:
    """Names of the settings that a section at this place may have."""
    annotation: Any = model
    for part in location:
        annotation = _inside(annotation, part)
    members = [m for m in _members(annotation) if isinstance(m, type) and issubclass(m, BaseModel)]
    return list(dict.fromkeys(name for member in members for name in member.model_fields))


def _inside(annotation: Any, part: Any) -> Any:
    for member in _members(annotation):
        if isinstance(member, type) and issubclass(member, BaseModel) and part in member.model_fields:
            return member.model_fields[part].annotation
        if get_origin(member) in (dict, list):
            return get_args(member)[-1]
    return None


def _members(annotation: Any) -> list[Any]:
    """The alternatives of a (possibly annotated) union."""
    if get_origin(annotation) in (Union, types.UnionType):
        return [m for argument in get_args(annotation) for m in _members(argument)]
    if hasattr(annotation, "__metadata__"):
        return _members(get_args(annotation)[0])
    return [annotation]


def _tag(model: type[BaseModel]) -> Any:
    source = model.model_fields.get("source")
    return get_args(source.annotation)[0] if source else None
