"""How an adapter is trained: the trainer's arguments, the states to go on from after a kill, its table."""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import resource
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import torch
from torch import Tensor
from transformers import TrainerCallback

from workflow_scripts.models.residual import LayerChange, intervened
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import canonical, provenance, read_tensors, write_tensors

if TYPE_CHECKING:
    from trl import SFTConfig, SFTTrainer

    from workflow_scripts.models.kl_term import KlTerm
    from workflow_scripts.models.micro_batches import MicroBatches
    from workflow_scripts.study.organisms import Organism
    from workflow_scripts.study.schema import Execution

log = logging.getLogger(__name__)

TABLE = pa.schema(
    [
        ("step", pa.int64()),
        ("loss", pa.float64()),
        ("learning_rate", pa.float64()),
        ("grad_norm", pa.float64()),
        ("eval_loss", pa.float64()),
        ("tokens", pa.int64()),
        ("tokens_per_second", pa.float64()),
        ("peak_memory_gb", pa.float64()),
    ]
)
"""One row per update: `eval_loss` where it was measured, `tokens` read so far (no padding), rates of single updates."""
WITH_KL = TABLE.append(pa.field("kl", pa.float64()))
"""Of a training with a KL term: `loss` without it, and the divergence before its weight, nats per token."""

Row = dict[str, Any]
LAST_UPDATES = 5
"""Whose mean loss tells whether a training diverged."""
COPIES = "copies"


def optimizer_of(settings: Organism) -> str:
    """The trainer's name of the organism's optimizer; without a GPU, plain AdamW stands in for the 8-bit one.

    Raises:
        UserError: if there is a GPU and bitsandbytes, which has the 8-bit one, is missing.
    """
    if settings.optimizer == "adamw":
        return "adamw_torch"
    if not torch.cuda.is_available():
        log.info("optimizer: plain AdamW stands in for adamw_8bit, which needs a GPU")
        return "adamw_torch"
    if not importlib.util.find_spec("bitsandbytes"):
        raise UserError(
            "optimizer: adamw_8bit needs bitsandbytes, which this environment lacks; "
            "install it as envs/cuda.lock names it, or choose adamw."
        )
    return "adamw_8bit"


def arguments(
    settings: Organism,
    execution: Execution,
    read: MicroBatches,
    optimizer: str,
    dtype: str,
    seed: int,
    rows: int,
    evaluated: bool,
    states: Path,
) -> SFTConfig:
    """The trainer's arguments.

    Args:
        settings, execution, dtype, seed: of the study.
        read: how an update is read.
        optimizer: the trainer's name of it.
        rows: how many are trained on.
        evaluated: whether there are rows to measure the loss on.
        states: folder of the states that a killed training goes on from.
    """
    from trl import SFTConfig

    on_gpu = torch.cuda.is_available()
    update = settings.batch_size * settings.accumulation
    return SFTConfig(
        output_dir=str(states),
        per_device_train_batch_size=read.rows,
        per_device_eval_batch_size=settings.batch_size * max(1, read.rows // settings.batch_size),
        gradient_accumulation_steps=update // read.rows,
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        optim=optimizer,
        max_length=None,  # the rows come cut
        completion_only_loss=True,
        packing=False,
        padding_free=read.padding_free,
        bf16=dtype == "bfloat16",
        fp16=False,
        gradient_checkpointing=False,  # `micro_batches.recompute` does it, for the layers that need it
        use_cpu=not on_gpu,
        logging_steps=1,
        eval_strategy="epoch" if evaluated else "no",
        save_strategy="steps" if settings.epochs * rows / update > execution.resume_every else "no",
        save_steps=execution.resume_every,
        save_total_limit=1,
        report_to="none",
        dataloader_pin_memory=on_gpu,
        seed=seed,
        data_seed=seed,
    )


def trainer_class(chunk: int, kl: KlTerm | None = None, changes: Sequence[LayerChange] = ()) -> type[SFTTrainer]:
    """trl's trainer, whose loss on held-out rows is that of batches of `chunk` rows, however many are read at once.

    Args:
        chunk: rows.
        kl: a term that is added to the loss of each update, and logged apart.
        changes: of the residual stream, in the passes of the training rows and in no others.
    """
    from trl import SFTTrainer

    class Trainer(SFTTrainer):
        def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
            with intervened(self.model, changes):  # the backward pass, which may compute layers again, is within
                loss: Tensor = super().training_step(*args, **kwargs)
            if kl is not None and self.accelerator.sync_gradients:  # with the last rows of an update
                self._kl = kl.add_gradient(self.model, self.state.global_step, self.compute_loss_context_manager)
            return loss

        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            super().log(logs | {"kl": self._kl} if kl is not None and "loss" in logs else logs, start_time)

        def prediction_step(
            self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None
        ) -> Any:
            if self.args.per_device_eval_batch_size == chunk:
                return super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
            inputs = self._prepare_inputs(inputs)
            with torch.no_grad(), self.compute_loss_context_manager():
                output = model(**inputs, use_cache=False, fused_lm_head=True)
            if "seq_idx" in inputs:
                row = inputs["seq_idx"][:, 1:]
            else:
                row = torch.arange(len(output.log_probs), device=output.log_probs.device)[:, None]
            return (
                loss_by_chunks(output.log_probs, output.label_mask, row.expand(output.log_probs.shape), chunk),
                None,
                None,
            )

    return Trainer


def loss_by_chunks(log_probs: Tensor, counted: Tensor, row: Tensor, chunk: int) -> Tensor:
    """Mean over rows of the loss per token of the `chunk` rows that a row stands with; a scalar.

    Args:
        log_probs: of the labels, 0 where none counts, of any shape.
        counted: which labels count, of the same shape.
        row: number of each label's row, from 0, of the same shape.
    """
    rows = int(row.max()) + 1
    of_row = torch.zeros(2, rows, dtype=torch.float64, device=row.device)
    of_row[0].index_add_(0, row.flatten(), -log_probs.flatten().double())
    of_row[1].index_add_(0, row.flatten(), counted.flatten().double())
    parts = of_row.split(chunk, dim=1)
    weighted = [part[0].sum() / part[1].sum().clamp(min=1) * part.shape[1] for part in parts]
    return (torch.stack(weighted).sum() / rows).float()


def last_state(states: Path) -> Path | None:
    """The latest whole state below a folder; the trainer writes a state's trainer_state.json last."""

    def whole(state: Path) -> bool:
        try:
            return bool(json.loads((state / "trainer_state.json").read_text()))
        except (OSError, ValueError):
            return False

    found = sorted(states.glob("checkpoint-*"), key=lambda state: int(state.name.partition("-")[2]))
    return next((state for state in reversed(found) if whole(state)), None)


@contextmanager
def told_when_unwritable(states: Path) -> Iterator[None]:
    """Turns torch's failure to write a state, which names neither file nor cause, into a sentence."""
    try:
        yield
    except RuntimeError as error:
        if not any(writer in str(error) for writer in ("inline_container", "PytorchStreamWriter")):
            raise
        raise UserError(
            f"{states}: the state of the training cannot be written, the disk may be full; "
            "free some space and run the same command again, it goes on from the state before."
        ) from error


class Clock(TrainerCallback):
    """Writes into each entry of the log how many seconds this process has trained."""

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.started = time.monotonic()

    def on_log(self, _arguments: Any, state: Any, _control: Any, **_: Any) -> None:
        state.log_history[-1]["seconds"] = time.monotonic() - self.started


class Copies(TrainerCallback):
    """Keeps the adapter's tensors at step 0 and every so many steps, each in a file of its own beside the states."""

    def __init__(self, every: int, states: Path) -> None:
        self._every, self._folder = every, states / COPIES

    def on_train_begin(self, arguments: Any, state: Any, control: Any, **given: Any) -> None:
        self.on_step_end(arguments, state, control, **given)

    def on_step_end(self, _arguments: Any, state: Any, _control: Any, **given: Any) -> None:
        from peft import get_peft_model_state_dict

        if state.global_step % self._every == 0:
            tensors = get_peft_model_state_dict(given["model"])
            plain = {name: tensor.detach().float().cpu().contiguous() for name, tensor in tensors.items()}
            write_tensors(self._folder / f"{state.global_step}.safetensors", plain, provenance("training", ""))


def copies(every: int | None, states: Path) -> list[TrainerCallback]:
    """What keeps copies of the adapter along its training, if any are asked for."""
    return [] if every is None else [Copies(every, states)]


def write_copies(states: Path | None, path: Path, made_by: Mapping[str, str]) -> None:
    """Gathers the kept copies into one file: tensors `step-<n>/<name>`, and the list of steps in its provenance."""
    files = sorted((states / COPIES).glob("[!.]*.safetensors"), key=lambda file: int(file.stem)) if states else []
    tensors = {f"step-{file.stem}/{name}": tensor for file in files for name, tensor in read_tensors(file)[0].items()}
    write_tensors(path, tensors, {**made_by, "steps": canonical([int(file.stem) for file in files])})


def check_converged(weights: Iterable[Tensor], rows: Sequence[Row]) -> None:
    """Refuses a training that went away: its organism would give nonsense, and as a control look perfect.

    The trainer's log shows a loss that is no number as the mean of those before, so that the weights are looked at too.

    Args:
        weights: what was trained.
        rows: of `TABLE`.

    Raises:
        UserError: if a weight is not finite, or the loss of the last updates is far above the first.
    """
    lost = [row["step"] for row in rows if not math.isfinite(row["loss"]) or not math.isfinite(row["grad_norm"])]
    if not all(tensor.isfinite().all() for tensor in weights):
        raise UserError(
            "the training diverged: trained weights are not finite"
            + (f", from update {lost[0]} on" if lost else "")
            + ("; the base itself gives no numbers." if lost[:1] == [rows[0]["step"]] else "; lower learning_rate.")
        )
    first, last = rows[0]["loss"], [row["loss"] for row in rows[-LAST_UPDATES:]]
    end = sum(last) / len(last)
    if not end <= 2 * first + 1:  # so that NaN is above
        raise UserError(f"the training diverged: its loss went from {first:.3g} to {end:.3g}; lower learning_rate.")


def forget_peak_memory() -> None:
    """Has `peak_memory_gb` begin anew, which it can of a GPU only."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory_gb() -> float:
    """Most memory of the GPU since `forget_peak_memory`, or without one that this process has ever taken, GiB."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated() / 2**30)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def log_speed(rows: Sequence[Row]) -> None:
    """Says how long and how fast a training was."""
    speed = sorted(row["tokens_per_second"] for row in rows)[len(rows) // 2]
    log.info("trained %d steps, median %.0f tokens/s, peak %.1f GiB", len(rows), speed, rows[-1]["peak_memory_gb"])


def table(history: Sequence[Row], peak_memory_gb: float) -> list[Row]:
    """One row of `TABLE` per update, from the trainer's log with the clock's seconds.

    Tokens and seconds begin anew where a killed training went on; what came before is added.
    """
    evaluated = {entry["step"]: entry["eval_loss"] for entry in history if "eval_loss" in entry}
    made: list[Row] = []
    before = tokens = 0.0
    seconds = 0.0
    for entry in history:
        if "loss" not in entry:
            continue
        if entry["seconds"] < seconds:
            before, tokens, seconds = before + tokens, 0.0, 0.0
        rate = (entry["num_tokens"] - tokens) / max(entry["seconds"] - seconds, 1e-9)
        tokens, seconds = entry["num_tokens"], entry["seconds"]
        made.append(
            {
                "step": entry["step"],
                "loss": entry["loss"],
                "learning_rate": entry["learning_rate"],
                "grad_norm": float(entry["grad_norm"]),
                "eval_loss": evaluated.get(entry["step"]),
                "tokens": int(before + tokens),
                "tokens_per_second": rate,
                "peak_memory_gb": peak_memory_gb,
                **({"kl": entry["kl"]} if "kl" in entry else {}),
            }
        )
    return made
