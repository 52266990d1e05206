"""One steering vector in place of an adapter: trained at a layer on an organism's rows, all weights as they are."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from workflow_scripts.models import training
from workflow_scripts.models.loading import load_model, load_tokenizer
from workflow_scripts.models.micro_batches import MicroBatches, rows_at_once, told_when_out_of_memory
from workflow_scripts.models.residual import LayerChange, decoder_layers
from workflow_scripts.models.updates import training_rows
from workflow_scripts.study.organisms import Organism
from workflow_scripts.study.schema import Execution

log = logging.getLogger(__name__)

NEVER = 10**9
"""Steps between states that are kept: a vector is trained again from its beginning."""


def train_vector(
    base: Path,
    dtype: str,
    settings: Organism,
    execution: Execution,
    layer: int,
    seed: int,
    rows: list[dict[str, Any]],
    states: Path,
) -> tuple[Tensor, list[training.Row]]:
    """The vector, float32 [d_model], that lowers the loss most when it is added after a layer; and the rows of its
    training's table.

    It begins at zero, so that the seed is that of the order of rows alone. Nothing else is trained, and layers below
    need no gradient.

    Args:
        base, dtype, execution: of the study.
        settings: of the organism that it stands beside, with the vector's own learning rate.
        layer: decoder layer, from 0.
        seed: of the order of rows.
        rows: what is trained on.
        states: empty folder for the trainer's files.

    Raises:
        UserError: if the training diverged.
    """
    from datasets import Dataset

    tokenizer, model = load_tokenizer(base), load_model(base, dtype)
    model.requires_grad_(False)
    width = model.config.get_text_config().hidden_size
    vector = nn.Parameter(torch.zeros(width, device=model.device, dtype=torch.float32))
    decoder_layers(model)[layer].register_parameter("steering_vector", vector)  # where the optimizer finds it
    update = settings.batch_size * settings.accumulation
    read = MicroBatches(rows_at_once(update, execution.micro_batch or settings.batch_size), False, 0)
    kept = execution.model_copy(update={"resume_every": NEVER})
    optimizer = training.optimizer_of(settings)
    trainer = training.trainer_class(settings.batch_size, None, [LayerChange(layer, "add", vector)])(
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(training_rows(tokenizer, rows, settings)),
        args=training.arguments(settings, kept, read, optimizer, dtype, seed, len(rows), False, states),
        callbacks=[training.Clock()],
    )
    with told_when_out_of_memory(read.rows):
        trainer.train()
    made = training.table(trainer.state.log_history, training.peak_memory_gb())
    training.check_converged([vector], made)
    training.log_speed(made)
    return vector.detach().float().cpu().clone(), made
