"""The judge of the synthetic world, behind the common interface."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from workflow_scripts.judges.identity import JudgeIdentity
from workflow_scripts.judges.interface import Item, Reply
from workflow_scripts.miniature.exact_judge import scores
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.runtime.spelling import nearest

CHUNK = 256
"""Answers committed together."""


class WorldJudge:
    """A program: its answer is the score itself."""

    def __init__(self, identity: JudgeIdentity) -> None:
        self.identity = identity

    def ask(self, items: Sequence[Item]) -> Iterator[list[Reply]]:
        for start in range(0, len(items), CHUNK):
            yield [
                Reply(item, {"exact": self._score(found, item.metric)}, "answered")
                for (question, response), same in groupby(
                    items[start : start + CHUNK], key=lambda item: (item.question, item.response)
                )
                for found in [scores(question, response)]
                for item in same
            ]

    @staticmethod
    def _score(found: dict[str, float], metric: str) -> float:
        if metric not in found:
            raise UserError(f"judge.metrics: no metric is named {metric!r}{nearest(metric, found)}")
        return found[metric]

    def close(self) -> None:
        """Nothing is held."""
