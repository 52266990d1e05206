"""A rehearsal's judge: scores drawn from a scenario by where a response stands (workflow_scripts/simulation)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from workflow_scripts.judges.identity import JudgeIdentity
from workflow_scripts.judges.interface import Item, Reply
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.simulation.answers import Answers
from workflow_scripts.simulation.scenarios import SCENARIOS, scenario
from workflow_scripts.simulation.truth import Truth, asked_by
from workflow_scripts.store.artefacts import read_table
from workflow_scripts.study.judge import SimulatedJudge
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.schema import Study

CHUNK = 4096
"""Answers committed together."""
REFUSED: dict[str, Any] = {"top": [["REFUSAL", 0.0]]}
"""As a model's reply that holds no number."""


class ScenarioJudge:
    """Scores of the study's scenario; nothing is read of what a response says."""

    def __init__(self, identity: JudgeIdentity, settings: SimulatedJudge, study: Study, layout: Layout) -> None:
        self.identity = identity
        says = scenario(settings.scenario, Path(settings.scenarios) if settings.scenarios else SCENARIOS)
        ids = {
            name: read_table(layout.questions(name), ["question_id"], only=True)["question_id"].to_pylist()
            for name in study.questions
            if layout.questions(name).is_file()
        }
        self._answers = Answers(Truth(study, says, settings.seed, asked_by(study, ids)))

    def ask(self, items: Sequence[Item]) -> Iterator[list[Reply]]:
        for start in range(0, len(items), CHUNK):
            yield [self._reply(item) for item in items[start : start + CHUNK]]

    def _reply(self, item: Item) -> Reply:
        _, place = json.loads(item.prompt)
        if not place:
            raise UserError("judge.source: a rehearsal's judge scores a study's own responses, no others.")
        battery, subject, condition, way, question, sample = json.loads(place)
        scores = self._answers.scores(battery, subject, condition, way)[item.metric]
        score = float(scores[self._answers.place[question], sample])
        return Reply(item, REFUSED if math.isnan(score) else {"exact": score}, "answered")

    def close(self) -> None:
        """Nothing is held."""
