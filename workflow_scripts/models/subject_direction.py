"""How a subject's direction is taken, from either source of directions (section 3.1); several that wait in one process.

What is imported here is light: a job that finds its direction taken needs no model.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from workflow_scripts.runtime.errors import NotPossible
from workflow_scripts.store.absence import write_absent
from workflow_scripts.store.ahead import Work, work_through
from workflow_scripts.study import inputs
from workflow_scripts.study.experiments import DirectionSource
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.made_by import made_by, reader_facts, work_of
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    from workflow_scripts.models.organism import Reader


def take_direction(
    stage: str, source: DirectionSource, study: Study, layout: Layout, subject: str, place_of: Callable[[str], Path]
) -> None:
    """Writes a subject's direction, or that its texts do not allow one; then those of subjects that wait.

    Args:
        stage: whose provenance it bears.
        source: whose texts the subject reads: its own judged responses, or the row-paired data sets.
        place_of: the file of a subject's direction.
    """
    taker = _Taker(stage, source, study, layout, place_of)
    work_through(stage, subject, taker.work, taker.make)


class _Taker:
    """Takes the directions of one stage; the arguments are those of `take_direction`."""

    def __init__(
        self, stage: str, source: DirectionSource, study: Study, layout: Layout, place_of: Callable[[str], Path]
    ) -> None:
        self._stage, self._source, self._study, self._layout = stage, source, study, layout
        self._place_of = place_of
        self._reader: Reader | None = None

    def _facts(self, subject: str) -> dict[str, str]:
        study, layout, place = self._study, self._layout, self._place_of(subject)
        read = [*inputs.organism_inputs(layout, subject), *inputs.direction_texts(study, layout, self._source, subject)]
        return made_by(self._stage, study, layout, place, read, subject, **reader_facts(study, subject))

    def work(self, subject: str) -> Work:
        place = self._place_of(subject)
        return Work(place, place, work_of(self._stage, self._facts(subject)))

    def make(self, subject: str, file: Path) -> None:
        from workflow_scripts.models.direction_files import write_direction
        from workflow_scripts.models.direction_texts import texts_from
        from workflow_scripts.models.loading import load_tokenizer
        from workflow_scripts.models.organism import Reader

        study, facts = self._study, self._facts(subject)
        try:
            texts = texts_from(self._source, study, self._layout, subject)
        except NotPossible as lack:
            write_absent(file, lack, facts)
            return
        self._reader = self._reader or Reader(study, self._layout)
        model, tokenizer = self._reader.model(subject), load_tokenizer(self._layout.base)
        write_direction(file, facts, study.directions, subject, model, tokenizer, texts, study.execution.batch_tokens)
