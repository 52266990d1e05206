"""Semantic directions (section 3.3): mean differences of one organism's responses about each topic of the study.

All topics of a subject in one job: they share the model. Each is written to its place, directions/<subject>/<topic>.
"""

from __future__ import annotations

from collections.abc import Mapping

from workflow_scripts.models.direction_files import write_direction
from workflow_scripts.models.direction_texts import Text, topic_texts
from workflow_scripts.models.loading import load_tokenizer
from workflow_scripts.models.organism import load_organism
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import NotPossible
from workflow_scripts.runtime.locks import making
from workflow_scripts.store.absence import write_absent
from workflow_scripts.store.artefacts import canonical, provenance
from workflow_scripts.store.lineage import origin
from workflow_scripts.study import inputs, specs
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.made_by import reader_facts, work_of
from workflow_scripts.study.reading import load
from workflow_scripts.study.schema import Study


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--subject", required=True, help="<organism>/seed-<k>")
    given = parser.parse_args(arguments)
    subject = given.subject
    study, layout = load(given.study), Layout.of(given.study)
    assert study.semantic, "asked for only where the study has the section"
    read = [
        *inputs.organism_inputs(layout, subject),
        *inputs.direction_texts(study, layout, "responses", subject),
    ]
    facts = {
        topic: provenance(
            "topic_directions",
            specs.spec("topic_direction", study, subject, topic),
            **origin(layout.root, layout.direction(f"{subject}/{topic}"), read),
            **reader_facts(study, subject),
        )
        for topic in study.semantic.topics
    }
    first = layout.direction(f"{subject}/{next(iter(facts))}")
    work = work_of("topic_directions", {topic: canonical(of) for topic, of in facts.items()})
    with making(layout.direction(subject).with_suffix(".topics"), first, work) as wanted:
        if wanted:
            make(study, layout, subject, facts)


def make(study: Study, layout: Layout, subject: str, facts: Mapping[str, Mapping[str, str]]) -> None:
    """Takes the directions of all topics; `facts` are their provenance."""
    assert study.semantic, "asked for only where the study has the section"
    texts: dict[str, list[Text]] = {}
    for topic in study.semantic.topics:
        try:
            texts[topic] = topic_texts(study, layout, subject, topic)
        except NotPossible as lack:
            write_absent(layout.direction(f"{subject}/{topic}"), lack, facts[topic])
    if not texts:
        return
    model, tokenizer = load_organism(study, layout, subject), load_tokenizer(layout.base)
    for topic, chosen in texts.items():
        file, tokens, settings = layout.direction(f"{subject}/{topic}"), study.execution.batch_tokens, study.directions
        write_direction(file, facts[topic], settings, subject, model, tokenizer, chosen, tokens)


if __name__ == "__main__":
    command.run(main)
