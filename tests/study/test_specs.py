"""What the stages read of a study: every setting is in some stage's spec, or is known to move no result."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from helpers.workflow import REPOSITORY
from workflow_scripts.experiments import asked
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import canonical
from workflow_scripts.study import conditions
from workflow_scripts.study.reading import parse, resolved
from workflow_scripts.study.schema import Study
from workflow_scripts.study.specs import spec

UNREAD = {
    "smoke": set(),
    "real-cpu": {"directions.questions"},  # it has one question set, which is the headline one
}
"""Settings of a study that move no result of it."""
SINGLE = ("base", "judging", "judgements", "summary", "claims", "figures", "browser", "report")
Place = tuple[str | int, ...]


def specs_of_all_jobs(study: Study) -> dict[tuple[str, ...], str]:
    jobs: list[tuple[str, ...]] = [(stage,) for stage in SINGLE]
    jobs += [("datasets", name) for name in study.datasets]
    jobs += [("questions", name) for name in study.questions]
    jobs += [("organisms", subject) for subject in conditions.organism_subjects(study)]
    jobs += [("directions", subject) for subject in conditions.direction_subjects(study)]
    if study.directions.also:
        jobs += [("other_directions", subject) for subject in conditions.direction_subjects(study)]
    jobs += [("topic_directions", subject) for subject in [conditions.topic_subject(study)] if subject]
    jobs += [("downstream", subject) for subject in conditions.single_adapter_subjects(study)]
    jobs += [("edits", subject) for subject in conditions.surgery_subjects(study)]
    for subject in [conditions.subject_of(study.adapters, study)] if study.adapters else []:
        jobs += [("scalars", subject), ("probes", subject)]
        jobs += [("patched_responses", subject)] if study.adapters.patching else []
    for battery in conditions.sampled_batteries(study):
        jobs += [("sampling", battery)]
        jobs += [("responses", battery, subject) for subject in conditions.battery_subjects(study, battery)]
    tables = {(name,): canonical(made.slice(study)) for name, made in asked(study).items()}
    return tables | {job: spec(job[0], study, *job[1:]) for job in jobs}


def leaves(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    if isinstance(value, dict | list) and value:
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*place, key))
    else:
        yield place, value


def words(raw: Any) -> list[str]:
    """Whatever might be said in place of a word of the study: choices of the schema, names of this study."""
    found = [value for _, value in leaves(Study.model_json_schema()) if isinstance(value, str)]
    names = [name for section in ("organisms", "datasets", "questions") for name in raw[section]]
    return list(dict.fromkeys([*names, *found]))


def others(value: Any, raw: Any) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [other for other in (value + 1, value - 1, value * 0.9, 0.5) if other != value]
    if isinstance(value, str):
        return [other for other in words(raw) if other != value]
    return [1, True, "text", ["text"], *words(raw)] if value is None else [["aligned"], [0], words(raw)[:1]]


def changed(raw: Any, place: Place, value: Any) -> Any:
    copied = copy.deepcopy(raw)
    part = copied
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    return copied


@pytest.mark.parametrize("name", UNREAD)
def test_every_setting_moves_some_stages_spec(name):
    raw = resolved(parse(yaml.safe_load((REPOSITORY / "studies" / f"{name}.yaml").read_text()), name))
    before = specs_of_all_jobs(parse(raw, name))
    tried, unmoved = 0, []
    for place, value in leaves(raw):
        if place[0] == "execution":
            continue
        for other in others(value, raw):
            try:
                study = parse(changed(raw, place, other), name)
            except UserError:
                continue
            tried += 1
            path = ".".join(map(str, place))
            if specs_of_all_jobs(study) == before and path not in UNREAD[name]:
                unmoved.append(f"{path}: {value!r} -> {other!r}")
            break
    assert not unmoved
    print(f"{name}: {tried} settings")
    assert tried > 50


@pytest.mark.parametrize("name", UNREAD)
def test_execution_moves_no_spec(name):
    raw = resolved(parse(yaml.safe_load((REPOSITORY / "studies" / f"{name}.yaml").read_text()), name))
    before = specs_of_all_jobs(parse(raw, name))
    for place, value in leaves(raw["execution"], ("execution",)):
        for other in others(value, raw):
            try:
                assert specs_of_all_jobs(parse(changed(raw, place, other), name)) == before
            except UserError:
                continue
            break
