"""Studies with one setting changed, and the specs of all their jobs."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache
from typing import Any

from pydantic import ValidationError

from workflow_scripts.experiments import asked
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import canonical
from workflow_scripts.study import conditions
from workflow_scripts.study.reading import parse
from workflow_scripts.study.schema import Study
from workflow_scripts.study.specs import spec

SINGLE = (
    "base",
    "base_means",
    "side_effects",
    "preflight",
    "judging",
    "judgements",
    "summary",
    "claims",
    "figures",
    "browser",
    "report",
)
Place = tuple[str | int, ...]


def specs_of_all_jobs(study: Study) -> dict[tuple[str, ...], str]:
    jobs: list[tuple[str, ...]] = [(stage,) for stage in SINGLE]
    jobs += [("datasets", name) for name in study.datasets]
    jobs += [("questions", name) for name in study.questions]
    jobs += [("published_adapters", name) for name in conditions.hub_organisms(study)]
    jobs += [("organisms", subject) for subject in conditions.adapter_subjects(study)]
    jobs += [("imported_directions", name) for name in conditions.given_directions(study)]
    jobs += [("trait_directions", trait) for trait in (study.traits.named if study.traits else ())]
    jobs += [("trained_vectors", subject) for subject in conditions.vector_subjects(study)]
    jobs += [("directions", subject) for subject in conditions.direction_subjects(study)]
    if study.directions.also:
        jobs += [("other_directions", subject) for subject in conditions.direction_subjects(study)]
    jobs += [("topic_directions", subject) for subject in [conditions.topic_subject(study)] if subject]
    jobs += [("downstream", subject) for subject in conditions.single_adapter_subjects(study)]
    jobs += [("adapter_losses", subject) for subject in conditions.narrow_subjects(study)]
    jobs += [("edits", subject) for subject in conditions.edited_subjects(study)]
    for subject in [conditions.subject_of(study.adapters, study)] if study.adapters else []:
        jobs += [("scalars", subject), ("probes", subject)]
        jobs += [("patched_responses", subject)] if study.adapters.patching else []
    for battery in conditions.sampled_batteries(study):
        jobs += [("sampling", battery)]
        jobs += [("responses", battery, subject) for subject in conditions.battery_subjects(study, battery)]
    tables = {(name,): canonical(made.slice(study)) for name, made in asked(study).items()}
    return tables | {job: spec(job[0], study, *job[1:]) for job in jobs}


def valid(raw: Any) -> Study | None:
    """A study given as plain data, None where it is not valid: cheaper than `parse`, which words every mistake."""
    try:
        Study.model_validate(raw)
        return parse(raw, "study.yaml")
    except (ValidationError, UserError):
        return None


def optional_sections(*kept: str) -> list[str]:
    """Sections that a study may leave out, but for those that are kept."""
    return [name for name, field in Study.model_fields.items() if field.default is None and name not in kept]


def leaves(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    if isinstance(value, dict | list) and value:
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*place, key))
    else:
        yield place, value


def words(raw: Any) -> list[str]:
    """Whatever might be said in place of a word of the study: choices of the schema, names of this study."""
    names = [name for section in ("organisms", "datasets", "questions") for name in raw[section]]
    return list(dict.fromkeys([*names, *choices()]))


@cache
def choices() -> tuple[str, ...]:
    """Every word that the schema lets a setting be."""
    schema = leaves(Study.model_json_schema())
    return tuple(value for place, value in schema if isinstance(value, str) and {"enum", "const"} & set(place))


def others(value: Any, raw: Any) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [other for other in (value + 1, value - 1, value * 10, value * 0.9, 0.5) if other != value]
    if isinstance(value, str):
        return [other for other in words(raw) if other != value]
    return [1, 10, True, "text", ["text"], *words(raw)] if value is None else [["aligned"], [0], words(raw)[:1]]


def changed(raw: Any, place: Place, value: Any) -> Any:
    copied = copy.deepcopy(raw)
    part = copied
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    return copied
