"""What an experiment is: when a study asks for it, what it reads, the rows of its table, its figures.

Every list that the workflow makes of experiments (tables, figures, inputs, slices of the study, rows of the end table)
is made from these, in workflow_scripts.experiments.EXPERIMENTS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workflow_scripts.store.absence import absences
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.schema import Study
from workflow_scripts.study.slices import part_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing

    from workflow_scripts.experiments.rows import Row


def always(study: Study) -> bool:
    """Of what every study has."""
    return True


def nothing(study: Study) -> Sequence[str]:
    """Of what every study allows."""
    return ()


@dataclass(frozen=True)
class Figure:
    """A figure of an experiment: one question, answered from its table."""

    title: str
    """In the report."""
    draw: Callable[[Study, Layout], Drawing]
    asked: Callable[[Study], bool] = always
    """Whether a study that has the table has what this figure shows."""


@dataclass(frozen=True)
class Experiment:
    """One table of results and what is drawn from it. The caption of a figure is rules/captions/<figure>.rst."""

    table: str
    """Names results/<study>/tables/<table>.parquet."""
    labels: tuple[str, ...]
    """Of its rows, in the column `experiment`: the paper's experiments, as PAPER.md and the README number them."""
    asked: Callable[[Study], bool]
    """Whether a study asks for it."""
    reads: tuple[str, ...]
    """Settings that its rows depend on beside its inputs: its spec (see `study.slices.part_of`)."""
    inputs: Callable[[Study, Layout], Sequence[Path]]
    """Files that it reads."""
    rows: Callable[[Study, Layout], list[Row]]
    """Rows of its table (see `experiments.rows`)."""
    shown: Callable[[pd.DataFrame], pd.Series[bool]]
    """Which of its pooled rows answer its question: those of the end table."""
    lacks: Callable[[Study], Sequence[str]] = nothing
    """What a study does not allow of it, whatever its inputs hold."""
    kinds: frozenset[str] | None = None
    """Kinds of condition that it reads of a battery that several experiments share; None: all."""
    figures: Mapping[str, Figure] = field(default_factory=dict)
    no_figure: str = ""
    """Why it has none."""
    no_claim: str = ""
    """Why no claim of the ledger rests on it."""

    @property
    def module(self) -> str:
        """The module that holds it, below workflow_scripts: what its digest is taken of."""
        return self.rows.__module__.partition(".")[2]

    def slice(self, study: Study) -> dict[str, Any]:
        """What its table reads of a study."""
        return part_of(study, self.reads)

    def not_possible(self, study: Study, layout: Layout) -> list[str]:
        """Why parts of its table could not be made, each reason once; from the study, and from what its inputs lack."""
        found = [absence for path in self.inputs(study, layout) for absence in absences(path)]
        read = [a for a in found if a.kind is None or self.kinds is None or a.kind in self.kinds]
        return list(dict.fromkeys([*self.lacks(study), *(absence.why for absence in read)]))
