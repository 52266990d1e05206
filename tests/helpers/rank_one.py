"""A tiny fine-tuned model with rank-1 adapters, shared by the tests of scalars, surgery and patching."""

from pathlib import Path

import torch

from workflow_scripts.models.loading import load_model

LAYERS = (1, 2, 4)
ALPHA = 16.0


def make_rank_one(base: Path, folder: Path, layers=LAYERS, modules=("down_proj",), spread: float = 0.05) -> Path:
    """Rank-1 rsLoRA adapters (scale α) with random A and B, saved in PEFT form."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=1, lora_alpha=ALPHA, use_rslora=True, target_modules=list(modules), layers_to_transform=list(layers),
        task_type="CAUSAL_LM",
    )  # fmt: skip
    model = get_peft_model(load_model(base, "float32"), config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                scale = spread if "lora_B" in name else 0.1
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    model.save_pretrained(folder)
    return folder


def plain_weights(adapter: Path) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
    """Layer -> (A [d_in], B [d_out]) straight from the file."""
    from safetensors.torch import load_file

    tensors = load_file(adapter / "adapter_model.safetensors")
    path = "base_model.model.model.layers.{}.mlp.down_proj.lora_{}.weight"
    return {layer: (tensors[path.format(layer, "A")][0], tensors[path.format(layer, "B")][:, 0]) for layer in LAYERS}
