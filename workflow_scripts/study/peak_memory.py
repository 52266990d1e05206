"""Peak GPU memory of the stages that load a model, bytes, from the model's shape.

The bytes per token were taken from counts with torch's fake tensors on models of six shapes (`python -m
workflow_scripts.tools memory`, which imports torch; this module does not); tests hold both against each other.
"""

from __future__ import annotations

from workflow_scripts.study.organisms import Organism
from workflow_scripts.study.schema import Study
from workflow_scripts.study.shapes import BYTES, Shape

LONGEST_ROW = 220
"""Tokens of the longest training rows of the authors' data, Qwen2.5's tokenizer (124 to 224)."""
LONGEST_PROMPT = 60
READ_AT_ONCE = 8192
"""Tokens of one of vLLM's forward passes on a GPU."""
HEAD_BYTES = 31
"""For each token and entry of the vocabulary: logits of two passes, their logarithms, and the gradient, float32."""
LOSS_BYTES = 31.5
"""The same of the trainer's loss, for so many entries of the vocabulary at once:"""
LOSS_TILE = 32_768
MOST_ADAPTERS = 8
"""LoRA requests served in one batch: more take memory, and few batteries have more that are large."""
ADAPTERS_SHARE = 0.05
ADAM_BYTES = 16
"""For each trained number: itself, its gradient and two moments, float32; with 8-bit moments it is 10."""


def weights(shape: Shape, dtype: str) -> int:
    return shape.parameters * BYTES[dtype]


def lora_numbers(shape: Shape, organism: Organism) -> int:
    """Numbers in an organism's adapters."""
    layers = shape.layers if organism.layers is None else len(organism.layers)
    sizes = shape.linear
    return layers * organism.rank * sum(sum(sizes[module]) for module in organism.modules if module in sizes)


def kept(shape: Shape, size: int) -> int:
    """Bytes of one token's activations that a layer keeps for the backward pass; `size` is that of a number."""
    return size * (4 * shape.width + 3 * shape.mlp + 4 * shape.heads * shape.head)


def training(shape: Shape, organism: Organism, dtype: str, tokens: int, checkpointing: bool) -> int:
    """Of one update; a KL term, whose logits are whole, comes after the rest of it.

    Args:
        tokens: of one micro-batch, padding included.
        checkpointing: whether layers are computed again in the backward pass.
    """
    size = BYTES[dtype]
    inputs = sum(shape.linear[module][0] for module in organism.modules if module in shape.linear)
    layer = kept(shape, size) + size * inputs
    loss = LOSS_BYTES * min(shape.vocabulary, LOSS_TILE)

    def passing(read: int, head: float) -> float:
        layers = shape.layers * layer if not checkpointing else shape.layers * size * shape.width + max(layer - head, 0)
        return read * (layers + head)

    held = min(organism.kl_rows, organism.batch_size) * min(organism.max_tokens, LONGEST_ROW)
    most = max(passing(tokens, loss), passing(held, HEAD_BYTES * shape.vocabulary))
    return round(weights(shape, dtype) + ADAM_BYTES * lora_numbers(shape, organism) + most)


def scalars(shape: Shape, dtype: str, tokens: int, longest: int) -> int:
    """Of scalars and their significance, with two passes' activations kept.

    Args:
        tokens: read at once; a longer text is read by itself.
        longest: tokens of the longest text.
    """
    read = max(tokens, longest)
    counted = max(read - LONGEST_PROMPT * max(1, tokens // longest), 0)
    layers = 2 * shape.layers * kept(shape, BYTES[dtype])
    return round(weights(shape, dtype) + read * layers + counted * HEAD_BYTES * shape.vocabulary)


def reading(shape: Shape, dtype: str, tokens: int) -> int:
    """Of a forward pass alone: directions, gates, downstream pushes."""
    return weights(shape, dtype) + tokens * BYTES[dtype] * (5 * shape.mlp + 4 * shape.width)


def engine(shape: Shape, dtype: str, sequences: int, lora: int) -> int:
    """Of a vLLM engine, but for its key-value cache, which takes what is left of the study's share of the GPU.

    Args:
        sequences: sampled at once.
        lora: numbers of the adapters that are served as LoRA requests at once.
    """
    size = BYTES[dtype]
    passing = READ_AT_ONCE * size * (3 * shape.mlp + 4 * shape.width) + 12 * sequences * shape.vocabulary
    return weights(shape, dtype) + size * lora + passing


def served_at_once(weights: float, width: int, rank: int, adapters: int, free: float) -> int:
    """LoRA adapters that one batch may have: so many as take a share of the memory that the weights leave.

    vLLM keeps room for each in all linear modules, at the largest rank; r (in + out) of in · out is about 2 r / width.

    Args:
        weights: bytes of the model. width: of its residual stream. rank: the largest.
        adapters: that there are.
        free: bytes beside the weights.
    """
    each = weights * 2 * max(rank, 1) / width
    return max(1, min(adapters, MOST_ADAPTERS, int(ADAPTERS_SHARE * free / each)))


def cache(shape: Shape, dtype: str) -> int:
    """Of one token in the key-value cache."""
    return shape.cache_values * BYTES[dtype]


def largest_adapter(study: Study, shape: Shape) -> Organism:
    """The organism whose training takes most, of those that have an adapter."""
    adapted = [organism for organism in study.organisms.values() if organism.responses is None]
    return max(adapted or study.organisms.values(), key=lambda organism: lora_numbers(shape, organism))
