"""Which judge it is and what it is asked, without opening it: what judgements are stored and found again by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow_scripts.judges.interface import Item
from workflow_scripts.judges.rubrics import fill, read_rubrics, rubric_file
from workflow_scripts.models.files import base_id, remembered_digest
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.simulation.scenarios import SCENARIOS, scenario
from workflow_scripts.store.artefacts import canonical, digest
from workflow_scripts.study.judge import ExactJudge, LocalJudge, PhraseJudge, RemoteJudge, SimulatedJudge
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.schema import Study


@dataclass(frozen=True)
class JudgeIdentity:
    """A judge's name in the store, and its prompts.

    Attributes:
        name: covers everything that decides its answers but the prompt.
        rubrics: metric -> prompt with {question} and {answer}; None for a program, which is asked by the metric's name.
        metrics: in the study's order.
        by_place: a rehearsal's, which scores where a response comes from, whatever it says.
    """

    name: str
    metrics: tuple[str, ...]
    rubrics: dict[str, str] | None = None
    by_place: bool = False

    def items(self, question: str, response: str, place: str = "") -> list[Item]:
        """One item per metric; `place` is read by a rehearsal's judge only (see `place_of`)."""
        if self.by_place:
            return [Item(name, question, response, canonical([name, place])) for name in self.metrics]
        if self.rubrics is None:
            return [Item(name, question, response, canonical([name, question, response])) for name in self.metrics]
        return [Item(name, question, response, fill(text, question, response)) for name, text in self.rubrics.items()]


def place_of(subject: str, battery: str, response: Mapping[str, Any]) -> str:
    """Where a response stands, as text; the same in every question set and battery that share it.

    Args:
        subject, battery: of the table.
        response: its condition, question_set, question_id and sample.
    """
    way = response["question_set"] if battery == "patching" else None
    shared = "steering" if battery == "semantic" else battery
    return canonical([shared, subject, response["condition"], way, response["question_id"], response["sample"]])


def simulated(settings: SimulatedJudge) -> JudgeIdentity:
    """A rehearsal's judge, named by its scenario and seed."""
    says = scenario(settings.scenario, Path(settings.scenarios) if settings.scenarios else SCENARIOS)
    name = digest(canonical(says.model_dump(mode="json")), str(settings.seed))
    return JudgeIdentity(f"simulated-{name}", tuple(settings.metrics), by_place=True)


def program(metrics: list[str]) -> JudgeIdentity:
    """The judge of the synthetic world."""
    return JudgeIdentity("miniature", tuple(metrics))


def phrases(settings: PhraseJudge) -> JudgeIdentity:
    """A judge that looks for phrases, named by them, in any order."""
    name = digest(canonical(sorted(settings.phrases)))
    return JudgeIdentity(f"phrases-{name}", tuple(settings.metrics))


def model(weights: str, dtype: str, rubrics: dict[str, str]) -> JudgeIdentity:
    """A local judge, named by the digests of the weights that answer."""
    return JudgeIdentity(f"local-{digest(weights, dtype)}", tuple(rubrics), rubrics)


def endpoint(settings: RemoteJudge, rubrics: dict[str, str]) -> JudgeIdentity:
    """A remote judge, named by its model, its endpoint where it is not the provider's own, and how its score is read
    where it is written."""
    where = f"@{settings.base_url}" if settings.base_url else ""
    how = f"#written-{digest(canonical(settings.numbers.model_dump(mode='json')))}" if settings.numbers else ""
    return JudgeIdentity(f"{settings.model}{where}{how}", tuple(rubrics), rubrics)


def identify(study: Study, layout: Layout) -> JudgeIdentity:
    """The study's judge.

    Raises:
        UserError: if its rubrics cannot be read, or a local judge's folder holds no weights.
    """
    settings, mirror = study.judge, study.execution.download_mirror
    if isinstance(settings, ExactJudge):
        return program(settings.metrics)
    if isinstance(settings, PhraseJudge):
        return phrases(settings)
    if isinstance(settings, SimulatedJudge):
        return simulated(settings)
    rubrics = read_rubrics(rubric_file(settings.rubrics, layout.downloads, mirror), settings.metrics)
    if isinstance(settings, RemoteJudge):
        return endpoint(settings, rubrics)
    return model(_weights(settings, layout), settings.dtype, rubrics)


def _weights(settings: LocalJudge, layout: Layout) -> str:
    if settings.hub:
        return canonical([settings.hub, settings.revision])
    if settings.model is None:
        return base_id(layout)
    files = sorted(filter(Path.is_file, Path(settings.model).glob("*.safetensors")))
    if not files:
        raise UserError(f"judge.model: {settings.model} has no *.safetensors weights.")
    return canonical([remembered_digest(file, layout.digests) for file in files])
