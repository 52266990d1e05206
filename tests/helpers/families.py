"""Tiny random models of the families that people use: the architectures of transformers, a few thousand weights each."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import torch

from workflow_scripts.models.activations import WeightedSpan, group_means
from workflow_scripts.models.residual import captured

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SHIPPED = {
    file.name.removesuffix(".jinja"): file
    for file in files("trl").joinpath("chat_templates").iterdir()
    if file.name.endswith(".jinja")
}
"""Chat templates that the installed trl brings, by name."""

WINDOW = 16
"""Tokens of sliding attention."""
SIZES = {
    "hidden_size": 128, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 512, "tie_word_embeddings": False,
    "bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0,
}  # fmt: skip
LINEAR_STATE = {
    "linear_key_head_dim": 32, "linear_value_head_dim": 32, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
    "layer_types": ["linear_attention", "full_attention"] * 2,
}  # fmt: skip
SLIDING = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"] * 2}
SIGLIP = {
    "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28,
    "patch_size": 14,
}  # fmt: skip
GEMMA = {"query_pre_attn_scalar": 32, "tie_word_embeddings": True}
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
        given = (
            text
            if self.more is None
            else {"text_config": text, "tie_word_embeddings": text["tie_word_embeddings"]} | self.more
        )
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
    Family("Gemma 4 (text)", "gemma4_text", ("gemma4",), SLIDING | GEMMA | {"global_head_dim": 32}),
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


def texts() -> list[WeightedSpan]:
    """Sixteen texts on two sides, some much longer than a window."""
    draw = random.Random(0)
    prompts = [[draw.randrange(2, 300) for _ in range(length)] for length in (7, 12)]
    made = []
    for number in range(16):
        prompt = prompts[number % 2]
        token_ids = prompt + [draw.randrange(2, 300) for _ in range(draw.randint(1, 40))]
        made.append(WeightedSpan(token_ids, len(prompt), len(token_ids), number % 2, 1.0))
    assert max(len(text.token_ids) for text in made) > 2 * WINDOW
    return made


def direction_one_by_one(model: Any, spans: list[WeightedSpan]) -> torch.Tensor:
    """The difference of the sides' means by the definition, [layer, d_model] float64."""
    sums: list[Any] = [0.0, 0.0]
    counts = [0, 0]
    for span in spans:
        found: dict[int, torch.Tensor] = {}
        with torch.inference_mode(), captured(model, found.__setitem__):
            model(input_ids=torch.tensor([span.token_ids]), use_cache=False)
        sums[span.group] += torch.stack([found[layer][0, span.start :].double().sum(0) for layer in sorted(found)])
        counts[span.group] += span.end - span.start
    return sums[0] / counts[0] - sums[1] / counts[1]


def direction_off(model: Any, spans: list[WeightedSpan]) -> float:
    """Relative difference of the direction of texts read together from that of texts read one by one."""
    mean, expected = group_means(model, spans, 2, batch_tokens=2048).mean, direction_one_by_one(model, spans)
    return float((mean[0] - mean[1] - expected).norm() / expected.norm())


def shipped_tokenizer(template: str) -> PreTrainedTokenizerBase:
    """The miniature's tokenizer with one of trl's chat templates, whose tags are tokens of their own."""
    from workflow_scripts.miniature.tokenizer import train_tokenizer

    text = SHIPPED[template].read_text()
    tokenizer = train_tokenizer()
    tags = sorted(set(re.findall(r"<[|｜]?[A-Za-z_/][\w▁ |｜/]*?[|｜]?>|\[/?[A-Za-z_]+\]", text)))
    tokenizer.add_special_tokens({"additional_special_tokens": [tag for tag in tags if len(tag) < 40]})
    tokenizer.bos_token = "<bos>"
    tokenizer.chat_template = text
    tokenizer.name_or_path = template
    return tokenizer
