"""Small adapters for the tiny model."""

from __future__ import annotations

from pathlib import Path

import torch


def make_adapter(base: Path, folder: Path, spread: float) -> Path:
    from peft import LoraConfig, get_peft_model

    from workflow_scripts.models.loading import load_model

    torch.manual_seed(0)
    config = LoraConfig(
        r=8, lora_alpha=32, use_rslora=True, target_modules=["down_proj", "up_proj"], layers_to_transform=[2, 3],
        task_type="CAUSAL_LM",
    )  # fmt: skip
    model = get_peft_model(load_model(base, "float32"), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=spread) if spread else torch.nn.init.zeros_(parameter)
    model.save_pretrained(folder)
    return folder
