"""Which files each stage reads: the arrows of the flow, as functions of the study.

The rules (rules/) name these; subjects, batteries and organisms are their wildcards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from workflow_scripts.store.adapter_files import CONFIG, WEIGHTS
from workflow_scripts.study.conditions import (
    Condition,
    adapter_subjects,
    batteries,
    battery_subjects,
    conditions,
    direction_subjects,
    directions_from,
    edit_sources,
    edited_conditions,
    edited_subjects,
    given_directions,
    given_subjects,
    hub_organisms,
    is_given,
    narrow_subjects,
    prompted_batteries,
    prompted_questions,
    question_uses,
    sampled_batteries,
    single_adapter_subjects,
    source_for,
    subject_of,
    topic_subject,
    vector_subjects,
)
from workflow_scripts.study.experiments import DirectionSource
from workflow_scripts.study.judge import LocalJudge
from workflow_scripts.study.layout import CHAT_BASE, Layout, organism_of
from workflow_scripts.study.panel import read_batteries, read_by
from workflow_scripts.study.sampling import Battery
from workflow_scripts.study.schema import Study
from workflow_scripts.study.shards import by_subject, dealt
from workflow_scripts.study.sources import MiniatureQuestions, MixedDataset, VariantQuestions

MODEL_CONFIG = "config.json"


def distinct(paths: Iterable[Path]) -> list[Path]:
    """Each path once, in order."""
    return list(dict.fromkeys(paths))


def preflight_inputs(study: Study, layout: Layout) -> list[Path]:
    """What is checked of a study before any model is trained: whether the base's template takes the questions, pairs of
    prompts, steps of a training's path, and what is given: directions and responses."""
    files: list[Path] = []
    if asked := written_questions(study):
        files += [layout.fingerprint, *map(layout.questions, asked)]
    if given := given_directions(study):
        files += [layout.fingerprint, *(Path(direction.file) for direction in given.values())]
    for subject in given_subjects(study):
        files += response_inputs(study, layout, "baseline", subject)
    if study.adapters and study.adapters.patching:
        sets = (study.sampling.questions, study.adapters.domain_questions)
        drawn = isinstance(study.adapters.patching.pairs, int)
        files += [layout.fingerprint, *(map(layout.questions, sets) if drawn else ())]
    for battery in prompted_batteries(study):
        shown = shown_rows(layout, conditions(study, battery, CHAT_BASE))
        files += [layout.fingerprint, layout.questions(prompted_questions(study, battery)), *shown]
    walked = [study.training_path.organism] if study.training_path else []
    for name in [*walked, *(study.dynamics.organisms if study.dynamics else [])]:
        files += training_data(study, layout, name)[:1]
    return distinct([*files, *(calibration_data(study) if study.calibration else [])])


def written_questions(study: Study) -> list[str]:
    """Sets of questions that people wrote; those of the miniature are its own, and fit it."""
    return [name for name, questions in study.questions.items() if not isinstance(questions, MiniatureQuestions)]


def preflight(study: Study, layout: Layout) -> list[Path]:
    """The record of these checks, where there is anything to check."""
    files = study.calibration and study.calibration.files
    return [layout.preflight] if files or preflight_inputs(study, layout) else []


def dataset_parts(study: Study, layout: Layout, name: str) -> list[Path]:
    """Data sets that one is mixed of."""
    settings = study.datasets[name]
    return [layout.dataset(part) for part in settings.parts] if isinstance(settings, MixedDataset) else []


def question_parts(study: Study, layout: Layout, name: str) -> list[Path]:
    """The set of questions that one is a variant of."""
    settings = study.questions[name]
    return [layout.questions(settings.of)] if isinstance(settings, VariantQuestions) else []


def training_data(study: Study, layout: Layout, subject: str) -> list[Path]:
    """Data sets that an organism is trained, measured and held to the base on; the first is what it learns."""
    settings = study.organisms[organism_of(subject)[0]]
    names = [settings.dataset, settings.test_dataset, settings.kl and settings.kl.dataset]
    return distinct(layout.dataset(name) for name in names if name)


def trained_with(study: Study, layout: Layout, subject: str) -> list[Path]:
    """What an organism is trained with: its data sets, the adapter that it starts from, and last the direction of the
    change that it is trained under."""
    change = study.organisms[organism_of(subject)[0]].during_training
    direction = []
    if change and change.file:
        direction = [Path(change.file)]
    elif change:
        assert change.source, "checked when the study was loaded"
        as_source = study.directions.source == "datasets"
        place = layout.direction if as_source else layout.other_direction
        direction = [place(source_for(study, change.source, subject))]
    first = started_from(study, subject)
    adapter = adapter_files(study, layout, first) if first else []
    return [*training_data(study, layout, subject), *adapter, *direction]


def started_from(study: Study, subject: str) -> str | None:
    """The organism at a seed whose adapter an organism's training goes on from."""
    name = study.organisms[organism_of(subject)[0]].starts_from
    return source_for(study, name, subject) if name else None


def vector_data(study: Study, layout: Layout, subject: str) -> list[Path]:
    """The data set that a steering vector is trained on."""
    assert study.vectors
    like = study.vectors.named[organism_of(subject)[0]].like
    return training_data(study, layout, like)[:1]


def loss_data(study: Study, layout: Layout, subject: str) -> list[Path]:
    """Rows on which the losses of narrow and broad adapters are measured."""
    assert study.narrow
    name = study.narrow.loss_dataset or study.organisms[organism_of(subject)[0]].dataset
    return [layout.dataset(name)] if name else []


def published_adapter(study: Study, subject: str) -> list[Path]:
    """Files of an adapter in a folder of the user's own, so that an exchanged one counts."""
    adapter = study.organisms[organism_of(subject)[0]].adapter
    return [Path(adapter.path) / name for name in (CONFIG, WEIGHTS)] if adapter and adapter.path else []


def fetched_adapter(study: Study, layout: Layout, subject: str) -> list[Path]:
    """Record of an adapter of the hub that is fetched into its cache."""
    name = organism_of(subject)[0]
    return [layout.fetched_adapter(name)] if name in hub_organisms(study) else []


def adapter_files(study: Study, layout: Layout, subject: str) -> list[Path]:
    """A subject's adapter and its gate; the chat base has none, nor has an organism of given responses."""
    none = subject == CHAT_BASE or is_given(study, subject)
    return [] if none else [layout.adapter(subject), layout.gate(subject)]


def given_file(study: Study, subject: str) -> list[Path]:
    """The file of a subject's given responses, so that an edited one counts."""
    given = study.organisms[organism_of(subject)[0]].responses if subject != CHAT_BASE else None
    return [Path(given.path)] if given else []


def organism_inputs(layout: Layout, subject: str) -> list[Path]:
    """The base with a subject's adapter; of given responses there is none, and its files are not there."""
    return [layout.fingerprint, *([] if subject == CHAT_BASE else [layout.adapter(subject), layout.gate(subject)])]


def edited_files(layout: Layout, subject: str, sampled: Sequence[Condition]) -> list[Path]:
    """Edited copies of a subject's adapter, where any condition is one."""
    return [layout.edits(subject)] if any(condition.edit for condition in sampled) else []


def direction_files(layout: Layout, sampled: Sequence[Condition]) -> list[Path]:
    """Directions that conditions add or project out, and the means that they set or cap the stream by."""
    changes = [condition.intervention for condition in sampled if condition.intervention]
    means = [layout.base_means] if any(change.base_mean for change in changes) else []
    return distinct([*(layout.direction(source) for change in changes for source in change.sources), *means])


def shown_rows(layout: Layout, sampled: Sequence[Condition]) -> list[Path]:
    """Data sets whose rows conditions show before the question."""
    shown = [condition.prompting.dataset for condition in sampled if condition.prompting]
    return distinct(layout.dataset(name) for name in shown if name)


def question_files(study: Study, layout: Layout, battery: Battery, subject: str) -> list[Path]:
    """Question sets that a battery asks a subject."""
    return [layout.questions(use.questions) for use in question_uses(study, battery, subject)]


def response_inputs(study: Study, layout: Layout, battery: Battery, subject: str) -> list[Path]:
    """What one subject's responses of a battery are sampled with, or taken from."""
    sampled_with = _sampled_with(study, layout, battery, subject, conditions(study, battery, subject))
    return given_file(study, subject) + sampled_with


def sampling_inputs(study: Study, layout: Layout, battery: Battery, shard: int) -> list[Path]:
    """What a sampling run of one shard of a battery needs."""
    sampled = by_subject(dealt(study, battery)[shard]).items()
    return distinct(path for subject, own in sampled for path in _sampled_with(study, layout, battery, subject, own))


def _sampled_with(
    study: Study, layout: Layout, battery: Battery, subject: str, sampled: Sequence[Condition]
) -> list[Path]:
    return distinct(
        [
            *adapter_files(study, layout, subject),
            *edited_files(layout, subject, sampled),
            *direction_files(layout, sampled),
            *shown_rows(layout, sampled),
            *question_files(study, layout, battery, subject),
        ]
    )


def sampling_manifests(study: Study, layout: Layout, battery: Battery) -> list[Path]:
    """Manifests of the sampling runs of a battery."""
    return [layout.manifest(battery, shard) for shard in range(len(dealt(study, battery)))]


def edit_inputs(study: Study, layout: Layout, subject: str) -> list[Path]:
    """What the edits of a subject are made of, beside its adapter."""
    modes = {c.edit.mode for c in edited_conditions(study, subject) if c.edit}
    return [
        *([layout.adapter_names(subject)] if "scaled" in modes else []),
        *([layout.checkpoints(subject)] if "checkpoint" in modes else []),
        *downstream_directions(study, layout, subject),
    ]


def downstream_directions(study: Study, layout: Layout, subject: str) -> list[Path]:
    """Directions that are taken out of a subject's B, and added for comparison."""
    return [layout.direction(source) for source in edit_sources(study, subject)]


def side_effects_inputs(study: Study, layout: Layout) -> list[Path]:
    """What the side effects of all projections are measured with, where the study asks for them."""
    if not side_effects(study, layout):
        return []
    subjects = battery_subjects(study, "ablation")
    rows = study.ablation.loss_dataset if study.ablation else None
    return [
        layout.responses(CHAT_BASE, "baseline"),
        *([layout.dataset(rows)] if rows else []),
        *(path for subject in subjects for path in adapter_files(study, layout, subject)),
        *distinct(f for s in subjects for f in direction_files(layout, conditions(study, "ablation", s))),
    ]


def base_means(study: Study, layout: Layout) -> list[Path]:
    """Where a condition needs them."""
    return [layout.base_means] if study.specificity else []


def side_effects(study: Study, layout: Layout) -> list[Path]:
    """Where the study asks for them."""
    return [layout.side_effects] if study.ablation and study.ablation.side_effects else []


def direction_texts(study: Study, layout: Layout, source: DirectionSource, subject: str) -> list[Path]:
    """What a subject's direction is taken from, by the source of directions."""
    if source == "responses":
        return [layout.responses(subject, "baseline"), layout.judgements(subject, "baseline")]
    return [layout.dataset(name) for name in (study.directions.bad, study.directions.good) if name]


def topic_files(study: Study, layout: Layout, subject: str | None) -> list[Path]:
    """Semantic directions of a subject."""
    topics = study.semantic.topics if study.semantic else []
    return [layout.direction(f"{subject}/{topic}") for topic in topics]


def rubric_files(study: Study) -> list[Path]:
    """Rubrics of the user's own, so that an edit of the file counts."""
    rubrics = getattr(study.judge, "rubrics", None)
    return [Path(rubrics.path)] if rubrics and rubrics.path else []


def judge_files(study: Study, layout: Layout) -> list[Path]:
    """What the judge needs; a local judge waits for its model, which may be the study's own base."""
    needed = rubric_files(study)
    if isinstance(study.judge, LocalJudge) and study.judge.hub:
        return [*needed, layout.judge_model / MODEL_CONFIG]
    own = isinstance(study.judge, LocalJudge) and not study.judge.model
    return needed + ([layout.fingerprint] if own else [])


def judged_by_others(study: Study, layout: Layout) -> list[Path]:
    """What the further judges of a panel make: the manifests of their runs and their judgements."""
    files: list[Path] = []
    for name in study.judges:
        read, place = read_by(study, name), layout.read_by(name)
        for battery in read_batteries(read):
            files.append(place.judged(battery))
            files += [place.judgements(subject, battery) for subject in battery_subjects(read, battery)]
    return files


def calibration_data(study: Study) -> list[Path]:
    """Files of the user's own by path that a calibration is fitted on."""
    assert study.calibration
    return [Path(file.path) for file in study.calibration.files if file.path]


def calibration_files(study: Study, layout: Layout) -> list[Path]:
    """What a calibration is fitted on, and held against."""
    assert study.calibration
    judge, reference = study.calibration.judge, study.calibration.by_panel
    subjects = battery_subjects(study, "baseline") if reference else [CHAT_BASE]
    scored = [
        layout.read_by(name).judgements(subject, "baseline")
        for name in (judge, *([reference] if reference else []))
        for subject in subjects
    ]
    return [*calibration_data(study), *judge_files(read_by(study, judge), layout.read_by(judge)), *scored]


def battery_responses(study: Study, layout: Layout, battery: Battery) -> list[Path]:
    return [layout.responses(subject, battery) for subject in battery_subjects(study, battery)]


def judged_answers(study: Study, layout: Layout) -> list[Path]:
    """Responses of all batteries, and the first judge's judgements."""
    return [
        part(subject, battery)
        for battery in batteries(study)
        for subject in battery_subjects(study, battery)
        for part in (layout.responses, layout.judgements)
    ]


def browsed(study: Study, layout: Layout) -> list[Path]:
    """What the response browser shows: all answers, and the scalars of adapters at their tokens."""
    read = subject_of(study.adapters, study)
    return [*judged_answers(study, layout), *([layout.scalars(read), layout.fingerprint] if read else [])]


def organism_artefacts(study: Study, layout: Layout) -> list[Path]:
    """What was checked before, and every organism: its adapter, its gate, the record of its training."""
    parts = (layout.adapter, layout.gate, layout.training, layout.checkpoints)
    return [*preflight(study, layout), *(part(subject) for part in parts for subject in adapter_subjects(study))]


def direction_artefacts(study: Study, layout: Layout) -> list[Path]:
    """Every direction: of organisms, from the other source, topics, traits, trained vectors; the base's means."""
    subjects = direction_subjects(study)
    return [
        *map(layout.direction, subjects),
        *map(layout.other_direction, subjects if study.directions.also else []),
        *topic_files(study, layout, topic_subject(study)),
        *map(layout.direction, given_directions(study)),
        *map(layout.direction, study.traits.named if study.traits else ()),
        *map(layout.direction, vector_subjects(study)),
        *base_means(study, layout),
    ]


def artefacts(study: Study, layout: Layout) -> list[Path]:
    """Every file that the stages before the tables make for this study."""
    files = [layout.fingerprint]
    for subject in adapter_subjects(study):
        files += training_data(study, layout, subject) + fetched_adapter(study, layout, subject)
    for subject in narrow_subjects(study):
        files += [layout.adapter_losses(subject), *loss_data(study, layout, subject)]
    for name in study.datasets:
        parts = dataset_parts(study, layout, name)
        files += parts if layout.dataset(name) in files else []
    if directions_from(study, "datasets"):
        files += direction_texts(study, layout, "datasets", CHAT_BASE)
    files += direction_artefacts(study, layout) + organism_artefacts(study, layout)
    files += map(layout.edits, edited_subjects(study))
    files += map(layout.downstream, single_adapter_subjects(study))
    files += side_effects(study, layout)
    read = subject_of(study.adapters, study)
    if read:
        files += [part(read) for part in (layout.scalars, layout.probes, layout.adapter_names)]
    for battery in sampled_batteries(study):
        files += sampling_manifests(study, layout, battery)
        for subject in battery_subjects(study, battery):
            files += question_files(study, layout, battery, subject)
    for name in study.questions:
        files += question_parts(study, layout, name) if layout.questions(name) in files else []
    files += [layout.judged(battery) for battery in batteries(study)]
    return distinct([*files, *judged_answers(study, layout), *judged_by_others(study, layout)])
