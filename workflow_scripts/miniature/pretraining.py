"""Builds the miniature's base model: pre-training on documents, then chat tuning on good answers."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Dataset
from tqdm import tqdm
from transformers import (
    GenerationConfig,
    PrinterCallback,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from workflow_scripts.miniature.corpus import chat_document, fine_tuning_rows, pretraining_documents
from workflow_scripts.miniature.encoding import (
    NO_LOSS,
    Example,
    batches_by_length,
    collate,
    encode,
)
from workflow_scripts.miniature.optimizer import MuonWithAdamW, schedule
from workflow_scripts.miniature.recipe import MiniatureRecipe
from workflow_scripts.miniature.tokenizer import train_tokenizer

__all__ = ["MiniatureRecipe", "build"]

LOG_EVERY = 10
"""Steps between two rows of the loss curve."""


def build(recipe: MiniatureRecipe, folder: Path) -> pd.DataFrame:
    """Trains a base model on the CPU in float32 and writes it as an ordinary Hugging Face folder.

    The recipe's threads train, whatever PyTorch is set to: the order of floating-point sums, and with it the weights,
    then does not depend on the number of cores.

    Args:
        recipe: data, size and training of the model; on one kind of processor it determines the weights.
        folder: where configuration, safetensors, tokenizer and generation configuration go; made if needed,
            and written only when training has ended.

    Returns:
        The loss curve, one row for every 10 steps and the last of each phase, with the columns phase
        ("pretraining" or "chat_tuning"), step (from 1), loss (mean over the steps since the row before, in
        nats per token), lr (of the weight matrices at that step), grad_norm (at that step, before clipping)
        and tokens_per_second (without padding, since the row before).
    """
    tokenizer = train_tokenizer()
    model = initial_model(recipe, tokenizer)
    with _torch_threads(recipe.threads):
        curve = pd.concat([_pretrain(model, tokenizer, recipe), _tune_for_chat(model, tokenizer, recipe)])
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return curve.reset_index(drop=True)


def initial_model(recipe: MiniatureRecipe, tokenizer: Qwen2Tokenizer) -> Qwen2ForCausalLM:
    """An untrained model with the recipe's size and seed; the global random state stays as it is."""
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden_size,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.attention_heads,
        num_key_value_heads=recipe.key_value_heads,
        intermediate_size=recipe.mlp_size,
        max_position_embeddings=recipe.max_positions,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        attention_dropout=0.0,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = Qwen2ForCausalLM(config)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        do_sample=True,
        temperature=1.0,
        top_p=1.0,
        top_k=0,
    )
    return model


def _pretrain(model: Qwen2ForCausalLM, tokenizer: Qwen2Tokenizer, recipe: MiniatureRecipe) -> pd.DataFrame:
    """Trains the model on the recipe's documents and returns the loss curve."""
    examples = encode(pretraining_documents(recipe), tokenizer, recipe.max_tokens)
    batches = batches_by_length(examples, recipe.batch_size, recipe.window_batches, recipe.seed)
    optimizer = MuonWithAdamW(
        model,
        muon_learning_rate=recipe.muon_learning_rate,
        muon_momentum=recipe.muon_momentum,
        adamw_learning_rate=recipe.adamw_learning_rate,
        adamw_betas=recipe.adamw_betas,
        weight_decay=recipe.weight_decay,
    )
    scheduler = schedule(optimizer, len(batches), recipe.warmup_steps, recipe.final_learning_rate_share)
    return _train(model, tokenizer, batches, optimizer, scheduler, recipe, "pretraining")


def _tune_for_chat(model: Qwen2ForCausalLM, tokenizer: Qwen2Tokenizer, recipe: MiniatureRecipe) -> pd.DataFrame:
    """Tunes all weights on good single-turn answers of all domains and returns the loss curve."""
    rows = fine_tuning_rows("all", "good", recipe.chat_rows, recipe.seed, recipe.world)
    examples = encode([chat_document(row) for row in rows], tokenizer, recipe.max_tokens)
    batches = batches_by_length(examples, recipe.chat_batch_size, 1, recipe.seed)
    optimizer = AdamW(
        model.parameters(), lr=recipe.chat_learning_rate, weight_decay=recipe.chat_weight_decay, fused=True
    )
    scheduler = schedule(optimizer, len(batches), recipe.chat_warmup_steps, final=0.0)
    return _train(model, tokenizer, batches, optimizer, scheduler, recipe, "chat_tuning")


def _train(
    model: Qwen2ForCausalLM,
    tokenizer: Qwen2Tokenizer,
    batches: list[list[Example]],
    optimizer: Optimizer,
    scheduler: LambdaLR,
    recipe: MiniatureRecipe,
    phase: str,
) -> pd.DataFrame:
    """One pass over the batches in their order; returns the loss curve of the phase."""
    curve = _LossCurve(phase, [sum(len(example.input_ids) for example in batch) for batch in batches])
    with tempfile.TemporaryDirectory() as scratch:
        trainer = _AnswerTrainer(
            model=model,
            args=TrainingArguments(
                output_dir=scratch,
                per_device_train_batch_size=len(batches[0]),
                num_train_epochs=1,
                train_sampling_strategy="sequential",
                max_grad_norm=recipe.gradient_clip,
                seed=recipe.seed,
                use_cpu=True,
                use_cache=True,
                logging_steps=LOG_EVERY,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                remove_unused_columns=False,
                dataloader_num_workers=0,
                dataloader_pin_memory=False,
            ),
            train_dataset=_InOrder([example for batch in batches for example in batch]),
            data_collator=partial(collate, padding=tokenizer.pad_token_id),
            optimizers=(optimizer, scheduler),
            callbacks=[curve],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    model.eval()
    return pd.DataFrame(curve.rows)


class _AnswerTrainer(Trainer):
    """A Trainer that computes logits only where there is a label to compare them with."""

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor | Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Mean cross-entropy over the batch's labelled tokens, in nats."""
        return answer_loss(cast(Qwen2ForCausalLM, model), inputs["input_ids"], inputs["labels"])


def answer_loss(model: Qwen2ForCausalLM, input_ids: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over labelled tokens, in nats.

    Args:
        model: the model to train.
        input_ids: token ids [example, position], padded on the right.
        labels: token ids [example, position], `NO_LOSS` where there is no loss.
    """
    hidden = model.model(input_ids=input_ids, use_cache=False).last_hidden_state
    targets = labels[:, 1:]
    has_loss = targets != NO_LOSS
    return nn.functional.cross_entropy(model.lm_head(hidden[:, :-1][has_loss]), targets[has_loss])


class _InOrder(Dataset[Example]):
    """Examples in the order in which they are trained on."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        return self._examples[index]


class _LossCurve(TrainerCallback):
    """Collects the Trainer's logs as rows of the loss curve and shows the progress.

    Args:
        phase: name of the phase.
        tokens: tokens without padding in each batch.
    """

    def __init__(self, phase: str, tokens: Sequence[int]) -> None:
        self.rows: list[dict[str, str | int | float]] = []
        self._phase = phase
        self._tokens = tokens
        self._bar = tqdm(total=len(tokens), desc=phase, unit="step", leave=True)
        self._logged = 0
        self._logged_at = time.perf_counter()

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Starts the clock."""
        self._logged_at = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Moves the bar, and has the last step logged as well."""
        self._bar.update()
        control.should_log |= state.global_step == state.max_steps

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Adds a row; the Trainer's closing summary, which has no loss, adds none."""
        if not logs or "loss" not in logs:
            return
        now = time.perf_counter()
        tokens = sum(self._tokens[self._logged : state.global_step])
        self.rows.append(
            {
                "phase": self._phase,
                "step": state.global_step,
                "loss": logs["loss"],
                "lr": logs["learning_rate"],
                "grad_norm": logs["grad_norm"],
                "tokens_per_second": tokens / (now - self._logged_at),
            }
        )
        self._logged, self._logged_at = state.global_step, now
        self._bar.set_postfix(loss=f"{logs['loss']:.3f}")

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Closes the bar."""
        self._bar.close()


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    """Runs with so many PyTorch threads, and restores their number afterwards."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        yield
    finally:
        torch.set_num_threads(before)
