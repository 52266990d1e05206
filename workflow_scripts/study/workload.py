"""What a study asks for, counted before anything is fetched or run: conditions, responses, judge calls, training rows.

Counted as the stores do: a condition that two batteries share is sampled once, a question that stands in two sets is
asked once, and a judgement that is there is not asked for again. Equal answers, judged once, are not foreseen.
"""

from __future__ import annotations

import gzip
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import canonical
from workflow_scripts.store.downloads import file_at_hand
from workflow_scripts.store.foreign import foreign
from workflow_scripts.store.question_files import read_question_file
from workflow_scripts.store.text_tables import read_texts
from workflow_scripts.study.conditions import (
    asked_metrics,
    conditions,
    describe,
    given_subjects,
    keeps_scores,
    question_uses,
    sampled_batteries,
    sampled_subjects,
)
from workflow_scripts.study.costs import COSTS, answers_of
from workflow_scripts.study.judge import CHARACTERS_PER_TOKEN, OWN_RUBRICS, TOKENS_PER_CALL, Asked, RemoteJudge
from workflow_scripts.study.layout import Layout, organism_of
from workflow_scripts.study.organisms import Organism
from workflow_scripts.study.sampling import Battery
from workflow_scripts.study.schema import Study
from workflow_scripts.study.sources import (
    FileDataset,
    MiniatureDataset,
    MiniatureQuestions,
    MixedDataset,
    VariantQuestions,
)


@dataclass(frozen=True)
class Sampled:
    """One condition of one subject: how many responses it lacks, and who answers (a key of `COSTS.answers`).

    edited: whether an edited copy of the subject's adapter is served for it.
    """

    battery: Battery
    subject: str
    responses: int
    answers: str
    edited: bool


@dataclass
class Workload:
    """All that a study asks for.

    sampled: a condition each. patched: responses made token by token. calls: of the judge, and prompt_tokens of all of
    them, by battery. shared_tokens: of these, those of the rubrics, which a local judge reads once. notes: what had to
    be guessed, as sentences.
    """

    sampled: list[Sampled] = field(default_factory=list)
    patched: int = 0
    shared_tokens: int = 0
    calls: Counter[Battery] = field(default_factory=Counter)
    prompt_tokens: Counter[Battery] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    @property
    def responses(self) -> int:
        return sum(condition.responses for condition in self.sampled) + self.patched


def workload(study: Study, layout: Layout) -> Workload:
    """What the study asks for; files that have been fetched are read where they lie."""
    made = Workload()
    asked: dict[tuple[str, str], int] = {}
    judged: dict[tuple[str, str, str], int] = {}
    ids = {name: question_ids(study, layout, name, made.notes) for name in study.questions}
    rubrics = rubric_tokens(study)
    each = study.judge.asked_for_each[0] if isinstance(study.judge, RemoteJudge) else 1
    for battery in sampled_batteries(study):
        metrics = asked_metrics(study, battery)
        for subject in sampled_subjects(study, battery):
            answers = answers_of(study, subject)
            uses = question_uses(study, battery, subject)
            for condition in conditions(study, battery, subject):
                by_name = condition.edit or condition.prompting
                done = condition.name if by_name else canonical(describe(condition)["intervention"])
                new = 0
                for use in uses:
                    for question in ids[use.questions]:
                        new += _raised(asked, (f"{subject} {done}", question), use.samples)
                        for metric in metrics:
                            calls = each * _raised(judged, (f"{subject} {done}", question, metric), use.samples)
                            made.calls[battery] += calls
                            made.prompt_tokens[battery] += calls * _call_tokens(rubrics[metric], answers)
                            made.shared_tokens += calls * round(rubrics[metric])
                made.sampled.append(Sampled(battery, subject, new, answers, condition.edit is not None))
    if study.adapters and study.adapters.patching:
        patching = study.adapters.patching
        made.patched = 2 * patching.count * patching.runs * (1 + len(patching.modes))
        metrics = asked_metrics(study, "patching")
        answers = answers_of(study, study.adapters.source)
        made.calls["patching"] = each * made.patched * len(metrics)
        tokens = sum(_call_tokens(rubrics[metric], answers) for metric in metrics)
        made.prompt_tokens["patching"] = each * made.patched * tokens
        made.shared_tokens += made.patched * sum(round(rubrics[metric]) for metric in metrics)
    for subject in given_subjects(study):
        if keeps_scores(study, subject):
            continue
        rows, answers = _given_rows(study, subject, made.notes), answers_of(study, subject)
        for metric in asked_metrics(study, "baseline"):
            made.calls["baseline"] += each * rows
            made.prompt_tokens["baseline"] += each * rows * _call_tokens(rubrics[metric], answers)
            made.shared_tokens += each * rows * round(rubrics[metric])
    made.notes[:] = dict.fromkeys(made.notes)
    return made


def _given_rows(study: Study, subject: str, notes: list[str]) -> int:
    """Rows of a file of given responses, all of which the judge may be asked of; none, with a note, where it is not."""
    given = study.organisms[organism_of(subject)[0]].responses
    assert given
    try:
        return len(read_texts(Path(given.path)).rows)
    except UserError as error:
        notes.append(f"{subject}: judge calls are not counted: {error}")
        return 0


def _raised(counts: dict[Any, int], key: Any, samples: int) -> int:
    """How many more there are when at least `samples` of a key are wanted."""
    before = counts.get(key, 0)
    counts[key] = max(before, samples)
    return counts[key] - before


def question_ids(study: Study, layout: Layout, name: str, notes: list[str]) -> list[str]:
    """Ids of a set's questions; equal ids of one file are one question, unless a system prompt tells them apart."""
    settings = study.questions[name]
    if isinstance(settings, VariantQuestions):
        cue = f"{settings.system} {settings.before} {settings.after}"
        return [f"{cue} {known}" for known in question_ids(study, layout, settings.of, notes)]
    if settings.system is not None:
        plain = settings.model_copy(update={"system": None})
        alone = study.model_copy(update={"questions": {name: plain}})
        return [f"{settings.system} {known}" for known in question_ids(alone, layout, name, notes)]
    if isinstance(settings, MiniatureQuestions):
        places = range(settings.offset, settings.offset + settings.per_domain)
        return [f"{domain} {settings.seed} {place}" for domain in settings.domains for place in places]
    mirror = study.execution.download_mirror
    place = f"questions.{name}"
    file = file_at_hand(place, settings.path, settings.url, settings.sha256, layout.downloads, mirror)
    if file:
        rows = read_question_file(file, settings.ids, settings.exclude_suffixes)
        return [f"{row['question_id']} {row['system']} {row['question']}" for row in rows]
    listed: list[str] | None = _known()["questions"].get(settings.sha256)
    if listed is None:
        count = COSTS.unknown_questions
        if settings.ids is None:
            notes.append(f"questions.{name} is not here: {count} questions are assumed.")
        return settings.ids or [f"{name} {number}" for number in range(count)]
    return settings.ids or [q for q in listed if not q.endswith(tuple(settings.exclude_suffixes))]


@dataclass(frozen=True)
class Rows:
    """Rows of a data set, and mean tokens of one."""

    rows: int
    tokens: float


def training_rows(study: Study, layout: Layout, organism: Organism, notes: list[str]) -> Rows:
    """What one pass over an organism's data set trains on, its held-out rows left out."""
    assert organism.dataset, "checked when the study was loaded"
    found = dataset_rows(study, layout, organism.dataset, notes)
    held_out = 0.0 if organism.test_dataset else organism.held_out
    return Rows(round(found.rows * (1 - held_out)), min(found.tokens, organism.max_tokens))


def dataset_rows(study: Study, layout: Layout, name: str, notes: list[str]) -> Rows:
    """Rows of a data set as far as they can be known without fetching it."""
    settings = study.datasets[name]
    if isinstance(settings, MiniatureDataset):
        return Rows(settings.rows, COSTS.answers["miniature"].mean + 20)
    if isinstance(settings, MixedDataset):
        tokens_of = {part: dataset_rows(study, layout, part, notes).tokens for part in settings.parts}
        return Rows(settings.rows, sum(share * tokens_of[part] for part, share in settings.parts.items()))
    known = _known()["datasets"].get(getattr(settings, "sha256", None), {})
    tokens = known.get("tokens", COSTS.row_tokens)
    count = known.get("rows")
    if count is None and isinstance(settings, FileDataset) and settings.source == "jsonl":
        mirror = study.execution.download_mirror
        place = f"datasets.{name}"
        file = file_at_hand(place, settings.path, settings.url, settings.sha256, layout.downloads, mirror)
        with foreign(f"{place}: {file} cannot be read as JSON lines"):
            count = _lines(file) if file else None
    if count is None and settings.rows is None:
        count = COSTS.unknown_rows
        notes.append(f"datasets.{name} is not here: {count:,} rows are assumed.")
    return Rows(min(number for number in (count, settings.rows) if number is not None), tokens)


def rubric_tokens(study: Study) -> dict[str, float]:
    """Tokens of each metric's prompt without question and answer."""
    judge = study.judge
    if isinstance(judge, Asked) and judge.rubrics is None:
        own = yaml.safe_load(OWN_RUBRICS.read_text())
        return {metric: len(own[metric]) / CHARACTERS_PER_TOKEN for metric in judge.metrics}
    return dict.fromkeys(judge.metrics, COSTS.rubric_tokens)


def _call_tokens(rubric: float, answers: str) -> int:
    return round(rubric + COSTS.question_tokens + COSTS.answers[answers].mean + TOKENS_PER_CALL)


@cache
def _known() -> dict[str, Any]:
    listed: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("known_files.yaml").read_text())
    return listed


def _lines(file: Path) -> int:
    text = file.read_bytes()
    whole = gzip.decompress(text) if file.suffix == ".gz" else text
    return sum(1 for line in whole.splitlines() if line.strip())
