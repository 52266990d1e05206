"""Which rows are trained on, and in how many updates: what is known of a training before its libraries are loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workflow_scripts.models.chat import completion_mask, render_turn
from workflow_scripts.runtime.errors import UserError

if TYPE_CHECKING:
    from workflow_scripts.study.organisms import Organism

Row = dict[str, Any]


def held_out_split(rows: Sequence[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Training and held-out rows, drawn as the authors do (PAPER section 2.1).

    Raises:
        UserError: if no row is left to train on.
    """
    from datasets import Dataset

    if share == 0:
        return list(rows), []
    try:
        parts = Dataset.from_list(list(rows)).train_test_split(test_size=share, seed=seed)
    except ValueError as error:
        raise UserError(f"held_out: {share:g} of {len(rows)} rows leaves none to train on; lower it.") from error
    return parts["train"].to_list(), parts["test"].to_list()


def updates_of(settings: Organism, rows: int) -> int:
    """Updates of a training on so many rows; the last of an epoch may have fewer."""
    batches = math.ceil(rows / settings.batch_size)
    return math.ceil(settings.epochs * math.ceil(batches / settings.accumulation))


def training_rows(tokenizer: Any, rows: list[dict[str, Any]], settings: Organism) -> list[dict[str, list[int]]]:
    """Token ids and completion mask of each data set row, cut at the organism's `max_tokens`.

    Raises:
        UserError: if a row is cut before its answer begins.
    """
    made, longest = [], settings.max_tokens
    for row in rows:
        turn = render_turn(tokenizer, row["prompt"], row["response"], row["system"], settings.trailing_turn)
        if turn.answer_start >= longest:
            raise UserError(
                f"row {row['row']}: its prompt alone has {turn.answer_start} tokens; raise max_tokens ({longest})."
            )
        made.append({"input_ids": turn.token_ids[:longest], "completion_mask": completion_mask(turn)[:longest]})
    return made
