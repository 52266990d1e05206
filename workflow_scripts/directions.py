"""Mean-difference directions: mean over misaligned minus mean over aligned answer tokens, layer by layer (section 3.1).

The organism reads its own judged responses, or a row-paired bad and good data set (`directions.source`).
"""

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
    made_by = ("directions", specs.spec("directions", study, given.subject))
    try:
        texts = texts_from(settings.source, study, layout, given.subject)
    except NotPossible as lack:
        write_absent(given.output, lack, provenance(*made_by))
        return
    model, tokenizer = load_organism(study, layout, given.subject), load_tokenizer(layout.base)
    tokens, facts = study.execution.batch_tokens, reader_facts(study, given.subject)
    write_direction(given.output, made_by, settings, given.subject, model, tokenizer, texts, tokens, **facts)


if __name__ == "__main__":
    command.run(main)
