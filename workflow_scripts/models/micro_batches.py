"""How a training update is read: how many of its rows at once, padded or end to end, with how many layers recomputed.

None of it changes an update, because the trainer divides the loss by all tokens of the update. It changes speed and
memory: a GPU waits for the CPU between the small kernels of two rows, and is kept busy by a few thousand tokens.

The rule, where the study says nothing: on the CPU, `batch_size` rows padded. On a GPU, as many rows as `TOKENS_AT_ONCE`
hold, end to end where texts of a row do not see each other. On both, a layer's activations are kept for the backward
pass; only as many layers as memory cannot hold are recomputed (gradient checkpointing), the lowest adapted ones first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from workflow_scripts.models.residual import decoder_layers
from workflow_scripts.runtime import memory
from workflow_scripts.runtime.errors import UserError

if TYPE_CHECKING:
    from workflow_scripts.study.organisms import Organism
    from workflow_scripts.study.schema import Execution

TOKENS_AT_ONCE = 4096
"""Tokens of a micro-batch on a GPU; some 2,000 keep an H100 busy with a model of 14B (computed)."""
ROOM = {"cuda": 0.8, "cpu": 0.5}
"""Share of the free memory for what the backward pass needs; the rest is for temporaries, and on the CPU for the gaps
between them (1.6 times what is counted, measured)."""
OPTIMIZER_BYTES = 12
"""Of a trained parameter in float32: gradient and Adam's two moments."""
PROBED_TOKENS = 64
"""Length of the text on which activations are counted."""
LEAK = 1e-2
"""Change of logits, relative to their spread, by another text of the row that counts as seeing it."""


@dataclass(frozen=True)
class MicroBatches:
    """How updates are read: rows at once, whether end to end, and how many layers are recomputed."""

    rows: int
    padding_free: bool
    recomputed_layers: int

    def facts(self) -> dict[str, Any]:
        """For the training table's provenance."""
        return asdict(self)


def chosen(
    model: Any, settings: Organism, execution: Execution, lengths: Sequence[int], half: bool, pad_token: int
) -> MicroBatches:
    """How this training is read; see this module's docstring.

    Args:
        model: with its adapter.
        settings, execution: of the study.
        lengths: tokens of each training row.
        half: whether the model computes in bfloat16.
        pad_token: id of the padding token.

    Raises:
        UserError: if padding-free batches are asked for and the model lets their texts see each other.
    """
    where = device_of(model)
    on_gpu = where.type == "cuda"
    flat = on_gpu if execution.padding_free is None else execution.padding_free
    if flat and leaks(model, pad_token):
        if execution.padding_free:
            kind = type(model.get_base_model()).__name__
            raise UserError(
                f"execution.padding_free: in {kind} the texts of a row see each other; leave it out, to pad them."
            )
        flat = False
    update = settings.batch_size * settings.accumulation
    most = int(TOKENS_AT_ONCE / fmean(lengths)) if on_gpu else settings.batch_size
    rows = rows_at_once(update, execution.micro_batch or most)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    room = ROOM[where.type] * free_bytes(where) - OPTIMIZER_BYTES * trained
    layers, kept, entered = saved_bytes(model, half)
    able = layers if model.get_base_model().supports_gradient_checkpointing else 0
    while True:
        tokens = most_tokens(lengths, rows, flat)
        recomputed = layers_to_recompute(room / tokens, layers, kept, entered)
        if recomputed <= able or rows == 1 or execution.micro_batch:
            return MicroBatches(rows, flat, min(recomputed, able))
        rows = rows_at_once(update, rows - 1)


def rows_at_once(update: int, most: int) -> int:
    """The largest number of rows, at most `most`, that divides an update of so many rows."""
    return next(rows for rows in range(max(1, min(update, most)), 0, -1) if update % rows == 0)


def most_tokens(lengths: Sequence[int], rows: int, flat: bool) -> int:
    """Tokens of the largest micro-batch to be expected: of the longest row, if padded; else five deviations more."""
    longest = rows * max(lengths)
    return min(longest, int(rows * fmean(lengths) + 5 * pstdev(lengths) * rows**0.5) + 1) if flat else longest


def layers_to_recompute(room: float, layers: int, kept: float, entered: float) -> int:
    """How many layers' activations do not fit; one more than there are where all recomputed do not fit either.

    Args:
        room, kept, entered: bytes per token: what there is, what a layer keeps for the backward pass, and what it keeps
            if it is recomputed, its input.
    """
    too_much = layers * kept - room
    if too_much <= 0:
        return 0
    return min(layers + 1, -int(-too_much // (kept - entered)))


def saved_bytes(model: Any, half: bool) -> tuple[int, float, float]:
    """Layers that the backward pass goes through, and bytes per token that each keeps for it, and that enter each.

    Counted on a short text: what autograd saves, without the parameters, each storage once.
    """
    where = device_of(model)
    layers = decoder_layers(model)
    lowest = first_trained(layers)
    known = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    saved: dict[int, int] = {}
    entered = 0

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    def enter(_module: nn.Module, inputs: tuple[Any, ...], given: dict[str, Any]) -> None:
        nonlocal entered
        entered = next(value for value in (*inputs, *given.values()) if isinstance(value, Tensor)).nbytes

    handle = layers[lowest].register_forward_pre_hook(enter, with_kwargs=True)
    text = (
        torch.arange(PROBED_TOKENS, device=where)[None] % model.get_base_model().get_input_embeddings().num_embeddings
    )
    try:
        with (
            torch.enable_grad(),
            torch.autocast(where.type, torch.bfloat16, enabled=half),
            torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor),
        ):
            output = model.get_base_model().base_model(input_ids=text, use_cache=False)
    finally:
        handle.remove()
    del output
    trained = len(layers) - lowest
    return trained, sum(saved.values()) / trained / PROBED_TOKENS, entered / PROBED_TOKENS


def first_trained(layers: nn.ModuleList) -> int:
    """Number of the lowest layer with a trained parameter; the backward pass ends there."""
    return next((n for n, layer in enumerate(layers) if any(p.requires_grad for p in layer.parameters())), 0)


def recompute(model: Any, count: int) -> None:
    """Has the lowest `count` trained layers compute their activations again in the backward pass.

    transformers' own switch also makes the embeddings require a gradient, which sends the backward pass through every
    layer; PyTorch's newer checkpointing (`use_reentrant=False`) does not need it.
    """
    if not count:
        return
    base = model.get_base_model()
    base.gradient_checkpointing_enable({"use_reentrant": False})
    base.disable_input_require_grads()
    layers = decoder_layers(model)
    lowest = first_trained(layers)
    for number, layer in enumerate(layers):
        layer.gradient_checkpointing = lowest <= number < lowest + count


@torch.inference_mode()
def leaks(model: Any, pad_token: int) -> bool:
    """Whether a text's logits depend on the text before it in a padding-free batch, as the trainer makes it.

    They do not with attention, whose mask follows the positions; with recurrent layers they do unless their kernels
    mind the texts' boundaries, which depends on what is installed.
    """
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    collate = DataCollatorForLanguageModeling(pad_token_id=pad_token, padding_free=True)
    where = device_of(model)
    text, seen = list(range(20, 28)), []
    for before in (range(1, 9), range(9, 17)):
        batch = collate([{"input_ids": list(before)}, {"input_ids": text}])
        batch.pop("labels")
        given = {name: value.to(where) if isinstance(value, Tensor) else value for name, value in batch.items()}
        seen.append(model(**given, use_cache=False).logits[0, -len(text) :].float())
    return bool((seen[0] - seen[1]).abs().max() > LEAK * seen[0].std())


def device_of(model: Any) -> torch.device:
    found: torch.device = next(model.parameters()).device
    return found


def free_bytes(where: torch.device) -> int:
    """Memory that this process can still take on a device."""
    if where.type == "cuda":
        unused: int = torch.cuda.memory_reserved(where) - torch.cuda.memory_allocated(where)
        return int(torch.cuda.mem_get_info(where)[0]) + unused
    return memory.available()


@contextmanager
def told_when_out_of_memory(rows: int) -> Iterator[None]:
    """Turns the GPU's lack of memory into a sentence."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        advice = (
            f"set execution.micro_batch below {rows}, the update stays the same" if rows > 1 else "take a larger one"
        )
        raise UserError(
            f"the GPU's memory does not hold {rows} rows of a training update at once; {advice}."
        ) from error
