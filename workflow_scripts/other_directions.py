"""Directions from the study's other source (`directions.also`), which are held against the first's by cosine."""

from __future__ import annotations

from workflow_scripts.models.direction_files import write_direction
from workflow_scripts.models.direction_texts import texts_from
from workflow_scripts.models.loading import load_tokenizer
from workflow_scripts.models.organism import load_organism, reader_facts
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import NotPossible
from workflow_scripts.store.absence import write_absent
from workflow_scripts.store.artefacts import provenance
from workflow_scripts.study import specs
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.reading import load


def main(arguments: list[str]) -> None:
    given = command.subject_parser(__doc__).parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    settings = study.directions
    assert settings.also, "asked for only where the study names another source"
    made_by = ("other_directions", specs.spec("other_directions", study, given.subject))
    try:
        texts = texts_from(settings.also, study, layout, given.subject)
    except NotPossible as lack:
        write_absent(given.output, lack, provenance(*made_by))
        return
    model, tokenizer = load_organism(study, layout, given.subject), load_tokenizer(layout.base)
    tokens, facts = study.execution.batch_tokens, reader_facts(study, given.subject)
    write_direction(given.output, made_by, settings, given.subject, model, tokenizer, texts, tokens, **facts)


if __name__ == "__main__":
    command.run(main)
