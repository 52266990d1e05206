"""A panel of judges: the same study and the same stored responses, as another judge than the first scores them.

Directions, and what is sampled with them, are the first judge's, whoever reads the responses.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workflow_scripts.runtime.errors import UserError
from workflow_scripts.runtime.spelling import nearest
from workflow_scripts.study.conditions import asked_metrics, batteries
from workflow_scripts.study.judge import NEEDED
from workflow_scripts.study.layout import PRIMARY, Layout
from workflow_scripts.study.organisms import Organism
from workflow_scripts.study.reading import load
from workflow_scripts.study.sampling import Battery
from workflow_scripts.study.schema import Study


def judge_names(study: Study) -> list[str]:
    """Names of all judges, the first one first."""
    return [PRIMARY, *study.judges]


def place_of_judge(name: str) -> str:
    """Where a study names a judge, for errors."""
    return "judge" if name == PRIMARY else f"judges.{name}"


def read_by(study: Study, name: str) -> Study:
    """The study as if one judge of its panel were the only one, without the sections that ask for other metrics.

    Raises:
        KeyError: for a name that is no judge's.
    """
    if name == PRIMARY:
        return study
    judge, changes = study.judges[name], dict[str, Any](judges={}, calibration=None)
    topics = {topic.metric for topic in study.semantic.topics.values()} if study.semantic else set()
    if not topics <= set(judge.asked_for("baseline")) & set(judge.asked_for("semantic")):
        changes["semantic"] = None
    if study.adapters and study.adapters.domain_metric not in set(judge.asked_for("baseline")) & set(
        judge.asked_for("surgery") if study.adapters.steering else judge.metrics
    ):
        changes["adapters"] = None
    changes["organisms"] = {name: _asked_of_a_judge(organism) for name, organism in study.organisms.items()}
    return study.model_copy(update=changes | {"judge": judge})


def _asked_of_a_judge(organism: Organism) -> Organism:
    """The organism, its given responses scored by the judge: scores that came with them are the first judge's."""
    if organism.responses is None or organism.responses.scores == "judge":
        return organism
    return organism.model_copy(update={"responses": organism.responses.model_copy(update={"scores": "judge"})})


def loaded(file: Path, judge: str = PRIMARY) -> tuple[Study, Layout]:
    """A study and where its files lie, as one judge of its panel reads it.

    Args:
        file: the study's resolved file (results/<study>/study.json).
        judge: its name.

    Raises:
        UserError: if the file is no valid study, or has no judge of that name.
    """
    study = load(file)
    if judge != PRIMARY and judge not in study.judges:
        raise UserError(f"--judge: no judge is named {judge!r}{nearest(judge, judge_names(study))}")
    return read_by(study, judge), Layout.of(file).read_by(judge)


def read_batteries(read: Study) -> list[Battery]:
    """Batteries in which the judge of a study (see `read_by`) is asked for all that a rate needs."""
    return [battery for battery in batteries(read) if set(NEEDED) <= set(asked_metrics(read, battery))]
