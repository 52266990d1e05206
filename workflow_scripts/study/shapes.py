"""The shape of a study's model, told before the model is there: what memory and time are counted from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from workflow_scripts.store.foreign import foreign, read_foreign_json
from workflow_scripts.study.resources import model_mb
from workflow_scripts.study.schema import Study
from workflow_scripts.study.sources import FolderBase, GgufBase, HubBase, MiniatureBase, base_name

MINIATURE_VOCABULARY = 1482
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Shape:
    """A dense decoder with grouped-query attention and a gated MLP.

    layers: decoder layers. width: of the residual stream. mlp: of the MLP. heads, kv_heads: of a layer. head: width of
    a head. vocabulary: tokens. tied: whether embedding and output share their weights.
    """

    layers: int
    width: int
    mlp: int
    heads: int
    kv_heads: int
    head: int
    vocabulary: int
    tied: bool

    @property
    def linear(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of each linear module of a layer."""
        query, key = self.heads * self.head, self.kv_heads * self.head
        return {
            "q_proj": (self.width, query),
            "k_proj": (self.width, key),
            "v_proj": (self.width, key),
            "o_proj": (query, self.width),
            "gate_proj": (self.width, self.mlp),
            "up_proj": (self.width, self.mlp),
            "down_proj": (self.mlp, self.width),
        }

    @property
    def layer_parameters(self) -> int:
        """Of the linear modules of all layers: each token multiplies with all of them."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.linear.values())

    @property
    def parameters(self) -> int:
        """All of them, but norms and biases."""
        return self.layer_parameters + (1 if self.tied else 2) * self.vocabulary * self.width

    @property
    def cache_values(self) -> int:
        """Numbers in the key-value cache for each token."""
        return 2 * self.layers * self.kv_heads * self.head


def shape_of(study: Study) -> tuple[Shape | None, str | None]:
    """The shape of a study's base, and a sentence where it is guessed; nothing where it cannot be known."""
    base = study.base
    if isinstance(base, MiniatureBase):
        width, heads = base.hidden_size, base.hidden_size // 32
        return Shape(base.layers, width, 2 * width, heads, max(1, heads // 2), 32, MINIATURE_VOCABULARY, True), None
    config = Path(base.path) / "config.json" if isinstance(base, FolderBase) else None
    if isinstance(base, HubBase):
        config = _cached(base)
        if config is None and base.id in known():
            return known()[base.id], None
    if config is not None and config.is_file():
        with foreign(f"{config}: does not describe a model"):
            return from_config(read_foreign_json(config)), None
    layers = base.layers if isinstance(base, HubBase | GgufBase) else None
    weights = base.weights_gb * 1e9 if isinstance(base, HubBase) else float(model_mb(study) * 2**20)
    if layers is None:
        return None, f"{base_name(base)} has no config.json that can be read here: memory and hours are not known."
    if weights:
        guess = solved(layers, weights / BYTES[study.base.dtype])
        return guess, f"the shape of {base_name(base)} is guessed from its layers and size."
    for name, shape in known().items():
        if shape.layers == layers:
            return shape, f"{base_name(base)} is not here: it is taken for {name}, which has as many layers."
    return None, f"{base_name(base)} is not here: memory and hours are not known."


@cache
def known() -> dict[str, Shape]:
    """Shapes of shapes.yaml by hub id."""
    listed = yaml.safe_load(Path(__file__).with_name("shapes.yaml").read_text())
    return {name: Shape(**fields) for name, fields in listed.items()}


def from_config(config: dict[str, Any]) -> Shape:
    """The shape that a config.json describes; of a multimodal model, that of its language model."""
    text = config.get("text_config", config)
    heads = text["num_attention_heads"]
    return Shape(
        layers=text["num_hidden_layers"],
        width=text["hidden_size"],
        mlp=text["intermediate_size"],
        heads=heads,
        kv_heads=text.get("num_key_value_heads") or heads,
        head=text.get("head_dim") or text["hidden_size"] // heads,
        vocabulary=text["vocab_size"],
        tied=bool(config.get("tie_word_embeddings", False)),
    )


def solved(layers: int, parameters: float) -> Shape:
    """A shape with so many layers and about so many parameters, in the proportions of Qwen2.5-14B.

    Its layers hold 10.5 width² parameters each, and its 152,064 tokens 2 width each: width solves a quadratic equation.
    """
    vocabulary, per_layer = 152_064, 10.5
    a, b = per_layer * layers, 2.0 * vocabulary
    width = max(128, round((-b + (b * b + 4 * a * parameters) ** 0.5) / (2 * a) / 128) * 128)
    heads = width // 128
    return Shape(layers, width, round(2.7 * width), heads, max(1, heads // 5), 128, vocabulary, False)


def _cached(base: HubBase) -> Path | None:
    """The model's config.json in the hub cache, if it is there; nothing is asked of a network."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(base.id, "config.json", revision=base.revision)
    return Path(found) if isinstance(found, str) else None
