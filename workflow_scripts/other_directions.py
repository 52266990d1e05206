"""Directions from the study's other source (`directions.also`), which are held against the first's by cosine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from workflow_scripts.models.direction_files import write_direction
from workflow_scripts.models.direction_texts import texts_from
from workflow_scripts.models.loading import load_tokenizer
from workflow_scripts.models.organism import load_organism, reader_facts
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import NotPossible
from workflow_scripts.runtime.locks import making
from workflow_scripts.store.absence import write_absent
from workflow_scripts.study import inputs
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.made_by import made_by, work_of
from workflow_scripts.study.reading import load
from workflow_scripts.study.schema import Study


def main(arguments: list[str]) -> None:
    given = command.subject_parser(__doc__).parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    settings = study.directions
    assert settings.also, "asked for only where the study names another source"
    read = [
        *inputs.organism_inputs(layout, given.subject),
        *inputs.direction_texts(study, layout, settings.also, given.subject),
    ]
    facts = made_by(
        "other_directions", study, layout, given.output, read, given.subject, **reader_facts(study, given.subject)
    )
    with making(given.output, given.output, work_of("other_directions", facts)) as wanted:
        if wanted:
            make(study, layout, given.subject, given.output, facts)


def make(study: Study, layout: Layout, subject: str, output: Path, facts: Mapping[str, str]) -> None:
    """Takes one subject's direction; `facts` are its provenance."""
    settings = study.directions
    assert settings.also
    try:
        texts = texts_from(settings.also, study, layout, subject)
    except NotPossible as lack:
        write_absent(output, lack, facts)
        return
    model, tokenizer = load_organism(study, layout, subject), load_tokenizer(layout.base)
    tokens = study.execution.batch_tokens
    write_direction(output, facts, settings, subject, model, tokenizer, texts, tokens)


if __name__ == "__main__":
    command.run(main)
