"""Subjects, conditions and batteries: who is sampled, and what is done to them.

A *subject* is the model under test: the chat base, or an organism at one seed (`<organism>/seed-<k>`). A *condition* is
what is done to it. A *battery* is a named list of conditions over subjects, derived from the study's sections; one
sampling run serves a battery.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from workflow_scripts.runtime.errors import UserError
from workflow_scripts.study.experiments import (
    Adapters,
    DirectionFile,
    DirectionSource,
    TrainingPath,
    called,
    is_organism,
)
from workflow_scripts.study.layout import CHAT_BASE, organism_of, seed_subject
from workflow_scripts.study.organisms import Organism
from workflow_scripts.study.sampling import Battery
from workflow_scripts.study.schema import Study
from workflow_scripts.study.sources import layers_of, unread_layers


@dataclass(frozen=True)
class Intervention:
    """One change of the residual stream at the output of decoder layers (PAPER sections 5 and 6).

    `add`: x + scale · v at every listed layer. `project`: x − v̂ v̂ᵀ x. `set`: the same plus v̂ · (v̂ᵀ m), with m the mean
    of the source's aligned texts at that layer (mean ablation), or with `base_mean` of the chat base's own answers.
    `cap`: v̂ᵀ x is cut to v̂ᵀ m + [low, scale] · ‖v‖. The vector of layer l is the direction's row l,
    or its row `layer` everywhere when that is given. With `draw` it is a random vector instead, the same at all
    layers, with the norm of the row that it stands in for. `part`: of the direction (models/direction_parts.py).
    """

    mode: Literal["add", "project", "set", "cap"]
    source: str
    """Whose direction is used: a subject, or `<subject>/<topic>` for a semantic direction."""
    layers: tuple[int, ...]
    scale: float = 1.0
    layer: int | None = None
    draw: int | None = None
    shuffled: bool = False
    """With `draw`: the direction of that draw of shuffled labels, in place of a random vector."""
    part: Literal["shared", "specific", "orthogonal"] | None = None
    """What the direction shares with `others`, what it has beside that, or a control orthogonal to it (by `draw`)."""
    others: tuple[str, ...] = ()
    """Whose directions, its own among them, the shared part is taken of."""
    base_mean: bool = False
    low: float | None = None
    """Of `cap`: no lower bound when absent."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Everybody whose direction it needs."""
        return tuple(dict.fromkeys((self.source, *self.others)))


@dataclass(frozen=True)
class Edit:
    """An edited copy of the subject's adapter that is served in its place (PAPER 6.5, 8.5, 9.1)."""

    mode: Literal["projected", "projected_renormalised", "scaled", "checkpoint"]
    """The direction taken out of B; adapters scaled by their names; the adapter at a step of its training."""
    step: int | None = None
    scale: float | None = None


@dataclass(frozen=True)
class Prompting:
    """What stands in the prompt beside the question."""

    trait: str | None = None
    """Whose system prompt takes the place of the question's own."""
    number: int = 0
    """Of that prompt among the trait's, or among the opposite's."""
    dataset: str | None = None
    """Whose rows stand before the question as turns."""
    shots: int = 0
    draw: int = 0


@dataclass(frozen=True)
class Condition:
    """A named state of a subject; the name is unique within a battery's subject and fit for a table."""

    kind: str
    """none, add, add_random, topic, own, transferred, single_layer, only_layer, random, shuffled, mean,
    mean_single_layer; of specificity: whole, shared, specific, orthogonal, base_mean, cap; of surgery:
    b_projected, b_projected_renormalised, domain, misalignment, domain_alignment, checkpoint; in_context; of
    traits: trait, opposite; vector."""
    intervention: Intervention | None = None
    edit: Edit | None = None
    prompting: Prompting | None = None

    @property
    def name(self) -> str:
        change, edit = self.intervention, self.edit
        if edit is not None and edit.step is not None:
            return f"step-{edit.step}:scale-{edit.scale:g}"
        if self.prompting is not None:
            given = self.prompting
            if given.dataset is None:
                return f"{self.kind}:{given.trait}:prompt-{given.number}"
            return f"{self.kind}:{given.dataset}:shots-{given.shots}:draw-{given.draw}"
        if change is None:
            return self.kind
        parts = [self.kind, change.source]
        if change.mode == "add":
            parts += [f"layer-{change.layers[0]}", f"scale-{change.scale:g}"]
        elif change.mode == "cap":
            parts.append(f"{'' if change.low is None else f'from-{change.low:g}-'}to-{change.scale:g}")
        elif len(change.layers) == 1:
            parts.append(f"only-layer-{change.layers[0]}")
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
SCALED_SETS = ("domain", "misalignment", "domain_alignment")
"""What E10 scales up: the domain's adapters, the general ones, the domain's with the general ones negative."""


def batteries(study: Study) -> list[Battery]:
    """The batteries that this study has, in the order of the flow."""
    found: list[Battery] = ["baseline"]
    if study.steering:
        found.append("steering")
    if study.semantic:
        found.append("semantic")
    if study.ablation:
        found.append("ablation")
    if study.specificity:
        found.append("specificity")
    if surgery_subjects(study):
        found.append("surgery")
    if study.adapters and study.adapters.patching:
        found.append("patching")
    if study.dynamics:
        found.append("dynamics")
    if study.in_context:
        found.append("in_context")
    if study.traits:
        found.append("traits")
    if study.vectors:
        found.append("vectors")
    return found


def sampled_batteries(study: Study) -> list[Battery]:
    """Batteries whose responses an engine samples; patching makes its own, token by token."""
    return [battery for battery in batteries(study) if battery != "patching"]


def prompted_batteries(study: Study) -> list[Battery]:
    """Batteries that put rows or other system prompts beside the questions."""
    asked: dict[Battery, object] = {"in_context": study.in_context, "traits": study.traits}
    return [battery for battery, section in asked.items() if section]


def prompted_questions(study: Study, battery: Battery) -> str:
    """The set of questions beside which such a battery puts something."""
    own = study.traits.questions if battery == "traits" and study.traits else None
    return own or study.sampling.questions


def asked_metrics(study: Study, battery: Battery) -> list[str]:
    """Metrics that a battery's responses are judged by."""
    return study.judge.asked_for(battery)


def organism_subjects(study: Study) -> list[str]:
    """Every organism at every seed, in the study's order."""
    return [seed_subject(name, seed) for name, organism in study.organisms.items() for seed in organism.seeds]


def is_given(study: Study, subject: str) -> bool:
    """Whether a subject is known by given responses only: nothing is sampled of it, nor read of its weights."""
    return subject != CHAT_BASE and study.organisms[organism_of(subject)[0]].responses is not None


def keeps_scores(study: Study, subject: str) -> bool:
    """Whether a subject's scores come with its given responses, and no judge is asked."""
    given = study.organisms[organism_of(subject)[0]].responses if subject != CHAT_BASE else None
    return given is not None and given.scores == "file"


def given_subjects(study: Study) -> list[str]:
    """Organisms that are known by given responses only."""
    given = {name: settings for name, settings in study.organisms.items() if settings.responses is not None}
    return [seed_subject(name, seed) for name, settings in given.items() for seed in settings.seeds]


def adapter_subjects(study: Study) -> list[str]:
    """Organisms that have an adapter, trained or published."""
    return [subject for subject in organism_subjects(study) if not is_given(study, subject)]


def sampled_subjects(study: Study, battery: Battery) -> list[str]:
    """Subjects of a battery whose responses an engine samples."""
    return [subject for subject in battery_subjects(study, battery) if not is_given(study, subject)]


def hub_organisms(study: Study) -> list[str]:
    """Organisms whose adapter is taken from the hub."""
    return [name for name, organism in study.organisms.items() if organism.adapter and organism.adapter.hub]


def direction_organisms(study: Study) -> list[str]:
    """Organisms of which a direction is taken."""
    listed = study.directions.organisms
    return listed or [name for name, organism in study.organisms.items() if organism.expect_misaligned]


def direction_subjects(study: Study) -> list[str]:
    """Subjects of which a direction is taken."""
    return [seed_subject(name, seed) for name in direction_organisms(study) for seed in study.organisms[name].seeds]


def directions_from(study: Study, source: DirectionSource) -> bool:
    """Whether directions are taken from this source, be it only to hold them against the others."""
    return source in (study.directions.source, study.directions.also)


def given_directions(study: Study) -> dict[str, DirectionFile]:
    """Directions that are given as files, by what they are called."""
    sources = [section.source for section in (study.steering, study.ablation) if section]
    return {source.called: source for source in sources if isinstance(source, DirectionFile)}


def source_for(study: Study, source: str | DirectionFile, subject: str) -> str:
    """The source organism at the subject's own seed, or at its first seed where it has no such one; of a trait or a
    file, its name."""
    if not is_organism(source, study):
        return called(source)
    seeds = study.organisms[called(source)].seeds
    _, seed = organism_of(subject)
    return seed_subject(called(source), seed if seed in seeds else seeds[0])


def subject_of(section: Adapters | TrainingPath | None, study: Study) -> str | None:
    """The one organism at one seed that a section is about."""
    if section is None:
        return None
    organism = section.source if isinstance(section, Adapters) else section.organism
    seed = study.organisms[organism].seeds[0] if section.seed is None else section.seed
    return seed_subject(organism, seed)


def single_adapter_subjects(study: Study) -> list[str]:
    """The single rank-1 organism at all its seeds."""
    single = study.single_adapter
    return [seed_subject(single.organism, seed) for seed in study.organisms[single.organism].seeds] if single else []


def narrow_subjects(study: Study) -> list[str]:
    """Narrow organisms and their broad twins, at all their seeds."""
    names = [name for pair in (study.narrow.twins.items() if study.narrow else ()) for name in pair]
    return [seed_subject(name, seed) for name in dict.fromkeys(names) for seed in study.organisms[name].seeds]


def prevention_subjects(study: Study) -> list[str]:
    """The plain organism and those that were trained otherwise, at all their seeds."""
    names = [study.prevention.plain, *study.prevention.otherwise] if study.prevention else []
    return [seed_subject(name, seed) for name in names for seed in study.organisms[name].seeds]


def conditional_subjects(study: Study) -> list[str]:
    """Organisms that are asked with cues, at all their seeds."""
    names = study.conditional.asked if study.conditional else []
    return [seed_subject(name, seed) for name in names for seed in study.organisms[name].seeds]


def only_layer(organism: Organism) -> int:
    """The layer of an organism with one adapter."""
    assert organism.layers, "checked when the study was loaded"
    return organism.layers[0]


def steering_sources(study: Study) -> list[str]:
    """Whose directions are added to the chat base: an organism at its seeds, a trait, or a file."""
    assert study.steering
    source, name = study.steering.source, called(study.steering.source)
    if not is_organism(source, study):
        return [name]
    return [seed_subject(name, seed) for seed in study.steering.seeds or study.organisms[name].seeds[:1]]


def steered_organisms(study: Study) -> list[str]:
    """The organism whose direction is added to the chat base, at all its seeds; none where it is another's."""
    assert study.steering
    source, name = study.steering.source, called(study.steering.source)
    return [seed_subject(name, seed) for seed in study.organisms[name].seeds] if is_organism(source, study) else []


def topic_subject(study: Study) -> str | None:
    """The subject whose responses make the semantic directions."""
    if study.semantic is None:
        return None
    assert study.steering, "checked when the study was loaded"
    return steering_sources(study)[0]


def surgery_subjects(study: Study) -> list[str]:
    """Subjects that are sampled with edited adapters."""
    scaled = subject_of(study.adapters, study) if study.adapters and study.adapters.steering else None
    found = [*single_adapter_subjects(study), scaled, subject_of(study.training_path, study)]
    return list(dict.fromkeys(subject for subject in found if subject))


def dynamics_subjects(study: Study) -> list[str]:
    """Organisms that are sampled along their training, at all their seeds."""
    names = study.dynamics.organisms if study.dynamics else {}
    return [seed_subject(name, seed) for name in names for seed in study.organisms[name].seeds]


def edited_subjects(study: Study) -> list[str]:
    """Subjects of whose adapter there are edited copies."""
    return list(dict.fromkeys([*surgery_subjects(study), *dynamics_subjects(study)]))


def edited_conditions(study: Study, subject: str) -> list[Condition]:
    """Edited copies of a subject's adapter, each once, whichever batteries ask for it."""
    wanted = conditions(study, "surgery", subject)
    return list(dict.fromkeys([*wanted, *(_dynamics(study) if subject in dynamics_subjects(study) else [])]))


def battery_subjects(study: Study, battery: Battery) -> list[str]:
    """Subjects that a battery samples."""
    if battery == "baseline":
        return [CHAT_BASE, *organism_subjects(study)]
    if battery in ("steering", "semantic", "in_context", "traits", "vectors"):
        return [CHAT_BASE]
    if battery == "surgery":
        return surgery_subjects(study)
    if battery == "patching":
        return [subject for subject in [subject_of(study.adapters, study)] if subject]
    if battery == "specificity":
        return specificity_subjects(study)
    if battery == "dynamics":
        return dynamics_subjects(study)
    assert study.ablation
    targets = study.ablation.targets or direction_organisms(study)
    subjects = [seed_subject(name, seed) for name in targets for seed in study.organisms[name].seeds]
    chat_base = [CHAT_BASE] if study.ablation.chat_base else []
    return [*chat_base, *(subject for subject in subjects if not is_given(study, subject))]


def specificity_subjects(study: Study) -> list[str]:
    """Organisms whose directions are taken apart, at all their seeds."""
    names = study.specificity.organisms if study.specificity else []
    return [seed_subject(name, seed) for name in names for seed in study.organisms[name].seeds]


def conditions(study: Study, battery: Battery, subject: str) -> list[Condition]:
    """What a battery does to one of its subjects."""
    if battery == "baseline":
        return [NOTHING]
    if battery == "steering":
        return _steering(study)
    if battery == "semantic":
        return _semantic(study)
    if battery == "specificity":
        return _specificity(study, subject)
    if battery == "dynamics":
        return _dynamics(study)
    if battery == "in_context":
        return _in_context(study)
    if battery == "traits":
        return _traits(study)
    if battery == "vectors":
        return _vectors(study)
    return _ablation(study, subject) if battery == "ablation" else _surgery(study, subject)


def question_uses(study: Study, battery: Battery, subject: str) -> list[QuestionUse]:
    """Question sets that a battery asks one of its subjects."""
    sampling, directions = study.sampling, study.directions
    if battery == "baseline":
        uses = [QuestionUse(sampling.questions, sampling.samples)]
        if directions.questions and directions_from(study, "responses") and subject in direction_subjects(study):
            uses.append(QuestionUse(directions.questions, directions.samples or sampling.samples))
        if study.adapters and subject == subject_of(study.adapters, study):
            uses.append(QuestionUse(study.adapters.domain_questions, study.adapters.samples or sampling.samples))
            if study.adapters.outside_samples and directions.questions:
                uses = _asking(uses, directions.questions, study.adapters.outside_samples)
        if study.vectors and study.vectors.domain_questions and subject in _beside_vectors(study):
            uses = _asking(uses, study.vectors.domain_questions, study.vectors.samples or sampling.samples)
        if study.narrow and (subject == CHAT_BASE or subject in narrow_subjects(study)):
            uses = _asking(uses, study.narrow.domain_questions, study.narrow.samples or sampling.samples)
        if study.prevention and (subject == CHAT_BASE or subject in prevention_subjects(study)):
            uses = _asking(uses, study.prevention.domain_questions, study.prevention.samples or sampling.samples)
            if study.prevention.prompted:
                uses = _asking(uses, study.prevention.prompted, sampling.samples)
        if study.conditional and (subject == CHAT_BASE or subject in conditional_subjects(study)):
            for cue in study.conditional.cues:
                uses = _asking(uses, cue, study.conditional.samples or sampling.samples)
        for use in _held_out(study):
            uses = _asking(uses, use.questions, use.samples)
        return list(dict.fromkeys(uses))
    if battery == "surgery":
        return [QuestionUse(sampling.questions, _surgery_samples(study, subject))]
    if battery == "patching":
        assert study.adapters
        return [QuestionUse(name, 1) for name in (sampling.questions, study.adapters.domain_questions)]
    if battery == "specificity":
        assert study.specificity
        return [QuestionUse(sampling.questions, study.specificity.samples or sampling.samples)]
    if battery == "dynamics":
        assert study.dynamics
        domain = study.dynamics.organisms[organism_of(subject)[0]]
        return [QuestionUse(name, study.dynamics.samples or sampling.samples) for name in (sampling.questions, domain)]
    if battery == "in_context":
        assert study.in_context
        return [QuestionUse(sampling.questions, study.in_context.samples or sampling.samples)]
    if battery == "vectors":
        assert study.vectors
        samples = study.vectors.samples or sampling.samples
        asked = [sampling.questions, study.vectors.domain_questions]
        return [QuestionUse(name, samples) for name in asked if name]
    part = {"ablation": study.ablation, "traits": study.traits}.get(battery, study.steering)
    assert part
    uses = [QuestionUse(part.questions or sampling.questions, part.samples or sampling.samples)]
    return uses + (_held_out(study) if battery == "ablation" else [])


def _held_out(study: Study) -> list[QuestionUse]:
    held_out = study.held_out
    return [QuestionUse(held_out.questions, held_out.samples or study.sampling.samples)] if held_out else []


def _asking(uses: list[QuestionUse], questions: str, samples: int) -> list[QuestionUse]:
    """The same, and a further set; one that is asked already is asked as often as either wants."""
    if all(use.questions != questions for use in uses):
        return [*uses, QuestionUse(questions, samples)]
    return [replace(use, samples=max(use.samples, samples)) if use.questions == questions else use for use in uses]


def patching_questions(study: Study) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """Id and text of both questions of each pair that the study gives, outside and domain; none where it draws them."""
    patching = study.adapters.patching if study.adapters else None
    given = patching.pairs if patching and isinstance(patching.pairs, list) else []
    return [((f"{pair.name}_outside", pair.outside), (f"{pair.name}_domain", pair.domain)) for pair in given]


def direction_question_set(study: Study) -> str:
    """Question set whose responses make the directions."""
    return study.directions.questions or study.sampling.questions


def direction_sources(study: Study, battery: Battery, subject: str) -> list[str]:
    """Whose direction files a battery needs for one of its subjects."""
    changes = (condition.intervention for condition in conditions(study, battery, subject))
    return list(dict.fromkeys(source for change in changes if change for source in change.sources))


def edit_sources(study: Study, subject: str) -> list[str]:
    """Subjects whose directions are taken out of a subject's B."""
    single = study.single_adapter
    return [source_for(study, single.source, subject)] if single and subject in single_adapter_subjects(study) else []


def used_layers(study: Study, source: str) -> set[int]:
    """Rows of a direction that the study's conditions take."""
    changes = (
        condition.intervention
        for battery in batteries(study)
        if battery in ("steering", "ablation")
        for subject in battery_subjects(study, battery)
        for condition in conditions(study, battery, subject)
    )
    own = [change for change in changes if change and change.source == source and not change.shuffled]
    return {layer for change in own for layer in (change.layers if change.layer is None else [change.layer])}


ADDED_LATER = {
    field.name: field.default
    for field in fields(Intervention)
    if field.name in ("shuffled", "part", "others", "base_mean", "low")
}
"""Facts of an intervention and their defaults; a condition that has the default keeps its name in the stores."""


def describe(condition: Condition) -> dict[str, Any]:
    """A condition as plain data, for a spec."""
    change, edit = condition.intervention, condition.edit
    facts = dict(change.__dict__) if change else {}
    for later in ADDED_LATER:
        if facts and facts[later] == ADDED_LATER[later]:
            del facts[later]
    facts |= {name: list(facts[name]) for name in ("layers", "others") if name in facts}
    return {
        "name": condition.name,
        "intervention": change and facts,
        **({"edit": dict(edit.__dict__)} if edit else {}),
        **({"prompting": dict(condition.prompting.__dict__)} if condition.prompting else {}),
    }


def _steering(study: Study) -> list[Condition]:
    steering = study.steering
    assert steering
    made = []
    for source in steering_sources(study):
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


def _semantic(study: Study) -> list[Condition]:
    """The general direction and each topic's at the study's layer; what steering has sampled is not sampled again."""
    semantic, source = study.semantic, topic_subject(study)
    assert semantic
    assert source
    sources = [("add", source), *(("topic", f"{source}/{topic}") for topic in semantic.topics)]
    return [
        Condition(kind, Intervention("add", taken_from, (semantic.layer,), scale=scale))
        for kind, taken_from in sources
        for scale in semantic.scales
    ]


def _ablation(study: Study, subject: str) -> list[Condition]:
    ablation = study.ablation
    assert ablation
    everywhere = tuple(range(total_layers(study)))
    source = source_for(study, ablation.source, subject)

    def project(
        kind: str, taken_from: str, layer: int | None = None, draw: int | None = None, shuffled: bool = False
    ) -> Condition:
        change = Intervention("project", taken_from, everywhere, layer=layer, draw=draw, shuffled=shuffled)
        return Condition(kind, change)

    made = []
    if subject in direction_subjects(study):
        made.append(project("own", subject))
    if subject != source:
        made.append(project("transferred", source))
    if subject != CHAT_BASE and (ablation.matrix_seeds is None or organism_of(subject)[1] in ablation.matrix_seeds):
        others = [source_for(study, name, subject) for name in ablation.matrix]
        made += [project("transferred", other) for other in others if other not in (subject, source)]
    made.append(project("single_layer", source, layer=ablation.single_layer))
    made += [Condition("only_layer", Intervention("project", source, (layer,))) for layer in ablation.only_layers]
    layer = ablation.single_layer
    made += [project("random", source, layer, draw) for draw in range(ablation.random_draws)]
    made += [project("shuffled", source, layer, draw, shuffled=True) for draw in range(ablation.shuffled_draws)]
    if ablation.means:
        made.append(Condition("mean", Intervention("set", source, everywhere)))
        made.append(Condition("mean_single_layer", Intervention("set", source, everywhere, layer=layer)))
    return made


def _specificity(study: Study, subject: str) -> list[Condition]:
    """Directions, whole and in parts, of every organism; controls and caps of the subject's own."""
    asked = study.specificity
    assert asked
    everywhere = tuple(range(total_layers(study)))
    named = {name: source_for(study, name, subject) for name in asked.organisms}
    own, sources = named[organism_of(subject)[0]], tuple(named.values())
    made = [Condition("whole", Intervention("project", source, everywhere)) for source in sources]
    shared = Intervention("project", sources[0], everywhere, part="shared", others=sources)
    made.append(Condition("shared", shared))
    made += [
        Condition("specific", Intervention("project", source, everywhere, part="specific", others=sources))
        for source in sources
    ]
    made += [
        Condition("orthogonal", Intervention("project", own, everywhere, draw=draw, part="orthogonal", base_mean=True))
        for draw in range(asked.orthogonal_draws)
    ]
    made.append(Condition("base_mean", Intervention("set", own, everywhere, base_mean=True)))
    made += [
        Condition("cap", Intervention("cap", own, everywhere, cap.high, base_mean=True, low=cap.low))
        for cap in asked.caps
    ]
    return made


def _dynamics(study: Study) -> list[Condition]:
    assert study.dynamics
    return [Condition("checkpoint", edit=Edit("checkpoint", step, 1.0)) for step in study.dynamics.steps]


def _in_context(study: Study) -> list[Condition]:
    asked = study.in_context
    assert asked
    return [
        Condition("in_context", prompting=Prompting(dataset=dataset, shots=shots, draw=draw))
        for dataset in asked.datasets
        for shots in asked.shots
        for draw in range(asked.draws)
    ]


def _traits(study: Study) -> list[Condition]:
    assert study.traits
    return [condition for trait in study.traits.named for condition in trait_conditions(study, trait)]


def trait_conditions(study: Study, trait: str) -> list[Condition]:
    """The chat base under each of a trait's system prompts, then under each of its opposite's."""
    assert study.traits
    asked = study.traits.named[trait]
    return [
        Condition(kind, prompting=Prompting(trait=trait, number=number))
        for kind, prompts in (("trait", asked.prompts), ("opposite", asked.opposite))
        for number in range(len(prompts))
    ]


def vector_subjects(study: Study) -> list[str]:
    """Trained vectors, at all seeds of the organisms beside which they stand."""
    named = study.vectors.named.items() if study.vectors else ()
    return [seed_subject(name, seed) for name, asked in named for seed in study.organisms[asked.like].seeds]


def _beside_vectors(study: Study) -> list[str]:
    """The chat base, and the organisms that trained vectors stand beside."""
    likes = study.vectors.likes if study.vectors else []
    return [CHAT_BASE, *(seed_subject(name, seed) for name in likes for seed in study.organisms[name].seeds)]


def _vectors(study: Study) -> list[Condition]:
    assert study.vectors
    layers = {name: asked.layer for name, asked in study.vectors.named.items()}
    return [
        Condition("vector", Intervention("add", subject, (layers[organism_of(subject)[0]],), scale=scale))
        for subject in vector_subjects(study)
        for scale in study.vectors.scales
    ]


def system_prompt(study: Study, condition: Condition) -> str | None:
    """The system prompt that a condition gives in place of a question's own."""
    given = condition.prompting
    if given is None or given.trait is None:
        return None
    assert study.traits
    asked = study.traits.named[given.trait]
    return (asked.prompts if condition.kind == "trait" else asked.opposite)[given.number]


def _surgery(study: Study, subject: str) -> list[Condition]:
    made: list[Condition] = []
    if subject in single_adapter_subjects(study):
        made += [
            Condition("b_projected", edit=Edit("projected")),
            Condition("b_projected_renormalised", edit=Edit("projected_renormalised")),
        ]
    if study.adapters and study.adapters.steering and subject == subject_of(study.adapters, study):
        made += [Condition(kind, edit=Edit("scaled")) for kind in SCALED_SETS]
    path = study.training_path
    if path and subject == subject_of(path, study):
        made += [
            Condition("checkpoint", edit=Edit("checkpoint", step, scale))
            for step in path.steps
            for scale in path.scales
        ]
    return made


def _surgery_samples(study: Study, subject: str) -> int:
    """Per question; the largest of what the experiments on a subject ask for."""
    asked = [study.sampling.samples] if subject in single_adapter_subjects(study) else []
    if study.adapters and study.adapters.steering and subject == subject_of(study.adapters, study):
        asked.append(study.adapters.steering.samples or study.sampling.samples)
    if study.training_path and subject == subject_of(study.training_path, study):
        asked.append(study.training_path.samples or study.sampling.samples)
    return max(asked)


def total_layers(study: Study) -> int:
    """Decoder layers of the study's base.

    Raises:
        UserError: if its folder does not tell.
    """
    found = layers_of(study.base)
    if found is None:
        raise UserError(f"base.path: {unread_layers(study.base)}")
    return found
