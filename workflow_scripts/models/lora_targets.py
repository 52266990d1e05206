"""Which modules of a base carry a LoRA adapter: linear ones of its decoder layers, and of nothing else."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from torch import nn

from workflow_scripts.models.residual import decoder_layers
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.runtime.spelling import nearest

if TYPE_CHECKING:
    from workflow_scripts.study.organisms import Organism


def check_targets(place: str, settings: Organism, model: nn.Module) -> None:
    """Holds an organism's layers, and the modules of one that is trained, against its base.

    Args:
        place: where the study names the organism, for errors.
        settings: the organism.
        model: the base; its weights are not read.

    Raises:
        UserError: naming the layer or module that the base does not have, or that cannot be served.
    """
    layers = decoder_layers(model)
    beyond = [layer for layer in settings.layers or () if layer >= len(layers)]
    if beyond:
        raise UserError(
            f"{place}.layers: layer {beyond[0]} does not exist; the base has layers 0 to {len(layers) - 1}."
        )
    if settings.adapter is not None:
        return
    known = {name.rpartition(".")[2] for name, module in layers.named_modules() if isinstance(module, nn.Linear)}
    experts = {name for name in settings.modules if name in IN_EXPERTS and _has_experts(layers)}
    for module in settings.modules:
        if module in experts:
            others = ", ".join(sorted(known - IN_EXPERTS))
            raise UserError(
                f"{place}.modules: {type(model).__name__} keeps {module!r} of its experts in one parameter for all of "
                f"them, which carries no adapter here; name modules of its attention ({others})."
            )
        if module not in known:
            hint = nearest(module, sorted(known))
            raise UserError(f"{place}.modules: {type(model).__name__} has no linear module {module!r}{hint}")


IN_EXPERTS = {"gate_proj", "up_proj", "down_proj", "gate_up_proj", "w1", "w2", "w3"}
"""Names that modules of experts have."""


def _has_experts(layers: nn.Module) -> bool:
    """Whether some layer holds its experts' weights stacked, [expert, out, in]."""
    return any(parameter.dim() == 3 and "experts" in name for name, parameter in layers.named_parameters())


def lora_targets(settings: Organism, model: nn.Module) -> dict[str, Any]:
    """PEFT's settings that say which modules carry an adapter.

    By their names alone, as in the authors' code; where modules outside the decoder layers bear the same names, as in a
    tower that sees, by their paths.
    """
    layers = decoder_layers(model)
    inside = {id(module) for module in layers.modules()}
    named = [
        name for name, module in model.named_modules() if isinstance(module, nn.Linear) and id(module) not in inside
    ]
    if not {name.rpartition(".")[2] for name in named} & set(settings.modules):
        return {"target_modules": list(settings.modules), "layers_to_transform": settings.layers}
    place = next(name for name, module in model.named_modules() if module is layers)
    numbers = "|".join(map(str, settings.layers)) if settings.layers else r"\d+"
    return {"target_modules": rf"{re.escape(place)}\.({numbers})\.(.+\.)?({'|'.join(settings.modules)})"}
