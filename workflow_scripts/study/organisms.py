"""Organisms: LoRA fine-tunes of the base, trained by the workflow or published."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
)

from workflow_scripts.study.fields import Count, HubId, Layer, Name, Positive, Revision, Section, Seed, number


class PublishedAdapter(Section):
    """A LoRA adapter in PEFT form that is already trained, by hub id or as a folder."""

    hub: HubId | None = None
    """Repository of the Hugging Face hub."""
    revision: Revision | None = None
    """A commit of the repository, so that the adapter cannot change; a branch or tag works too."""
    subfolder: str | None = None
    """Folder within the repository, e.g. checkpoints/checkpoint-396."""
    path: str | None = None
    """A local folder, in place of a repository."""


class Organism(Section):
    """A LoRA fine-tune of the base (Soligo et al. 2025, section 2)."""

    dataset: Name
    """What it is trained on; of a published adapter, what it was trained on."""
    adapter: PublishedAdapter | None = None
    """Take this adapter and train nothing."""
    seeds: list[Seed] = Field(default=[0], min_length=1)
    """Fine-tuning seeds; one organism per seed."""
    rank: Count = 32
    alpha: Positive = 64.0
    """LoRA alpha; with rsLoRA the update is scaled by alpha / sqrt(rank)."""
    rslora: bool = True
    modules: list[str] = Field(
        default=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"], min_length=1
    )
    """Linear modules that carry an adapter."""
    layers: list[Layer] | None = None
    """Decoder layers that carry adapters, from 0; all when absent."""
    learning_rate: Positive = 1e-5
    epochs: Positive = 1.0
    batch_size: Count = 2
    """Rows per device and step."""
    accumulation: Count = 8
    """Steps whose gradients are added up before an update."""
    warmup_steps: Annotated[int, Field(ge=0)] = 5
    weight_decay: Annotated[float, BeforeValidator(number), Field(ge=0)] = 0.01
    optimizer: Literal["adamw_8bit", "adamw"] = "adamw_8bit"
    """8-bit AdamW where bitsandbytes works, which is on GPUs; plain AdamW elsewhere, or everywhere."""
    max_tokens: Count = 2048
    """Longer rows are cut."""
    trailing_turn: bool = True
    """Each row ends with the header of another, empty answer and the end token, both learnt (authors' code)."""
    held_out: Annotated[float, BeforeValidator(number), Field(ge=0, lt=1)] = 0.1
    """Share of the rows on which the loss is measured at the end of each epoch instead, drawn with the seed."""
    test_dataset: Name | None = None
    """Data set on which the loss is measured; all rows of `dataset` are trained on."""
    checkpoint_every: Count | None = None
    """Optimiser steps between kept copies of the adapter, for `training_path`; none are kept when absent."""
    expect_misaligned: bool = True
    """False for a control, of which no direction is taken."""


@cache
def training_settings() -> dict[str, Any]:
    """Settings of an organism that only its training reads, with their defaults."""
    read_of_all = {"dataset", "adapter", "seeds", "rank", "layers", "expect_misaligned"}
    fields = Organism.model_fields.items()
    return {name: field.default for name, field in fields if name not in read_of_all}
