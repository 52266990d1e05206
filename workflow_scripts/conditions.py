"""Subjects, conditions and batteries: who is sampled, and what is done to them.

A *subject* is the model under test: the chat base, or an organism at one seed (`<organism>/seed-<k>`). A *condition* is
what is done to it. A *battery* is a named list of conditions over subjects, derived from the study's sections; one
sampling run serves a battery.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from workflow_scripts.layout import CHAT_BASE, organism_of, seed_subject
from workflow_scripts.study import Study, layers_of

Battery = Literal["baseline", "steering", "ablation"]


@dataclass(frozen=True)
class Intervention:
    """One change of the residual stream at the output of decoder layers (PAPER sections 5 and 6).

    `add`: x + scale · v at every listed layer. `project`: x − v̂ v̂ᵀ x. The vector of layer l is the direction's row l,
    or its row `layer` everywhere when that is given. With `draw` it is a random vector instead, the same at all
    layers, with the norm of the row that it stands in for.
    """

    mode: Literal["add", "project"]
    source: str
    """Subject whose direction is used."""
    layers: tuple[int, ...]
    scale: float = 1.0
    layer: int | None = None
    draw: int | None = None


@dataclass(frozen=True)
class Condition:
    """A named state of a subject; the name is unique within a battery's subject and fit for a table."""

    kind: str
    """none, add, add_random, own, transferred, single_layer, random."""
    intervention: Intervention | None = None

    @property
    def name(self) -> str:
        change = self.intervention
        if change is None:
            return self.kind
        parts = [self.kind, change.source]
        if change.mode == "add":
            parts += [f"layer-{change.layers[0]}", f"scale-{change.scale:g}"]
        if change.layer is not None:
            parts.append(f"layer-{change.layer}")
        if change.draw is not None:
            parts.append(f"draw-{change.draw}")
        return ":".join(parts)


@dataclass(frozen=True)
class QuestionUse:
    """A question set, and how often each question is asked."""

    questions: str
    samples: int


NOTHING = Condition("none")


def batteries(study: Study) -> list[Battery]:
    """The batteries that this study has, in the order of the flow."""
    found: list[Battery] = ["baseline"]
    if study.steering:
        found.append("steering")
    if study.ablation:
        found.append("ablation")
    return found


def organism_subjects(study: Study) -> list[str]:
    """Every organism at every seed, in the study's order."""
    return [seed_subject(name, seed) for name, organism in study.organisms.items() for seed in organism.seeds]


def direction_organisms(study: Study) -> list[str]:
    """Organisms of which a direction is taken."""
    listed = study.directions.organisms
    return listed or [name for name, organism in study.organisms.items() if organism.expect_misaligned]


def direction_subjects(study: Study) -> list[str]:
    """Subjects of which a direction is taken."""
    return [seed_subject(name, seed) for name in direction_organisms(study) for seed in study.organisms[name].seeds]


def source_for(study: Study, source: str, subject: str) -> str:
    """The source organism at the subject's own seed, or at its first seed where it has no such one."""
    seeds = study.organisms[source].seeds
    _, seed = organism_of(subject)
    return seed_subject(source, seed if seed in seeds else seeds[0])


def battery_subjects(study: Study, battery: Battery) -> list[str]:
    """Subjects that a battery samples."""
    if battery == "baseline":
        return [CHAT_BASE, *organism_subjects(study)]
    if battery == "steering":
        return [CHAT_BASE]
    assert study.ablation
    targets = study.ablation.targets or direction_organisms(study)
    subjects = [seed_subject(name, seed) for name in targets for seed in study.organisms[name].seeds]
    return ([CHAT_BASE] if study.ablation.chat_base else []) + subjects


def shard_subjects(subjects: Sequence[str], shard: int, shards: int) -> list[str]:
    """The subjects of one shard, dealt out in turn."""
    return list(subjects[shard::shards])


def conditions(study: Study, battery: Battery, subject: str) -> list[Condition]:
    """What a battery does to one of its subjects."""
    if battery == "baseline":
        return [NOTHING]
    return _steering(study) if battery == "steering" else _ablation(study, subject)


def question_uses(study: Study, battery: Battery, subject: str) -> list[QuestionUse]:
    """Question sets that a battery asks one of its subjects."""
    sampling, directions = study.sampling, study.directions
    if battery == "baseline":
        uses = [QuestionUse(sampling.questions, sampling.samples)]
        if subject in direction_subjects(study) and directions.source == "responses" and directions.questions:
            uses.append(QuestionUse(directions.questions, directions.samples or sampling.samples))
        return list(dict.fromkeys(uses))
    part = study.steering if battery == "steering" else study.ablation
    assert part
    return [QuestionUse(part.questions or sampling.questions, part.samples or sampling.samples)]


def direction_question_set(study: Study) -> str:
    """Question set whose responses make the directions."""
    return study.directions.questions or study.sampling.questions


def direction_sources(study: Study, battery: Battery, subject: str) -> list[str]:
    """Subjects whose direction files a battery needs for one of its subjects."""
    changes = (condition.intervention for condition in conditions(study, battery, subject))
    return list(dict.fromkeys(change.source for change in changes if change))


def describe(condition: Condition) -> dict[str, Any]:
    """A condition as plain data, for a spec."""
    change = condition.intervention
    return {
        "name": condition.name,
        "intervention": change and {**change.__dict__, "layers": list(change.layers)},
    }


def _steering(study: Study) -> list[Condition]:
    steering = study.steering
    assert steering
    seeds = steering.seeds or study.organisms[steering.source].seeds[:1]
    made = []
    for seed in seeds:
        source = seed_subject(steering.source, seed)
        made += [
            Condition("add", Intervention("add", source, (layer,), scale=scale))
            for layer in steering.layers
            for scale in steering.scales
        ]
        made += [
            Condition("add_random", Intervention("add", source, (layer,), scale=scale, draw=draw))
            for draw in range(steering.random_draws)
            for layer in steering.random_layers
            for scale in steering.scales
        ]
    return made


def _ablation(study: Study, subject: str) -> list[Condition]:
    ablation = study.ablation
    assert ablation
    everywhere = tuple(range(total_layers(study)))
    source = source_for(study, ablation.source, subject)

    def project(kind: str, taken_from: str, layer: int | None = None, draw: int | None = None) -> Condition:
        return Condition(kind, Intervention("project", taken_from, everywhere, layer=layer, draw=draw))

    made = []
    if subject in direction_subjects(study):
        made.append(project("own", subject))
    if subject != source:
        made.append(project("transferred", source))
    made.append(project("single_layer", source, layer=ablation.single_layer))
    made += [project("random", source, layer=ablation.single_layer, draw=draw) for draw in range(ablation.random_draws)]
    return made


def total_layers(study: Study) -> int:
    """Decoder layers of the study's base."""
    found = layers_of(study.base.model_dump())
    assert found, "checked when the study was loaded"
    return found
