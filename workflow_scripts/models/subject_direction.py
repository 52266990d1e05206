"""How a subject's direction is taken, from either source of directions (section 3.1), once however many jobs ask."""

from __future__ import annotations

from pathlib import Path

from workflow_scripts.models.direction_files import write_direction
from workflow_scripts.models.direction_texts import texts_from
from workflow_scripts.models.loading import load_tokenizer
from workflow_scripts.models.organism import load_organism, reader_facts
from workflow_scripts.runtime.errors import NotPossible
from workflow_scripts.runtime.locks import making
from workflow_scripts.store.absence import write_absent
from workflow_scripts.study import inputs
from workflow_scripts.study.experiments import DirectionSource
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.made_by import made_by, work_of
from workflow_scripts.study.schema import Study


def take_direction(
    stage: str, source: DirectionSource, study: Study, layout: Layout, subject: str, output: Path
) -> None:
    """Writes a subject's direction, or that its texts do not allow one.

    Args:
        stage: whose provenance it bears.
        source: whose texts the subject reads: its own judged responses, or the row-paired data sets.
        output: its place.
    """
    read = [*inputs.organism_inputs(layout, subject), *inputs.direction_texts(study, layout, source, subject)]
    facts = made_by(stage, study, layout, output, read, subject, **reader_facts(study, subject))
    with making(output, output, work_of(stage, facts)) as wanted:
        if not wanted:
            return
        try:
            texts = texts_from(source, study, layout, subject)
        except NotPossible as lack:
            write_absent(output, lack, facts)
            return
        model, tokenizer = load_organism(study, layout, subject), load_tokenizer(layout.base)
        tokens = study.execution.batch_tokens
        write_direction(output, facts, study.directions, subject, model, tokenizer, texts, tokens)
