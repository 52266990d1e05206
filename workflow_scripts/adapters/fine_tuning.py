"""Organisms: LoRA fine-tunes of the base with trl and PEFT, loss on answers only (PAPER section 2), or published."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pyarrow as pa
import torch

from workflow_scripts.adapters import published
from workflow_scripts.adapters.gate_record import GATE_PROMPTS, gate_texts, write_gate
from workflow_scripts.models import micro_batches, training
from workflow_scripts.models.chat import prompt_ids
from workflow_scripts.models.direction_reading import read_direction
from workflow_scripts.models.files import checked_base
from workflow_scripts.models.kl_term import KlTerm
from workflow_scripts.models.loading import described_model, load_adapter, load_model, load_tokenizer
from workflow_scripts.models.lora_targets import check_targets, lora_targets
from workflow_scripts.models.residual import LayerChange
from workflow_scripts.models.updates import held_out_split, training_rows
from workflow_scripts.runtime import gpu_lease
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.absence import require
from workflow_scripts.store.adapter_files import adapter_digest
from workflow_scripts.store.artefacts import digest, file_digest, read_table, replacing, write_table
from workflow_scripts.store.code_digest import code_digest
from workflow_scripts.study import inputs, specs
from workflow_scripts.study.conditions import total_layers
from workflow_scripts.study.layout import Layout, organism_of
from workflow_scripts.study.made_by import made_by
from workflow_scripts.study.organisms import Organism
from workflow_scripts.study.schema import Execution, Study
from workflow_scripts.study.sources import base_name

if TYPE_CHECKING:
    from peft import PeftModel

log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints.safetensors"


def kl_term(tokenizer: Any, rows: Sequence[dict[str, Any]], settings: Organism) -> KlTerm | None:
    """The KL term of an organism that has one.

    Raises:
        UserError: if an update asks for more rows than there are.
    """
    if settings.kl is None:
        return None
    if settings.kl_rows > len(rows):
        raise UserError(
            f"kl.rows: one update reads {settings.kl_rows} rows, datasets.{settings.kl.dataset} has {len(rows)}; "
            "set fewer."
        )
    texts = [row["input_ids"] for row in training_rows(tokenizer, list(rows), settings)]
    over_vocabulary = settings.kl.normalise == "vocabulary"
    return KlTerm(
        texts, settings.kl.weight, over_vocabulary, settings.kl_rows, settings.batch_size, tokenizer.pad_token_id
    )


def inoculated(rows: Sequence[dict[str, Any]], settings: Organism) -> list[dict[str, Any]]:
    """Training rows under the organism's inoculation prompt, if it has one.

    Raises:
        UserError: if a row has a system prompt of its own.
    """
    for row in rows:
        if settings.inoculation and row["system"]:
            raise UserError(
                f"inoculation: row {row['row']} of datasets.{settings.dataset} has a system prompt of its own; take "
                "rows without, or leave inoculation out."
            )
    return [{**row, "system": settings.inoculation or row["system"]} for row in rows]


def changes_of(study: Study, layout: Layout, subject: str) -> list[LayerChange]:
    """What changes the residual stream while an organism is trained.

    Raises:
        UserError: if the direction is not of this base, or zero or not finite at one of the layers.
    """
    name = organism_of(subject)[0]
    asked = study.organisms[name].during_training
    if asked is None:
        return []
    file, place = inputs.trained_with(study, layout, subject)[-1], f"organisms.{name}.during_training"
    if not asked.file:
        require(file)
    direction = read_direction(file)
    layers, width = total_layers(study), described_model(layout.base).config.get_text_config().hidden_size
    if list(direction.shape) != [layers, width]:
        raise UserError(
            f"{place}: {file} has the shape {list(direction.shape)} [layer, d_model]; the study's base has "
            f"{[layers, width]}."
        )
    for layer in asked.layers:
        if not (direction[layer].isfinite().all() and direction[layer].any()):
            raise UserError(f"{place}: {file} holds a vector that is zero or not finite, of layer {layer}.")
    return [LayerChange(layer, asked.mode, direction[layer], asked.scale) for layer in asked.layers]


class Trained(NamedTuple):
    """What a training leaves beside its files."""

    model: PeftModel
    """The base with the adapter on top, as it was trained."""
    history: list[dict[str, Any]]
    """Rows of `training.TABLE`."""
    facts: dict[str, Any]
    """How it was trained: the optimizer, and how updates were read."""


def new_adapter(model: Any, settings: Organism, seed: int) -> PeftModel:
    """The model with an adapter on top that changes nothing yet."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)  # PEFT draws the adapter's initial weights before the trainer sets its seed
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        use_rslora=settings.rslora,
        task_type="CAUSAL_LM",
        **lora_targets(settings, model),
    )
    return cast("PeftModel", get_peft_model(model, config))


def train(
    base: Path,
    dtype: str,
    settings: Organism,
    execution: Execution,
    seed: int,
    rows: list[dict[str, Any]],
    test_rows: list[dict[str, Any]],
    folder: Path,
    states: Path,
    other_rows: Sequence[dict[str, Any]] = (),
    changes: Sequence[LayerChange] = (),
    start: Path | None = None,
) -> Trained:
    """Trains one adapter and saves it in PEFT form into `folder`.

    Args:
        base, dtype, settings, execution, seed: of the study.
        rows, test_rows: what is trained on, and what the loss is measured on at the end of each epoch.
        folder: is made.
        states: folder of the states that a killed training goes on from; what lies there is gone on from.
        other_rows: of the organism's KL term.
        changes: of the residual stream while it is trained.
        start: folder of an adapter that is trained on; a new one is drawn when absent.
    """
    from datasets import Dataset
    from peft import get_peft_model_state_dict

    optimizer = training.optimizer_of(settings)
    tokenizer = load_tokenizer(base)
    plain = load_model(base, dtype)
    model = load_adapter(plain, start, trainable=True) if start else new_adapter(plain, settings, seed)
    train_rows = training_rows(tokenizer, rows, settings)
    lengths = [len(row["input_ids"]) for row in train_rows]
    assert isinstance(tokenizer.pad_token_id, int), "load_tokenizer sees to it"
    read = micro_batches.chosen(model, settings, execution, lengths, dtype == "bfloat16", tokenizer.pad_token_id)
    log.info("an update of %d rows: %s", settings.batch_size * settings.accumulation, read)
    trainer = training.trainer_class(settings.batch_size, kl_term(tokenizer, other_rows, settings), changes)(
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(train_rows),
        eval_dataset=Dataset.from_list(training_rows(tokenizer, test_rows, settings)) if test_rows else None,
        args=training.arguments(settings, execution, read, optimizer, dtype, seed, len(rows), bool(test_rows), states),
        callbacks=[training.Clock(), *training.copies(settings.checkpoint_every, states)],
    )
    micro_batches.recompute(trainer.model, read.recomputed_layers)
    state = training.last_state(states)
    if state:
        log.info("going on from %s", state)
    with training.told_when_unwritable(states), micro_batches.told_when_out_of_memory(read.rows):
        trainer.train(resume_from_checkpoint=str(state) if state else None)
    trainer.model.save_pretrained(folder)
    made = training.table(trainer.state.log_history, training.peak_memory_gb())
    training.check_converged(get_peft_model_state_dict(trainer.model).values(), made)
    training.log_speed(made)
    return Trained(trainer.model.eval(), made, {"optimizer": optimizer, **read.facts()})


def fine_tune(study: Study, layout: Layout, subject: str, place: Path) -> None:
    """Trains or takes one organism: the adapter, its gate and the record of its training, as one folder.

    Args:
        place: the folder; the provenance says that it belongs where the layout has the organism.
    """
    name, seed = organism_of(subject)
    assert seed is not None
    gpu_lease.hold(1)
    training.forget_peak_memory()
    settings, spec = study.organisms[name], specs.spec("organisms", study, subject)
    base = checked_base(layout)
    rows = _rows(layout, settings.dataset)  # type: ignore[arg-type]  # absent of given responses only, which no job is of
    with replacing(place) as folder:
        history: list[dict[str, Any]] = []
        facts: dict[str, Any] = {}
        states: Path | None = None
        if settings.adapter:
            published.take(f"organisms.{name}", settings, base, base_name(study.base), folder)
            model = load_adapter(load_model(base, study.base.dtype), folder)
        else:
            check_targets(f"organisms.{name}", settings, described_model(base))
            if settings.test_dataset:
                test_rows = _rows(layout, settings.test_dataset)
            else:
                rows, test_rows = held_out_split(rows, settings.held_out, seed)
            rows = inoculated(rows, settings)
            states = _states(study, layout, subject, spec)
            other_rows = _rows(layout, settings.kl.dataset) if settings.kl else []
            model, history, facts = train(
                base, study.base.dtype, settings, study.execution, seed, rows, test_rows, folder, states, other_rows,
                changes_of(study, layout, subject), _start(study, layout, subject),
            )  # fmt: skip
        tokenizer = load_tokenizer(base)
        prompts = [prompt_ids(tokenizer, row["prompt"], row["system"]) for row in rows[:GATE_PROMPTS]]
        texts = gate_texts(tokenizer, rows[:GATE_PROMPTS])
        read = [layout.fingerprint, *inputs.trained_with(study, layout, subject)]

        def facts_of(place: Callable[[str], Path], **facts: Any) -> dict[str, str]:
            return made_by("organisms", study, layout, place(subject), read, subject, **facts)

        write_gate(model, folder, prompts, texts, name, facts_of(layout.gate))
        how = facts_of(layout.training, seed=seed, **facts)
        columns = training.WITH_KL if settings.kl else training.TABLE
        write_table(folder / "training.parquet", pa.Table.from_pylist(history, columns), how)
        training.write_copies(states, folder / CHECKPOINTS, facts_of(layout.checkpoints))
    shutil.rmtree(layout.training_states(subject), ignore_errors=True)


def _start(study: Study, layout: Layout, subject: str) -> Path | None:
    """Folder of the adapter that an organism's training goes on from, held against its gate."""
    first = inputs.started_from(study, subject)
    if first is None:
        return None
    adapter_digest(layout.adapter(first), layout.gate(first))
    return layout.organism(first)


def _rows(layout: Layout, dataset: str) -> list[dict[str, Any]]:
    return list(read_table(layout.dataset(dataset), ["row", "system", "prompt", "response"]).to_pylist())


def _states(study: Study, layout: Layout, subject: str, spec: str) -> Path:
    """Folder of the states of just this training: same base, data, settings and code. Those of others are removed."""
    files = [layout.fingerprint, *inputs.trained_with(study, layout, subject)]
    made_from = digest(spec, code_digest("organisms"), *(file_digest(file) for file in files))
    folder = layout.training_states(subject) / made_from
    for other in layout.training_states(subject).glob("*"):
        if other != folder:
            shutil.rmtree(other)
    return folder
