"""What a battery asks of the engine: which responses of which subject under which condition, and their store hashes.

Shared by the sampling run, which fills the store, and by the assembly of the response tables, which reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow_scripts.adapters.edited import edit_digests
from workflow_scripts.models.files import base_id
from workflow_scripts.models.prompting import NOTHING_BESIDE, Beside, beside
from workflow_scripts.store.absence import Absence, absences, absent
from workflow_scripts.store.adapter_files import adapter_digest
from workflow_scripts.store.artefacts import read_table, read_tensors, tensor_metadata, tensors_digest
from workflow_scripts.store.responses import Wanted, condition_hash, request_seed
from workflow_scripts.study.conditions import (
    Condition,
    QuestionUse,
    conditions,
    describe,
    question_uses,
)
from workflow_scripts.study.layout import CHAT_BASE, Layout
from workflow_scripts.study.sampling import Battery
from workflow_scripts.study.schema import Study


@dataclass(frozen=True)
class Question:
    question_id: str
    question_set: str
    text: str
    system: str | None
    samples: int


@dataclass(frozen=True)
class PlannedCondition:
    condition: Condition
    store_hash: str
    run: int
    """Fine-tuning seed that its responses are of: the subject's, or, for the chat base, the direction's; 0 for none."""
    beside: Beside = NOTHING_BESIDE
    """What stands in its prompts beside the questions."""


def settings(study: Study) -> dict[str, Any]:
    """Sampling settings that are part of a condition's identity; those that are not set are not."""
    return study.sampling.model_dump(exclude={"questions", "samples", "seed"}, exclude_none=True)


def planned(
    study: Study, layout: Layout, battery: Battery, subject: str, sampled: Sequence[Condition] | None = None
) -> list[PlannedCondition]:
    """Conditions of one subject with their hashes; needs the subject's adapters and the conditions' directions on disk.

    Those whose direction or edited adapter could not be made are left out (`lacking`).

    Args:
        sampled: only these conditions; all of the battery's when absent.
    """
    fingerprint = base_id(layout)
    own = None if subject == CHAT_BASE else adapter_digest(layout.adapter(subject), layout.gate(subject))
    digests: dict[tuple[str, str], str] = {}
    made = []
    asked = conditions(study, battery, subject) if sampled is None else sampled
    without = _lacking(layout, subject, asked)
    wanted_conditions = [c for c in asked if c not in without]
    edits = edit_digests(layout.edits(subject)) if any(c.edit for c in wanted_conditions) else {}
    for condition in wanted_conditions:
        change: dict[str, Any] | None = None
        adapter = edits[condition.name] if condition.edit else own
        prompted = beside(study, layout, condition)
        if condition.prompting:
            change = {"prompt": prompted.identity()}
        if condition.intervention:
            source = condition.intervention.source
            vectors = "shuffled_vectors" if condition.intervention.shuffled else "vectors"
            if (source, vectors) not in digests:
                digests[source, vectors] = tensor_metadata(layout.direction(source))[vectors]
            # the vectors name the change, not the organism that they came from
            change = {**describe(condition)["intervention"], "source": digests[source, vectors]}
            if condition.intervention.base_mean:
                change["means"] = tensor_metadata(layout.base_means)["means"]
            elif condition.intervention.mode == "set":
                change["means"] = means_digest(layout.direction(source))
            if condition.intervention.part == "orthogonal":
                change["shuffled"] = tensor_metadata(layout.direction(source))["shuffled_vectors"]
            if condition.intervention.others:
                change["others"] = [tensor_metadata(layout.direction(o))["vectors"] for o in change["others"]]
        made.append(
            PlannedCondition(
                condition,
                condition_hash(fingerprint, adapter, change, settings(study), study.base.dtype),
                run_of(subject, condition),
                prompted,
            )
        )
    return made


def means_digest(direction: Path) -> str:
    """Names the mean activations of a direction's aligned texts."""
    return tensors_digest({"aligned_mean": read_tensors(direction, ["aligned_mean"])[0]["aligned_mean"]})


def run_of(subject: str, condition: Condition) -> int:
    """The fine-tuning seed that a condition's responses are of; 0 for the chat base as it is."""
    of = condition.intervention.source if subject == CHAT_BASE and condition.intervention else subject
    seed = of.partition("/seed-")[2].partition("/")[0]
    return int(seed or 0)


def lacking(study: Study, layout: Layout, battery: Battery, subject: str) -> dict[Condition, Absence]:
    """Conditions of one subject whose direction or edited adapter could not be made, and why."""
    return _lacking(layout, subject, conditions(study, battery, subject))


def _lacking(layout: Layout, subject: str, asked: Sequence[Condition]) -> dict[Condition, Absence]:
    sources = {source for condition in asked if condition.intervention for source in condition.intervention.sources}
    reasons = {source: absent(layout.direction(source)) for source in sources}
    edits = absences(layout.edits(subject)) if any(c.edit for c in asked) else []
    edit_reasons = {absence.kind: absence.why for absence in edits}
    made = {}
    for condition in asked:
        change = condition.intervention
        whys = [reasons[source] for source in change.sources] if change else []
        whys += [edit_reasons.get(condition.kind)] if condition.edit else []
        why = next(filter(None, whys), None)
        if why:
            made[condition] = Absence(why, condition.kind)
    return made


def questions(layout: Layout, uses: list[QuestionUse]) -> list[Question]:
    """Questions of several sets, in order; a question that stands in two sets is asked once for each."""
    return [
        Question(row["question_id"], use.questions, row["question"], row["system"], use.samples)
        for use in uses
        for row in read_table(layout.questions(use.questions), ["question_id", "question", "system"]).to_pylist()
    ]


def subject_questions(study: Study, layout: Layout, battery: Battery, subject: str) -> list[Question]:
    return questions(layout, question_uses(study, battery, subject))


def wanted(study: Study, asked: list[Question], run: int) -> list[Wanted]:
    """Every response that these questions need under a condition of one fine-tuning seed, each once."""
    return list(
        dict.fromkeys(
            Wanted(
                question.question_id,
                question.system,
                question.text,
                sample,
                request_seed(study.sampling.seed, question.question_id, sample, run),
            )
            for question in asked
            for sample in range(question.samples)
        )
    )
