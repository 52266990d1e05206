"""Directions of traits: the chat base reads its answers to a trait's system prompts, and to the opposite's.

Mean activation over the former minus that over the latter, with the system prompt before each (persona vectors,
arXiv 2507.21509), by the token rule and pooling of `directions`.
"""

from __future__ import annotations

from pathlib import Path

from workflow_scripts.models.direction_files import write_direction
from workflow_scripts.models.direction_texts import trait_texts
from workflow_scripts.models.loading import load_tokenizer
from workflow_scripts.models.organism import load_organism
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import NotPossible
from workflow_scripts.runtime.locks import making
from workflow_scripts.store.absence import write_absent
from workflow_scripts.study.layout import CHAT_BASE, Layout
from workflow_scripts.study.made_by import made_by, work_of
from workflow_scripts.study.reading import load
from workflow_scripts.study.schema import Study


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--trait", required=True, help="as the study names it")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    read = [layout.fingerprint, layout.responses(CHAT_BASE, "traits"), layout.judgements(CHAT_BASE, "traits")]
    facts = made_by("trait_directions", study, layout, given.output, read, given.trait)
    with making(given.output, given.output, work_of("trait_directions", facts)) as wanted:
        if wanted:
            make(study, layout, given.trait, given.output, facts)


def make(study: Study, layout: Layout, trait: str, output: Path, facts: dict[str, str]) -> None:
    """Takes a trait's direction, or writes that its answers do not allow one; `facts` are its provenance."""
    try:
        texts = trait_texts(study, layout, trait)
    except NotPossible as lack:
        write_absent(output, lack, facts)
        return
    model, tokenizer = load_organism(study, layout, CHAT_BASE), load_tokenizer(layout.base)
    write_direction(output, facts, study.directions, trait, model, tokenizer, texts, study.execution.batch_tokens)


if __name__ == "__main__":
    command.run(main)
