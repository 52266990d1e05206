"""Organisms: LoRA fine-tunes of the base with trl and PEFT, loss on the answers only (PAPER section 2)."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from workflow_scripts import command, gpu_lease, specs
from workflow_scripts.adapter_files import adapter_facts
from workflow_scripts.artefacts import provenance, read_table, replacing, write_table, write_tensors
from workflow_scripts.chat import completion_mask, prompt_ids, render_turn
from workflow_scripts.errors import UnfitAdapter, UserError
from workflow_scripts.gate import GATE_PROMPTS, reference
from workflow_scripts.layout import Layout, organism_of
from workflow_scripts.models import device, load_adapter, load_model, load_tokenizer, next_token_logprobs
from workflow_scripts.study import Organism, load
from workflow_scripts.weights import checked_base

log = logging.getLogger(__name__)


def training_rows(tokenizer: Any, rows: list[dict[str, Any]], max_tokens: int) -> list[dict[str, list[int]]]:
    """Token ids and completion mask of each data set row, cut at `max_tokens`.

    Raises:
        UserError: if a row is cut before its answer begins.
    """
    made = []
    for row in rows:
        turn = render_turn(tokenizer, row["prompt"], row["response"], row["system"])
        if turn.answer_start >= max_tokens:
            raise UserError(
                f"row {row['row']}: its prompt alone has {turn.answer_start} tokens; raise max_tokens ({max_tokens})."
            )
        made.append(
            {
                "input_ids": turn.token_ids[:max_tokens],
                "completion_mask": completion_mask(turn)[:max_tokens],
            }
        )
    return made


def train(
    base: Path, dtype: str, settings: Organism, seed: int, rows: list[dict[str, Any]], folder: Path
) -> list[dict[str, float]]:
    """Trains one adapter and saves it in PEFT form into `folder`; returns the training log, one entry per step."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    tokenizer = load_tokenizer(base)
    model = load_model(base, dtype)
    missing = [name for name in settings.modules if not any(n.endswith(f".{name}") for n, _ in model.named_modules())]
    if missing:
        raise UserError(f"modules: {type(model).__name__} has no module {missing[0]!r}.")
    scratch = tempfile.mkdtemp(prefix="em-training-")
    on_gpu = device().type == "cuda"
    torch.manual_seed(seed)  # PEFT draws the adapter's initial weights before the trainer sets its seed
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(training_rows(tokenizer, rows, settings.max_tokens)),
        peft_config=LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            use_rslora=settings.rslora,
            target_modules=list(settings.modules),
            layers_to_transform=settings.layers,
            task_type="CAUSAL_LM",
        ),
        args=SFTConfig(
            output_dir=scratch,
            per_device_train_batch_size=settings.batch_size,
            gradient_accumulation_steps=settings.accumulation,
            num_train_epochs=settings.epochs,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="linear",
            warmup_steps=settings.warmup_steps,
            weight_decay=settings.weight_decay,
            optim="adamw_torch",
            max_length=settings.max_tokens,
            completion_only_loss=True,
            packing=False,
            bf16=dtype == "bfloat16",
            fp16=False,
            gradient_checkpointing=on_gpu,
            use_cpu=not on_gpu,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            dataloader_pin_memory=on_gpu,
            seed=seed,
            data_seed=seed,
        ),
    )
    started = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - started
    trainer.model.save_pretrained(folder)
    shutil.rmtree(scratch, ignore_errors=True)
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    tokens = history[-1].get("num_tokens", float("nan"))
    memory = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else _peak_memory_gb()
    log.info(
        "trained %d steps in %.1f s, %.0f tokens/s, peak %.1f GiB",
        len(history),
        seconds,
        tokens / seconds,
        memory,
    )
    return [
        {
            "step": entry["step"],
            "loss": entry["loss"],
            "learning_rate": entry["learning_rate"],
            "grad_norm": float(entry["grad_norm"]),
            "tokens": entry.get("num_tokens", float("nan")),
            "tokens_per_second": tokens / seconds,
            "peak_memory_gb": memory,
        }
        for entry in history
    ]


def write_gate(base: Path, dtype: str, adapter: Path, prompts: list[list[int]], name: str, spec: str) -> None:
    """Records what PEFT says with and without the adapter, for `gate.hold` to compare an engine with.

    Raises:
        UnfitAdapter: if the adapter changes nothing.
    """
    model = load_model(base, dtype)
    plain = next_token_logprobs(model, prompts)
    tuned = next_token_logprobs(load_adapter(model, adapter), prompts)
    if float((tuned - plain).abs().max()) == 0.0:
        raise UnfitAdapter(
            f"organisms.{name}: the adapter changes no next-token probability; train it for longer or harder."
        )
    facts = provenance("organisms", spec, **adapter_facts(adapter / "adapter_model.safetensors"))
    write_tensors(adapter / "gate.safetensors", reference(prompts, plain, tuned), facts)


def _peak_memory_gb() -> float:
    """Peak resident memory of this process, GiB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--organism", required=True, help="<organism>/seed-<k>")
    given = parser.parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    name, seed = organism_of(given.organism)
    assert seed is not None
    gpu_lease.hold(1)
    settings, spec = study.organisms[name], specs.spec("organism", study, given.organism)
    base = checked_base(layout)
    rows = read_table(layout.dataset(settings.dataset), ["row", "system", "prompt", "response"]).to_pylist()
    with replacing(layout.organism(given.organism)) as folder:
        history = train(base, study.base.dtype, settings, seed, rows, folder)
        tokenizer = load_tokenizer(base)
        prompts = [prompt_ids(tokenizer, row["prompt"], row["system"]) for row in rows[:GATE_PROMPTS]]
        write_gate(base, study.base.dtype, folder, prompts, name, spec)
        write_table(
            folder / "training.parquet",
            pa.Table.from_pylist(history),
            provenance("organisms", spec, seed=seed),
        )


if __name__ == "__main__":
    command.run(main)
