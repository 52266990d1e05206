"""Semantic directions (section 3.3): mean differences of one organism's responses about each topic of the study.

All topics of a subject in one job: they share the model. Each is written to its place, directions/<subject>/<topic>.
"""

from __future__ import annotations

from workflow_scripts.models.direction_files import write_direction
from workflow_scripts.models.direction_texts import Text, topic_texts
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
    parser = command.parser(__doc__)
    parser.add_argument("--subject", required=True, help="<organism>/seed-<k>")
    given = parser.parse_args(arguments)
    subject = given.subject
    study, layout = load(given.study), Layout.of(given.study)
    assert study.semantic, "asked for only where the study has the section"
    made_by = {
        topic: ("topic_directions", specs.spec("topic_direction", study, subject, topic))
        for topic in study.semantic.topics
    }
    texts: dict[str, list[Text]] = {}
    for topic in study.semantic.topics:
        try:
            texts[topic] = topic_texts(study, layout, subject, topic)
        except NotPossible as lack:
            write_absent(layout.direction(f"{subject}/{topic}"), lack, provenance(*made_by[topic]))
    if not texts:
        return
    model, tokenizer = load_organism(study, layout, subject), load_tokenizer(layout.base)
    for topic, chosen in texts.items():
        file, tokens, settings = layout.direction(f"{subject}/{topic}"), study.execution.batch_tokens, study.directions
        facts = reader_facts(study, subject)
        write_direction(file, made_by[topic], settings, subject, model, tokenizer, chosen, tokens, **facts)


if __name__ == "__main__":
    command.run(main)
