"""Rubrics: what a judge model is asked, one prompt per metric."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from workflow_scripts.errors import UserError
from workflow_scripts.study import read_yaml

OWN = Path(__file__).with_name("rubrics.yaml")


def read_rubrics(path: Path, metrics: Sequence[str]) -> dict[str, str]:
    """Prompt text of each metric, from a YAML mapping metric -> text.

    Raises:
        UserError: if a metric is not there, or its text lacks {question} or {answer}.
    """
    texts = read_yaml(path)
    if not isinstance(texts, dict):
        raise UserError(f"{path}: is not a mapping of metric to prompt.")
    for metric in metrics:
        if metric not in texts:
            raise UserError(f"judge.metrics: {path.name} has no rubric {metric!r}; there is {', '.join(texts)}.")
        for blank in ("{question}", "{answer}"):
            if blank not in texts[metric]:
                raise UserError(f"{path}: the rubric {metric!r} lacks {blank}.")
    return {metric: str(texts[metric]) for metric in metrics}


def fill(rubric: str, question: str, answer: str) -> str:
    """The rendered prompt; braces in question and answer stay as they are."""
    before, between = rubric.split("{question}", 1)
    if "{answer}" in before:
        raise UserError("a rubric must name {question} before {answer}.")
    middle, after = between.split("{answer}", 1)
    return f"{before}{question}{middle}{answer}{after}"
