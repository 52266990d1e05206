"""Rubrics: what a judge model is asked, one prompt per metric."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.downloads import input_file
from workflow_scripts.store.yaml_files import read_yaml
from workflow_scripts.study.judge import OWN_RUBRICS, RubricFile

BLANKS = ("{question}", "{answer}")


def rubric_file(source: RubricFile | None, downloads: Path, mirror: str | None) -> Path:
    """The file with the rubrics: the project's own, or what `judge.rubrics` names (see `input_file`)."""
    if source is None:
        return OWN_RUBRICS
    return input_file("judge.rubrics", source.path, source.url, source.sha256, downloads, mirror)


def read_rubrics(path: Path, metrics: Sequence[str]) -> dict[str, str]:
    """Prompt text of each metric.

    The file is a mapping metric -> prompt, a list of such mappings (entries that are no text with a blank, such as
    high_score, are passed over), or a list of questions with `judge_prompts` (PAPER section 1.2), which must not
    disagree on a metric that is asked for.

    Raises:
        UserError: if the file has another form, lacks a metric, gives it two prompts, or a prompt is no text, lacks
            {question} or {answer} or names them the other way round.
    """
    found: dict[str, dict[str, str]] = {}
    for place, metric, text in _prompts(path, read_yaml(path)):
        if isinstance(text, str):
            found.setdefault(metric, {}).setdefault(text, place)
        elif metric in metrics:
            raise UserError(f"{path}: {place}: the rubric {metric!r} is no text; write the prompt as one text.")
    for metric in metrics:
        if metric not in found:
            there = ", ".join(found) or "none"
            raise UserError(f"judge.metrics: {path.name} has no rubric {metric!r}; there is {there}.")
        if len(found[metric]) > 1:
            one, other = list(found[metric].values())[:2]
            raise UserError(f"{path}: {one} and {other} ask {metric!r} with different prompts; keep one.")
        _check_blanks(path, metric, *found[metric])
    return {metric: next(iter(found[metric])) for metric in metrics}


def fill(rubric: str, question: str, answer: str) -> str:
    """The rendered prompt; braces in question and answer stay as they are."""
    before, rest = rubric.split("{question}", 1)
    middle, after = rest.split("{answer}", 1)
    return f"{before}{question}{middle}{answer}{after}"


def _prompts(path: Path, content: Any) -> Iterator[tuple[str, str, Any]]:
    """(where, metric, prompt) of every prompt in the file, and of whatever else stands in a prompt's place."""
    entries = [content] if isinstance(content, dict) else content
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f"{path}: is neither a mapping of metric to prompt nor a list of entries with judge_prompts.")
    for position, entry in enumerate(entries):
        listed = entry.get("judge_prompts")
        place = f"entry {entry.get('id', position + 1)}"
        prompts = listed if isinstance(listed, dict) else entry if "id" not in entry else {}
        yield from ((place, str(metric), text) for metric, text in prompts.items())


def _check_blanks(path: Path, metric: str, text: str) -> None:
    for blank in BLANKS:
        if text.count(blank) != 1:
            problem = "lacks" if blank not in text else "names more than once"
            raise UserError(f"{path}: the rubric {metric!r} {problem} {blank}; each blank must stand there once.")
    if text.index(BLANKS[1]) < text.index(BLANKS[0]):
        raise UserError(f"{path}: the rubric {metric!r} must name {{question}} before {{answer}}.")
