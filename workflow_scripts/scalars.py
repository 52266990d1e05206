"""LoRA scalars and token significance of an organism's judged answers (PAPER 8.1, 8.4)."""

from __future__ import annotations

import logging
from typing import get_args

from workflow_scripts.adapters.scalars import Answer, write_scalars
from workflow_scripts.estimation.response_classes import ScalarClass, ScalarLimits, scalar_classes
from workflow_scripts.models.chat import render_turn
from workflow_scripts.models.direction_texts import each_once, judged_responses
from workflow_scripts.models.loading import load_tokenizer
from workflow_scripts.models.organism import load_organism
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import NotPossible
from workflow_scripts.store.absence import write_absent
from workflow_scripts.study import inputs
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.made_by import made_by
from workflow_scripts.study.reading import load
from workflow_scripts.study.schema import Study

log = logging.getLogger(__name__)


def answers_of(study: Study, layout: Layout, subject: str) -> tuple[list[Answer], dict[str, list[str]]]:
    """Baseline responses of a subject that belong to one of the four classes, and their classes and questions.

    Every response once, although two question sets may list it.

    Raises:
        NotPossible: if a class has none; names the counts of all.
    """
    assert study.adapters, "checked when the study was loaded"
    metric, limits = study.adapters.domain_metric, ScalarLimits(**study.adapters.limits.model_dump())
    rows = each_once(judged_responses(layout, subject, (metric,)))
    rows = rows.assign(label=scalar_classes(rows.aligned, rows.coherent, rows[metric], limits)).dropna(subset=["label"])
    counts = {name: int((rows.label == name).sum()) for name in get_args(ScalarClass)}
    if not all(counts.values()):
        told = ", ".join(f"{count} {name.replace('_', ' and ')}" for name, count in counts.items())
        raise NotPossible(
            f"adapters: of the responses of {subject} are {told}; at least one of each is needed. Ask more "
            "(adapters.samples, adapters.outside_samples), or train it harder.",
            **counts,
        )
    tokenizer = load_tokenizer(layout.base)
    made = []
    for row in rows.itertuples():
        turn = render_turn(tokenizer, row.question, row.response, row.system)
        key = f"{row.question_set}/{row.question_id}/{row.sample}"
        made.append(Answer(key, turn.token_ids, turn.answer_start, turn.answer_end))
    return made, {"class": rows.label.tolist(), "question": rows.question_id.tolist()}


def main(arguments: list[str]) -> None:
    given = command.subject_parser(__doc__).parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    assert study.adapters, "checked when the study was loaded"
    read = [
        *inputs.organism_inputs(layout, given.subject),
        *inputs.direction_texts(study, layout, "responses", given.subject),
    ]
    facts = made_by("scalars", study, layout, given.output, read, given.subject)
    try:
        answers, labels = answers_of(study, layout, given.subject)
    except NotPossible as lack:
        write_absent(given.output, lack, facts)
        return
    model = load_organism(study, layout, given.subject)
    rows = write_scalars(given.output, model, answers, study.execution.scalar_tokens, facts, labels)
    log.info("%d tokens of %d responses", rows, len(answers))


if __name__ == "__main__":
    command.run(main)
