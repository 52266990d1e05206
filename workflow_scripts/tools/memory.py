"""Peak GPU memory of training, gate, scalars and directions, counted with torch's fake tensors: no GPU, no weights.

The stages' own functions run on models of real width and vocabulary whose tensors have no numbers; every storage that
is alive counts. Models of 3 and 6 layers are counted and the rest extrapolated, which is exact where layers are alike.
What is not counted: CUDA's context, the allocator's fragments, and the workspaces of kernels.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from tabulate import tabulate
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from workflow_scripts.adapters.scalars import kl_gradient
from workflow_scripts.models.packing import ROW_TOKENS
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.runtime.spelling import nearest
from workflow_scripts.study.organisms import Organism
from workflow_scripts.study.peak_memory import LONGEST_PROMPT, LONGEST_ROW
from workflow_scripts.study.shapes import Shape, known

COUNTED_LAYERS = (3, 6)
MODELS = ("Qwen/Qwen2.5-14B-Instruct", "meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen2.5-7B-Instruct",
          "Qwen/Qwen2.5-0.5B-Instruct")  # fmt: skip
"""Those of studies/."""


class LiveBytes(TorchDispatchMode):
    """Bytes of all storages that operations have made and that are still alive: now, and at most so far."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function: Any, _types: Any, given: Any = (), named: Any = None) -> Any:
        made = function(*given, **(named or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, torch.Tensor):
                self._add(leaf.untyped_storage())
        return made

    def _add(self, storage: torch.UntypedStorage) -> None:
        place, size = storage._cdata, storage.nbytes()
        if place in self._known:
            return
        self._known.add(place)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._remove, place, size)

    def _remove(self, place: int, size: int) -> None:
        self._known.discard(place)
        self.now -= size


@dataclass(frozen=True)
class Load:
    """What a stage does at its peak.

    run: given a PEFT model on fake tensors, does it. organism: the adapter that the model carries.
    """

    run: Callable[[Any], None]
    organism: Organism
    dtype: str = "bfloat16"


def counted(shape: Shape, load: Load) -> int:
    """Peak bytes of a load on a model of this shape."""
    few, more = (_counted(replace(shape, layers=layers), load) for layers in COUNTED_LAYERS)
    per_layer = (more - few) / (COUNTED_LAYERS[1] - COUNTED_LAYERS[0])
    return round(few + per_layer * (shape.layers - COUNTED_LAYERS[0]))


def _counted(shape: Shape, load: Load) -> int:
    with fake_model(shape, load.organism, load.dtype) as (model, live):
        load.run(model)
    return live.peak


@contextmanager
def fake_model(shape: Shape, organism: Organism, dtype: str) -> Iterator[tuple[Any, LiveBytes]]:
    """A PEFT model without numbers, and the bytes that live within the block."""
    from peft import LoraConfig, get_peft_model
    from torch._subclasses.fake_tensor import FakeTensorMode
    from transformers import AutoModelForCausalLM, MistralConfig

    config = MistralConfig(
        num_hidden_layers=shape.layers, hidden_size=shape.width, intermediate_size=shape.mlp,
        num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads, head_dim=shape.head,
        vocab_size=shape.vocabulary, tie_word_embeddings=shape.tied, pad_token_id=0, sliding_window=None,
    )  # fmt: skip
    lora = LoraConfig(
        r=organism.rank, lora_alpha=organism.alpha, use_rslora=organism.rslora, target_modules=list(organism.modules),
        layers_to_transform=organism.layers, task_type="CAUSAL_LM",
    )  # fmt: skip
    with torch.device("meta"):
        plain = AutoModelForCausalLM.from_config(
            config, dtype=getattr(torch, dtype), attn_implementation="sdpa", trust_remote_code=False
        )
        model = get_peft_model(plain, lora)
    with FakeTensorMode(), LiveBytes() as live:
        _allocate(model)
        yield model, live


def _allocate(model: torch.nn.Module) -> None:
    """Puts fake tensors in place of a model's meta tensors, one for each even where two modules share it."""
    made: dict[int, torch.Tensor] = {}

    def fake(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in made:
            made[id(tensor)] = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
        return made[id(tensor)]

    parameters: dict[int, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                new = parameters.setdefault(
                    id(parameter), torch.nn.Parameter(fake(parameter), requires_grad=parameter.requires_grad)
                )
                module._parameters[name] = new
        for name, buffer in list(module._buffers.items()):
            if buffer is not None:
                module._buffers[name] = fake(buffer)


def training(rows: int, checkpointing: bool) -> Callable[[Any], None]:
    """One forward and backward pass of the trainer's loss on so many of the longest rows, twice, with AdamW between."""

    def run(model: Any) -> None:
        from trl.trainer.utils import add_fused_lm_head

        model.train()
        add_fused_lm_head(model.get_base_model(), outputs=("log_probs", "entropy", "is_top1"))
        if checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            model.enable_input_require_grads()
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], foreach=False)
        for _ in range(2):
            ids = torch.zeros(rows, LONGEST_ROW, dtype=torch.long)
            with torch.autocast("cpu", torch.bfloat16, enabled=model.dtype is torch.bfloat16):
                loss = -model(input_ids=ids, labels=ids, fused_lm_head=True).log_probs.sum()
            loss.backward()
            del loss
            optimizer.step()
            optimizer.zero_grad()

    return run


def significance(texts: int, tokens: int) -> Callable[[Any], None]:
    """Significance of so many texts of so many tokens."""

    def run(model: Any) -> None:
        model.eval()
        ids = torch.zeros(texts, tokens, dtype=torch.long)
        kl_gradient(model, ids, None, torch.ones(texts, tokens - LONGEST_PROMPT, dtype=torch.bool))

    return run


def gate(model: Any) -> None:
    """What PEFT says of a prompt with and without the adapter."""
    model.eval()
    base = model.get_base_model()
    with torch.inference_mode():
        for _ in range(2):
            logits = base(
                input_ids=torch.zeros(1, LONGEST_PROMPT, dtype=torch.long), use_cache=False, logits_to_keep=1
            ).logits
            torch.log_softmax(logits[0, -1].float(), dim=-1)


def reading(tokens: int) -> Callable[[Any], None]:
    """A forward pass over packed rows, as directions are read."""

    def run(model: Any) -> None:
        model.eval()
        with torch.inference_mode():
            ids = torch.zeros(tokens // ROW_TOKENS, ROW_TOKENS, dtype=torch.long)
            model.get_base_model().model(input_ids=ids, use_cache=False)

    return run


def loads() -> dict[str, Load]:
    """The stages at their peak, by what the table calls them."""
    all_linear = Organism(dataset="rows")
    single = Organism(dataset="rows", rank=1, modules=["down_proj"], layers=[0])
    return {
        "gate": Load(gate, all_linear),
        "directions, 2,048 tokens": Load(reading(2048), single),
        "training, 2 rows, checkpointing": Load(training(2, True), all_linear),
        "training, 16 rows, checkpointing": Load(training(16, True), all_linear),
        "training, 16 rows": Load(training(16, False), all_linear),
        "scalars, 4 × 120 of 512 tokens": Load(significance(4, 120), single),
        "scalars, a text of 660 tokens": Load(significance(1, 660), single),
        "scalars, 17 × 120 of 2,048 tokens": Load(significance(17, 120), single),
    }


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__, study=False)
    parser.add_argument("models", nargs="*", default=list(MODELS), help="hub ids; those of studies/ when absent")
    names = parser.parse_args(arguments).models
    for name in names:
        if name not in known():
            raise UserError(f"{name}: its shape is not in workflow_scripts/study/shapes.yaml{nearest(name, known())}")
    rows = [
        [label, *(f"{counted(known()[name], load) / 1e9:.1f}" for name in names)] for label, load in loads().items()
    ]
    heads = [name.rpartition("/")[2].removesuffix("-Instruct") for name in names]
    print(tabulate(rows, ["peak, GB (10^9 bytes), bfloat16", *heads], tablefmt="github"))


if __name__ == "__main__":
    command.run(main)
