"""Which rows are trained on, and in how many updates: what is known of a training before its libraries are loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

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
