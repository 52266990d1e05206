"""The provenance of a study's artefacts, and which of them are of another form of the study.

Snakemake knows from its own records (.snakemake) what was made from which slice of the study. Results that were copied
without them would pass for those of any study of their name; so each artefact's own provenance is compared as well.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from workflow_scripts.store.absence import Absence, recorded
from workflow_scripts.store.artefacts import canonical, digest, provenance
from workflow_scripts.store.code_digest import code_digest
from workflow_scripts.store.lineage import facts_of, origin
from workflow_scripts.study import specs
from workflow_scripts.study.conditions import (
    batteries,
    battery_subjects,
    direction_subjects,
    edited_subjects,
    given_directions,
    hub_organisms,
    is_given,
    narrow_subjects,
    organism_subjects,
    sampled_batteries,
    single_adapter_subjects,
    subject_of,
    topic_subject,
    vector_subjects,
)
from workflow_scripts.study.inputs import artefacts, sampling_manifests
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.panel import read_batteries, read_by
from workflow_scripts.study.schema import Study

Maker = tuple[str, Callable[[], str]]
"""A stage, and what says which slice of the study it reads."""
LONGEST_NAME = 254
"""Letters of a file name of Snakemake's records; longer ones are folders within each other."""


def made_by(
    stage: str, study: Study, layout: Layout, output: Path, made_from: Iterable[Path], *names: str, **facts: Any
) -> dict[str, str]:
    """Provenance of an artefact of a study.

    Args:
        output: its place.
        made_from: the artefacts that it is made from, as its rule has them (ancient ones are not among them).
        names: wildcards that the stage's spec depends on.
        facts: others.
    """
    spec = specs.spec(stage, study, *names)
    return provenance(stage, spec, **origin(layout.root, output, made_from), **facts)


def reader_facts(study: Study, subject: str) -> dict[str, Any]:
    """For a direction's provenance: what it lacks where the base has read a subject's texts in the subject's place."""
    if not is_given(study, subject):
        return {}
    why = (
        f"{subject} is known by its responses only: its direction is taken of the chat base that reads them, not of "
        "the organism's own activations."
    )
    return recorded([Absence(why, "read_by_base")])


def work_of(stage: str, facts: Mapping[str, str]) -> str:
    """What tells a job's work from other work on the same artefact: its provenance, and the stage's code."""
    return digest(canonical(dict(facts)), code_digest(stage))


def makers(study: Study, layout: Layout) -> dict[Path, Maker]:
    """Who makes each artefact of a study before its tables, and from which slice of it."""
    made: dict[Path, Maker] = {}

    def add(path: Path, stage: str, *names: str, slice_of: str | None = None) -> None:
        made[path] = stage, partial(specs.spec, slice_of or stage, study, *names)

    add(layout.fingerprint, "base")
    add(layout.preflight, "preflight")
    for name in hub_organisms(study):
        add(layout.fetched_adapter(name), "published_adapters", name)
    for name in study.datasets:
        add(layout.dataset(name), "datasets", name)
    for name in study.questions:
        add(layout.questions(name), "questions", name)
    for subject in organism_subjects(study):
        add(layout.gate(subject), "organisms", subject)
        add(layout.training(subject), "organisms", subject)
        add(layout.checkpoints(subject), "organisms", subject)
    for battery in sampled_batteries(study):
        for manifest in sampling_manifests(study, layout, battery):
            add(manifest, "sampling", battery)
        for subject in battery_subjects(study, battery):
            add(layout.responses(subject, battery), "responses", battery, subject)
    for battery in batteries(study):
        add(layout.judged(battery), "judging")
        for subject in battery_subjects(study, battery):
            add(layout.judgements(subject, battery), "judgements")
    for name in study.judges:
        by_it, place = read_by(study, name), layout.read_by(name)
        for battery in read_batteries(by_it):
            made[place.judged(battery)] = "judging", partial(specs.spec, "judging", by_it)
            for subject in battery_subjects(by_it, battery):
                made[place.judgements(subject, battery)] = "judgements", partial(specs.spec, "judgements", by_it)
    for subject in direction_subjects(study):
        add(layout.direction(subject), "directions", subject)
        if study.directions.also:
            add(layout.other_direction(subject), "other_directions", subject)
    for name in given_directions(study):
        add(layout.direction(name), "imported_directions", name)
    for trait in study.traits.named if study.traits else ():
        add(layout.direction(trait), "trait_directions", trait)
    for subject in vector_subjects(study):
        add(layout.direction(subject), "trained_vectors", subject)
    topics = topic_subject(study)
    for topic in study.semantic.topics if study.semantic and topics else ():
        assert topics
        add(layout.direction(f"{topics}/{topic}"), "topic_directions", topics, topic, slice_of="topic_direction")
    add(layout.base_means, "base_means")
    add(layout.side_effects, "side_effects")
    for subject in edited_subjects(study):
        add(layout.edits(subject), "edits", subject)
    for subject in narrow_subjects(study):
        add(layout.adapter_losses(subject), "adapter_losses", subject)
    for subject in single_adapter_subjects(study):
        add(layout.downstream(subject), "downstream", subject)
    read = subject_of(study.adapters, study)
    if read and study.adapters:
        add(layout.scalars(read), "scalars", read)
        add(layout.probes(read), "probes", read)
        add(layout.adapter_names(read), "probes", read)
        if study.adapters.patching:
            add(layout.responses(read, "patching"), "patched_responses", read)
    wanted = set(artefacts(study, layout))
    return {path: maker for path, maker in made.items() if path in wanted}


def of_another_study(made: Mapping[Path, Maker], records: Path) -> list[Path]:
    """Those artefacts that were made from other slices of a study than its present ones, without Snakemake's knowledge.

    Args:
        made: who makes them, and from which slices.
        records: Snakemake's folder, `.snakemake`.
    """
    return [path for path, maker in made.items() if not _is_recorded(path, records) and _is_of_another(path, maker)]


def _is_of_another(path: Path, maker: Maker) -> bool:
    try:
        facts = facts_of(path)
    except Exception:  # missing, or damaged, which whoever reads it says
        return False
    stage, spec = maker
    return facts.get("stage") == stage and facts.get("spec") != spec()


def _is_recorded(path: Path, records: Path) -> bool:
    name = urlsafe_b64encode(str(path).encode()).decode()
    parts = [name[start : start + LONGEST_NAME] for start in range(0, len(name), LONGEST_NAME)]
    return records.joinpath("metadata", *(f"@{part}" for part in parts[:-1]), parts[-1]).is_file()
