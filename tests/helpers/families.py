"""Tiny random models of the families that people use: the architectures of transformers, a few thousand weights each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WINDOW = 16
"""Tokens of sliding attention."""
SIZES = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 512, "tie_word_embeddings": False,
    "bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0,
}  # fmt: skip
LINEAR_STATE = {
    "linear_key_head_dim": 16, "linear_value_head_dim": 16, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
    "layer_types": ["linear_attention", "full_attention"] * 2,
}  # fmt: skip
SLIDING = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"] * 2}
SIGLIP = {
    "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28,
    "patch_size": 14,
}  # fmt: skip
GEMMA = {"query_pre_attn_scalar": 16}
GLM_MOE = {
    "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "first_k_dense_replace": 1,
    "n_group": 1, "topk_group": 1,
}  # fmt: skip
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}


@dataclass(frozen=True)
class Family:
    """Models of one architecture.

    model_type: of transformers. templates: copies of its chat templates that trl ships. text: settings of its language
    model beside `SIZES`. more: settings around it, of a model that also sees.
    """

    name: str
    model_type: str
    templates: tuple[str, ...] = ()
    text: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] | None = None

    def model(self, vocabulary: int, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
        """A random one, the same each time."""
        from transformers import AutoConfig, AutoModelForCausalLM

        text = SIZES | {"vocab_size": vocabulary} | self.text
        given = text if self.more is None else {"text_config": text, "tie_word_embeddings": False} | self.more
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(self.model_type, **given), dtype=dtype)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.mul_(2)  # larger than at the start of training, so that layers matter
        return model.eval()


FAMILIES = (
    Family("Qwen2.5", "qwen2", ("qwen2_5",)),
    Family("Qwen3", "qwen3", ("qwen3", "qwen3_instruct_2507")),
    Family("Qwen3-MoE", "qwen3_moe", ("qwen3",), MOE),
    Family("Qwen3.5, 3.6", "qwen3_5_text", ("qwen3_5_nothink", "qwen3_5_think", "qwen3_6"), LINEAR_STATE),
    Family("Qwen3-Next", "qwen3_next", (), LINEAR_STATE | MOE | {"shared_expert_intermediate_size": 32}),
    Family("Llama-3.1, 3.2", "llama", ("llama3_1", "llama3_2")),
    Family("Gemma 2", "gemma2", ("gemma",), SLIDING | GEMMA),
    Family("Gemma 3 (text)", "gemma3_text", ("gemma3",), SLIDING | GEMMA),
    Family(
        "Gemma 3 (wrapper)", "gemma3", ("gemma3",), SLIDING | GEMMA,
        {"vision_config": SIGLIP, "mm_tokens_per_image": 4},
    ),
    Family("Gemma 4 (text)", "gemma4_text", ("gemma4",), SLIDING | GEMMA | {"global_head_dim": 16}),
    Family("OLMo-2", "olmo2"),
    Family("OLMo-3", "olmo3", (), SLIDING),
    Family("Mistral (v0.1, v0.2)", "mistral", (), {"sliding_window": WINDOW}),
    Family("Mistral (v0.3 and later)", "mistral", (), {"sliding_window": None}),
    Family("Ministral-3", "ministral3"),
    Family("Phi-3, Phi-4", "phi3", ("phi3", "phi3_5"), {"sliding_window": WINDOW}),
    Family("GLM-4", "glm4"),
    Family("GLM-4.5", "glm4_moe", ("glm4moe",), GLM_MOE),
    Family("gpt-oss", "gpt_oss", ("gptoss",), SLIDING | {"num_local_experts": 4, "num_experts_per_tok": 2}),
    Family("SmolLM3", "smollm3"),
    Family("Granite", "granite"),
    Family("LFM2", "lfm2", ("lfm2",), {"layer_types": ["conv", "full_attention"] * 2, "block_auto_adjust_ff_dim": False}),
)  # fmt: skip
