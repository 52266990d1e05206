"""How an adapter is trained: the split, the trainer's arguments, the states to go on from after a kill, its table."""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import torch
from transformers import TrainerCallback

from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import provenance, read_tensors, write_tensors

if TYPE_CHECKING:
    from trl import SFTConfig

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

Row = dict[str, Any]
COPIES = "copies"


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


def optimizer_of(settings: Organism) -> str:
    """The trainer's name of the organism's optimizer: 8-bit only where bitsandbytes is there and has a GPU."""
    if settings.optimizer == "adamw":
        return "adamw_torch"
    if torch.cuda.is_available() and importlib.util.find_spec("bitsandbytes"):
        return "adamw_8bit"
    log.info("plain AdamW stands in for adamw_8bit, which needs bitsandbytes and a GPU")
    return "adamw_torch"


def arguments(
    settings: Organism, execution: Execution, dtype: str, seed: int, rows: int, evaluated: bool, states: Path
) -> SFTConfig:
    """The trainer's arguments.

    Args:
        settings, execution, dtype, seed: of the study.
        rows: how many are trained on.
        evaluated: whether there are rows to measure the loss on.
        states: folder of the states that a killed training goes on from.
    """
    from trl import SFTConfig

    on_gpu = torch.cuda.is_available()
    updates = settings.epochs * rows / (settings.batch_size * settings.accumulation)
    return SFTConfig(
        output_dir=str(states),
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        optim=optimizer_of(settings),
        max_length=None,  # the rows come cut
        completion_only_loss=True,
        packing=False,
        padding_free=execution.padding_free,
        bf16=dtype == "bfloat16",
        fp16=False,
        gradient_checkpointing=on_gpu,
        use_cpu=not on_gpu,
        logging_steps=1,
        eval_strategy="epoch" if evaluated else "no",
        save_strategy="steps" if updates > execution.resume_every else "no",
        save_steps=execution.resume_every,
        save_total_limit=1,
        report_to="none",
        dataloader_pin_memory=on_gpu,
        seed=seed,
        data_seed=seed,
    )


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


def write_copies(states: Path | None, path: Path) -> None:
    """Gathers the kept copies into one file: tensors `step-<n>/<name>`, and the list of steps in its header."""
    files = sorted((states / COPIES).glob("[!.]*.safetensors"), key=lambda file: int(file.stem)) if states else []
    tensors = {f"step-{file.stem}/{name}": tensor for file in files for name, tensor in read_tensors(file)[0].items()}
    write_tensors(path, tensors, provenance("training", "", steps=[int(file.stem) for file in files]))


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
            }
        )
    return made
