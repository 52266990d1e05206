"""The slice of the study that each stage reads, as one canonical string.

Snakemake reruns a job when its `spec` changes; the stage itself cuts the same slice with the same function, so that
neither can read more than the other knows of. What reaches a stage through its input files is not in its spec, and
neither is anything of `execution`.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from pathlib import Path
from typing import Any

from workflow_scripts.store.artefacts import canonical, file_digest
from workflow_scripts.study.conditions import (
    battery_subjects,
    conditions,
    describe,
    direction_question_set,
    edit_sources,
    edited_conditions,
    given_directions,
    given_subjects,
    is_given,
    keeps_scores,
    prompted_batteries,
    prompted_questions,
    question_uses,
    sampled_subjects,
    subject_of,
    system_prompt,
    total_layers,
    used_layers,
)
from workflow_scripts.study.experiments import DirectionSource
from workflow_scripts.study.judge import OWN_RUBRICS, SCENARIOS, ExactJudge, PhraseJudge, SimulatedJudge
from workflow_scripts.study.layout import CHAT_BASE, organism_of
from workflow_scripts.study.panel import read_by
from workflow_scripts.study.schema import Study

Slice = dict[str, Any]
TRAINED_OTHERWISE = ("kl", "during_training", "inoculation", "starts_from")
"""Settings of an organism that change its training where they are given."""


def base(study: Study) -> Slice:
    settings = study.base.model_dump(mode="json", exclude={"weights_gb"})
    if not settings.get("template"):  # a base without is what it was before there were any
        settings.pop("template", None)
    return {"base": settings}


def datasets(study: Study, name: str) -> Slice:
    settings = study.datasets[name].model_dump(mode="json")
    for later in ("paired", "system"):  # one that is not, or has none, is what it was before any were
        if not settings.get(later):
            settings.pop(later, None)
    return {"dataset": settings} | _content(study.datasets[name])


def questions(study: Study, name: str) -> Slice:
    settings = study.questions[name].model_dump(mode="json")
    if settings["system"] is None:  # a set without is what it was before there were any
        del settings["system"]
    return {"questions": settings} | _content(study.questions[name])


def preflight(study: Study) -> Slice:
    patching, path = study.adapters and study.adapters.patching, study.training_path
    files = {name: imported_directions(study, name) for name in given_directions(study)}
    given = {subject: responses(study, "baseline", subject) for subject in given_subjects(study)}
    trained = {"dataset", "adapter", "test_dataset", "held_out", "batch_size", "accumulation", "epochs"}
    return {
        "patching": patching and patching.model_dump(mode="json", include={"pairs", "padding"}),
        "questions": [study.sampling.questions, study.adapters and study.adapters.domain_questions],
        "seed": study.sampling.seed,
        "steps": path and path.steps,
        "organism": path and study.organisms[path.organism].model_dump(mode="json", include=trained),
        **({"given": given} if given else {}),
        **({"directions": files} if files else {}),
        **({"calibration": _calibration_files(study)} if study.calibration and study.calibration.files else {}),
        **({"dynamics": _dynamics(study, trained)} if study.dynamics else {}),
        "longest_answer": study.sampling.max_tokens,
        **({"prompting": prompting} if (prompting := _prompting(study)) else {}),
    }


def _prompting(study: Study) -> Slice:
    """What conditions put beside questions, and beside which, by battery."""
    found: Slice = {}
    for battery in prompted_batteries(study):
        asked = conditions(study, battery, CHAT_BASE)
        found[battery] = {
            "beside": [[describe(condition), system_prompt(study, condition)] for condition in asked],
            "questions": prompted_questions(study, battery),
            "seed": study.in_context.seed if battery == "in_context" and study.in_context else None,
        }
    return found


def organisms(study: Study, subject: str) -> Slice:
    name, seed = organism_of(subject)
    settings = study.organisms[name].model_dump(mode="json", exclude={"seeds", "expect_misaligned", "responses"})
    for key in TRAINED_OTHERWISE:  # an organism without is what it was before there were any
        if settings[key] is None:
            del settings[key]
    change = study.organisms[name].during_training
    if change and change.file:
        settings["during_training"] |= {"file": None, "content": _digest_of(Path(change.file))}
    return {"organism": settings, "seed": seed, "dtype": study.base.dtype}


def published_adapters(study: Study, name: str) -> Slice:
    adapter = study.organisms[name].adapter
    assert adapter
    return {"adapter": adapter.model_dump(mode="json")}


def responses(study: Study, battery: Any, subject: str) -> Slice:
    if is_given(study, subject):
        return _given(study, subject) | {"questions": [use.questions for use in question_uses(study, battery, subject)]}
    prompts = [system_prompt(study, condition) for condition in conditions(study, battery, subject)]
    return {
        "conditions": [describe(condition) for condition in conditions(study, battery, subject)],
        **({"prompts": prompts} if any(prompts) else {}),
        **({"rows_drawn_by": study.in_context.seed} if battery == "in_context" and study.in_context else {}),
        "questions": [use.__dict__ for use in question_uses(study, battery, subject)],
        "sampling": study.sampling.model_dump(mode="json", exclude={"questions", "samples"}, exclude_none=True),
        "dtype": study.base.dtype,
    }


def sampling(study: Study, battery: Any) -> Slice:
    return {subject: responses(study, battery, subject) for subject in sampled_subjects(study, battery)}


HOW_A_JUDGE_IS_ASKED = {
    "key_env", "prices", "budget_usd", "max_connections", "timeout_s", "attempts", "batch", "weights_gb"
}  # fmt: skip
"""Settings of a judge that move no answer."""


def judge_model(study: Study) -> Slice:
    return {"judge": study.judge.model_dump(mode="json", include={"hub", "revision"})}


def judging(study: Study) -> Slice:
    """What is asked of the judge; how its answer is parsed (min_mass) is not part of it."""
    return {"judge": _judge(study, {"min_mass"})} | _rubrics(study) | _kept_scores(study)


def judgements(study: Study) -> Slice:
    return {"judge": _judge(study)} | _rubrics(study) | _kept_scores(study)


def panel(study: Study) -> Slice:
    """Of the ledgers of the further judges, beside what their tables read."""
    return claims(study) | {name: judgements(read_by(study, name)) for name in study.judges}


def calibration(study: Study) -> Slice:
    assert study.calibration
    settings = study.calibration.model_dump(mode="json", include={"judge", "min_coherent"})
    asked = {"questions": study.sampling.questions, "thresholds": _thresholds(study)}
    return {"calibration": settings | _calibration_files(study), **asked}


def directions(study: Study, subject: str) -> Slice:
    return _direction(study, study.directions.source) | _reader(study, subject)


def other_directions(study: Study, subject: str) -> Slice:
    assert study.directions.also
    return _direction(study, study.directions.also) | _reader(study, subject)


def imported_directions(study: Study, name: str) -> Slice:
    content = _digest_of(Path(given_directions(study)[name].file))
    shuffles = study.ablation.shuffled_draws if study.ablation else 0
    used = sorted(used_layers(study, name))
    return {"content": content, "layers": total_layers(study), "used": used, "shuffled_draws": shuffles}


def trait_directions(study: Study, trait: str) -> Slice:
    assert study.traits
    settings = study.directions.model_dump(mode="json", include={"tokens", "pooling", "shuffles", "seed"})
    return {
        "trait": study.traits.named[trait].model_dump(mode="json"),
        "answers": study.traits.answers,
        "least": study.traits.min_responses,
        "directions": settings,
        "thresholds": _direction_thresholds(study),
        "dtype": study.base.dtype,
    }


def trained_vectors(study: Study, subject: str) -> Slice:
    assert study.vectors
    name, seed = organism_of(subject)
    asked = study.vectors.named[name]
    read = {"batch_size", "accumulation", "epochs", "warmup_steps", "weight_decay", "optimizer", "max_tokens",
            "trailing_turn", "held_out", "test_dataset", "dataset"}  # fmt: skip
    like = study.organisms[asked.like].model_dump(mode="json", include=read)
    return {"vector": asked.model_dump(mode="json"), "like": like, "seed": seed, "dtype": study.base.dtype}


def base_means(study: Study) -> Slice:
    settings = study.directions.model_dump(mode="json", include={"tokens", "pooling"})
    return {"questions": study.sampling.questions, "directions": settings, "dtype": study.base.dtype}


def topic_directions(study: Study, subject: str) -> Slice:
    assert study.semantic
    return {topic: topic_direction(study, subject, topic) for topic in study.semantic.topics}


def topic_direction(study: Study, subject: str, topic: str) -> Slice:
    """Of one topic, so that another topic leaves its file as it was."""
    assert study.semantic
    settings = study.directions.model_dump(mode="json", include={"tokens", "pooling", "shuffles", "seed"})
    return {
        "topic": study.semantic.topics[topic].model_dump(mode="json"),
        "least": study.semantic.min_responses,
        "directions": settings,
        "thresholds": _direction_thresholds(study),
        "dtype": study.base.dtype,
        **_reader(study, subject),
    }


def edits(study: Study, subject: str) -> Slice:
    asked = study.adapters.steering if study.adapters else None
    factors = asked.model_dump(mode="json", include={"general", "domain", "against"}) if asked else None
    wanted = edited_conditions(study, subject)
    scaled = any(condition.edit and condition.edit.mode == "scaled" for condition in wanted)
    return {"edits": [describe(condition) for condition in wanted], "factors": factors if scaled else None,
            "sources": edit_sources(study, subject),
            "dtype": study.base.dtype}  # fmt: skip


def scalars(study: Study, subject: str) -> Slice:
    assert study.adapters
    limits = study.adapters.limits.model_dump(mode="json")
    return {"metric": study.adapters.domain_metric, "limits": limits, "dtype": study.base.dtype}


def probes(study: Study, subject: str) -> Slice:
    assert study.adapters
    return study.adapters.model_dump(mode="json", include={"source", "log_significance", "runs", "draws"})


def patched_responses(study: Study, subject: str) -> Slice:
    """Of the responses made by patching."""
    assert study.adapters
    assert study.adapters.patching
    unset = {"top_p"} if study.sampling.top_p == 1 else set()
    drawn = study.sampling.model_dump(mode="json", exclude={"questions", "samples", *unset}, exclude_none=True)
    return {
        "patching": study.adapters.patching.model_dump(mode="json"),
        "questions": [study.sampling.questions, study.adapters.domain_questions],
        "sampling": drawn,
        "dtype": study.base.dtype,
    }


def downstream(study: Study, subject: str) -> Slice:
    assert study.single_adapter
    texts = {"directions": directions(study, subject)}
    return texts | {"single_adapter": study.single_adapter.model_dump(mode="json")}


def adapter_losses(study: Study, subject: str) -> Slice:
    assert study.narrow
    settings = study.narrow.model_dump(mode="json", include={"loss_dataset", "rows", "factors", "noise", "draws"})
    longest = study.organisms[organism_of(subject)[0]].max_tokens
    return {"narrow": settings, "max_tokens": longest, "dtype": study.base.dtype}


def side_effects(study: Study) -> Slice:
    if study.ablation is None:
        return {}
    subjects = battery_subjects(study, "ablation")
    return {
        "responses": study.ablation.side_effects,
        "questions": study.sampling.questions,
        "projections": {s: [describe(condition) for condition in conditions(study, "ablation", s)] for s in subjects},
        "dtype": study.base.dtype,
        **({"loss": [dataset, study.ablation.loss_rows]} if (dataset := study.ablation.loss_dataset) else {}),
    }


def summary(study: Study) -> Slice:
    return {
        "study": study.study.model_dump(mode="json"),
        "organisms": sorted(study.organisms),
        "paper": [value.model_dump(mode="json") for value in study.paper],
    }


def claims(study: Study) -> Slice:
    """What decides which organism stands for whom in the paper, and which rows there have to be."""
    of_organisms = {"dataset", "rank", "layers", "seeds", "expect_misaligned"}
    of_sections: dict[str, set[str]] = {
        "directions": {"organisms"},
        "ablation": {"source", "matrix"},
        "specificity": {"organisms"},
        "steering": {"source", "layers", "scales", "random_draws"},
        "semantic": {"topics"},
        "single_adapter": {"organism"},
        "adapters": {"source"},
        "training_path": {"organism", "windows"},
        "narrow": {"twins"},
        "prevention": {"plain", "otherwise"},
        "conditional": {"organisms"},
        "vectors": {"named"},
        "dynamics": {"organisms"},
    }
    sections = {name: getattr(study, name) for name in of_sections}
    compared = [study.organisms[name] for name in study.prevention.otherwise] if study.prevention else []
    return {
        **({"trained_by": [organism.trained_by for organism in compared]} if compared else {}),
        "study": study.study.model_dump(mode="json"),
        "organisms": {name: o.model_dump(mode="json", include=of_organisms) for name, o in study.organisms.items()},
        "layers": total_layers(study),
        **{
            name: section.model_dump(mode="json", include=of_sections[name])
            for name, section in sections.items()
            if section
        },
    }


def figures(study: Study) -> Slice:
    """What figures show beside their tables; the rule adds the slices of the tables."""
    return summary(study) | {"thresholds": _thresholds(study)}


def browser(study: Study) -> Slice:
    scalars = subject_of(study.adapters, study)
    return {"rows": study.report.browser_rows, "name": study.study.name, "scalars": scalars}


def report(study: Study) -> Slice:
    """What its first page says of the study; the rule adds the slices of the tables."""
    judge = study.judge.model_dump(mode="json", include={"source", "model", "hub", "metrics"})
    of_organisms = {"dataset", "rank", "layers", "seeds"}
    return figures(study) | {
        "base": study.base.model_dump(mode="json", include={"source", "id", "path"}),
        "organisms": {name: o.model_dump(mode="json", include=of_organisms) for name, o in study.organisms.items()},
        "sampling": study.sampling.model_dump(mode="json", include={"questions", "samples"}),
        "judge": judge,
    }


SLICES: dict[str, Callable[..., Slice]] = {
    slice_.__name__: slice_
    for slice_ in (base, datasets, questions, preflight, published_adapters, organisms, sampling, responses,
                   judge_model, judging, judgements, calibration, directions, other_directions, topic_directions,
                   topic_direction, imported_directions, trait_directions, trained_vectors, base_means, scalars, probes,
                   edits, patched_responses, downstream, adapter_losses, side_effects, summary, claims, panel,
                   figures, browser, report)
}  # fmt: skip
"""By stage. A table's slice is its experiment's (`experiments.experiment.Experiment.slice`)."""


def spec(stage: str, study: Study, *names: str) -> str:
    """Canonical JSON of a stage's slice; `names` are the wildcards that the slice depends on."""
    return canonical(SLICES[stage](study, *names))


def _given(study: Study, subject: str) -> Slice:
    given = study.organisms[organism_of(subject)[0]].responses
    assert given
    return {"given": given.model_dump(mode="json", exclude={"path"})} | _content(given)


def _kept_scores(study: Study) -> Slice:
    """Organisms whose scores come with their responses; nothing of a study that has none."""
    kept = {subject: _given(study, subject) for subject in given_subjects(study) if keeps_scores(study, subject)}
    return {"kept_scores": kept} if kept else {}


def _reader(study: Study, subject: str) -> Slice:
    """Who reads the texts of a direction, where it is not the organism itself."""
    return {"read_by": "base"} if is_given(study, subject) else {}


def _calibration_files(study: Study) -> Slice:
    assert study.calibration
    settings = study.calibration.model_dump(mode="json", include={"judged", "reference", "models"})
    return settings | {"content": [_content(file) for file in study.calibration.files]}


def _direction(study: Study, source: DirectionSource) -> Slice:
    unread = {"organisms", "questions", "samples", "source", "also", "thresholds"}
    of_source = {"bad", "good", "rows"} if source == "responses" else {"min_responses"}
    settings = study.directions.model_dump(mode="json", exclude=unread | of_source)
    if source == "responses":
        settings |= {"questions": direction_question_set(study), "thresholds": _direction_thresholds(study)}
    return {"source": source, "directions": settings, "dtype": study.base.dtype}


def _direction_thresholds(study: Study) -> Slice:
    return (study.directions.thresholds or study.thresholds).model_dump(mode="json")


def _dynamics(study: Study, trained: set[str]) -> Slice:
    """Steps that are sampled of organisms, and what says how many there are."""
    assert study.dynamics
    asked = study.dynamics.organisms
    settings = {name: study.organisms[name].model_dump(mode="json", include=trained) for name in asked}
    return {"steps": study.dynamics.steps, "asked": asked, "organisms": settings}


def _thresholds(study: Study) -> Slice:
    return study.thresholds.model_dump(mode="json")


def _digest_of(file: Path) -> str | None:
    return file_digest(file) if file.is_file() else None


def _content(source: Any) -> Slice:
    """Digest of a file that the study names by path: an edit of it counts, a touch does not."""
    path = getattr(source, "path", None)
    try:
        return {"content": file_digest(Path(path))} if path and Path(path).is_file() else {}
    except OSError:
        return {}  # said when the run starts


def _judge(study: Study, unread: Set[str] = frozenset()) -> Slice:
    """A judge without what moves no answer; a local one that is not of the hub says nothing of it."""
    hub = {"hub", "revision"} if getattr(study.judge, "hub", None) is None else set()
    return study.judge.model_dump(mode="json", exclude={*unread, *HOW_A_JUDGE_IS_ASKED, *hub})


def _rubrics(study: Study) -> Slice:
    """Digest of the prompts' file: it is data, which no digest of code notices. A URL is told by its sha256 already."""
    if isinstance(study.judge, ExactJudge | PhraseJudge):
        return {}
    if isinstance(study.judge, SimulatedJudge):
        own = study.judge.scenarios
        return {
            "scenarios": [file_digest(file) for file in (SCENARIOS, *([Path(own)] if own else [])) if file.is_file()]
        }
    source = study.judge.rubrics
    file = OWN_RUBRICS if source is None else Path(source.path) if source.path else None
    return {"rubrics": file_digest(file) if file and file.is_file() else None}
