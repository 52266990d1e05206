"""What projecting directions out takes from a model beside its misalignment (`ablation.side_effects`).

Every subject of the ablation reads the chat base's own answers to the headline questions, which are ordinary text, with
each of the ablation's directions: how much of the residual stream lies along them, and how far the next tokens move
when they are projected out, beside random directions and those of shuffled labels. Where rows are named
(`ablation.loss_dataset`), so is how much worse their answers are predicted.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from workflow_scripts.engines.plan import lacking
from workflow_scripts.models.activations import WeightedSpan
from workflow_scripts.models.chat import answers_of_rows, render_turn
from workflow_scripts.models.direction_texts import unchanged_responses
from workflow_scripts.models.interventions import read_changes
from workflow_scripts.models.loading import load_tokenizer
from workflow_scripts.models.organism import each_model
from workflow_scripts.models.residual import LayerChange
from workflow_scripts.models.side_effects import divergences, loss_rises, shares_taken
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.absence import Absence, recorded
from workflow_scripts.store.artefacts import read_table, write_table
from workflow_scripts.study import inputs
from workflow_scripts.study.conditions import battery_subjects, conditions
from workflow_scripts.study.layout import CHAT_BASE, Layout
from workflow_scripts.study.made_by import made_by
from workflow_scripts.study.reading import load
from workflow_scripts.study.schema import Study

COLUMNS = {
    "subject": "string",
    "condition": "string",
    "quantity": "string",
    "layer": "Int64",
    "question_id": "string",
    "value": "float64",
}
"""quantity: variance_share and norm_share by layer; kl by text, in nats, with the question that the text answers;
loss_rise by row of the data set, whose number stands for the question, in nats per answer token."""


def ordinary_texts(study: Study, layout: Layout) -> tuple[list[WeightedSpan], list[str]]:
    """Answers of the chat base, as many of each question as can be, and the question of each.

    Raises:
        UserError: if all are empty.
    """
    assert study.ablation
    assert study.ablation.side_effects
    rows = unchanged_responses(layout, CHAT_BASE)
    rows = rows[rows.question_set == study.sampling.questions].sort_values("sample", kind="stable")
    tokenizer = load_tokenizer(layout.base)

    def read() -> Iterator[tuple[WeightedSpan, str]]:
        for row in rows.itertuples():
            turn = render_turn(tokenizer, row.question, row.response, row.system)
            if turn.answer_end > turn.answer_start:
                yield WeightedSpan(turn.token_ids, turn.answer_start, turn.answer_end, 0, 1.0), row.question_id

    found = list(islice(read(), study.ablation.side_effects))
    if not found:
        raise UserError(
            f"{layout.responses(CHAT_BASE, 'baseline')}: all answers of the chat base are empty, so that there is no "
            "text to measure ablation.side_effects on; leave it out, or look at the base's chat template."
        )
    texts, questions = zip(*found, strict=True)
    return list(texts), list(questions)


def loss_texts(study: Study, layout: Layout) -> list[tuple[list[int], int]]:
    """The rows on whose answers the loss is measured; none where none are asked for."""
    assert study.ablation
    if study.ablation.loss_dataset is None:
        return []
    table = read_table(layout.dataset(study.ablation.loss_dataset), ["system", "prompt", "response"])
    return answers_of_rows(load_tokenizer(layout.base), table.slice(0, study.ablation.loss_rows).to_pylist())


def measured(
    model: Any,
    texts: list[WeightedSpan],
    questions: list[str],
    answers: list[tuple[list[int], int]],
    projections: dict[str, list[LayerChange]],
    tokens: int,
) -> pd.DataFrame:
    """Rows of one subject: what each projection, by condition, takes from it.

    Args:
        model: the subject's.
        texts, questions: what it reads.
        answers: rows on whose answers the loss is measured, as of `loss_texts`.
        projections: changes by condition.
        tokens: read at once.
    """
    changes = list(projections.values())
    variance, norm = shares_taken(model, texts, changes, tokens)
    moved = divergences(model, texts, changes, tokens)
    rises = loss_rises(model, answers, changes)
    rows: list[dict[str, Any]] = []
    for index, (name, own) in enumerate(projections.items()):
        for quantity, shares in (("variance_share", variance), ("norm_share", norm)):
            rows += [
                {"condition": name, "quantity": quantity, "layer": layer, "value": float(shares[index, layer])}
                for layer in (change.layer for change in own)
            ]
        rows += [
            {"condition": name, "quantity": "kl", "question_id": question, "value": value}
            for question, value in zip(questions, moved[index].tolist(), strict=True)
        ]
        rows += [
            {"condition": name, "quantity": "loss_rise", "question_id": str(number), "value": value}
            for number, value in enumerate(rises[index].tolist())
        ]
    return pd.DataFrame(rows, columns=[name for name in COLUMNS if name != "subject"])


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    texts, questions = ordinary_texts(study, layout)
    answers = loss_texts(study, layout)
    parts = [pd.DataFrame(columns=list(COLUMNS))]
    lacks: list[Absence] = []
    projections: dict[str, dict[str, list[LayerChange]]] = {}
    for subject in battery_subjects(study, "ablation"):
        without = lacking(study, layout, "ablation", subject)
        lacks += without.values()
        projections[subject] = {
            condition.name: read_changes(layout, change)
            for condition in conditions(study, "ablation", subject)
            for change in [condition.intervention]
            if change and condition not in without
        }
    for subject, model in each_model(study, layout, [subject for subject, own in projections.items() if own]):
        own, tokens = projections[subject], study.execution.scalar_tokens
        parts.append(measured(model, texts, questions, answers, own, tokens).assign(subject=subject))
    frame = pd.concat(parts)[list(COLUMNS)].astype(COLUMNS)
    read = [layout.fingerprint, *inputs.side_effects_inputs(study, layout)]
    facts = made_by("side_effects", study, layout, given.output, read, **recorded(lacks))
    write_table(given.output, frame.reset_index(drop=True), facts)


if __name__ == "__main__":
    command.run(main)
