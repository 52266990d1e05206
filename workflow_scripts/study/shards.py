"""How a battery is spread over jobs: its (subject, condition) pairs, dealt out by the tokens that they will take."""

from __future__ import annotations

from collections.abc import Sequence

from workflow_scripts.study.conditions import Condition, conditions, question_uses, sampled_subjects
from workflow_scripts.study.costs import COSTS, answers_of
from workflow_scripts.study.sampling import Battery
from workflow_scripts.study.schema import Study

Pair = tuple[str, Condition]
"""A subject and what is done to it."""


def dealt(study: Study, battery: Battery, shards: int | None = None) -> list[list[Pair]]:
    """The pairs of each shard of a battery; no shard is empty, so that there may be fewer than were asked for.

    They stay in the battery's order and are cut into runs of nearly equal tokens: a subject's conditions lie together,
    and few engines serve and check the same adapter. What a pair yields does not depend on its shard.

    Args:
        shards: asked for; the study's when absent.
    """
    subjects = sampled_subjects(study, battery)
    pairs = [(subject, condition) for subject in subjects for condition in conditions(study, battery, subject)]
    tokens = {subject: expected_tokens(study, battery, subject) for subject in subjects}
    runs = even_runs([tokens[subject] for subject, _ in pairs], shards or study.execution.shards)
    return [pairs[run] for run in runs]


def by_subject(pairs: Sequence[Pair]) -> dict[str, list[Condition]]:
    """The conditions of each subject among the pairs, in order."""
    found: dict[str, list[Condition]] = {}
    for subject, condition in pairs:
        found.setdefault(subject, []).append(condition)
    return found


def expected_tokens(study: Study, battery: Battery, subject: str) -> int:
    """Tokens of one condition of a subject, by question: sets count as equally long, since some are not fetched yet."""
    samples = sum(use.samples for use in question_uses(study, battery, subject))
    return samples * round(min(COSTS.answers[answers_of(study, subject)].mean, study.sampling.max_tokens))


def even_runs(weights: Sequence[int], most: int) -> list[slice]:
    """Cuts a row into at most `most` runs of nearly equal weight, none of them empty.

    A run ends where it is nearest to its share of what is left.
    """
    runs: list[slice] = []
    start, left = 0, sum(weights)
    for to_come in range(most, 0, -1):
        if start == len(weights):
            break
        end, run = start + 1, weights[start]
        while end < len(weights) and run + weights[end] / 2 <= left / to_come:
            run += weights[end]
            end += 1
        runs.append(slice(start, end))
        start, left = end, left - run
    return runs
