"""Published adapters: fetched or taken from a folder, and held against the base before they are used."""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from workflow_scripts.models.loading import described_model
from workflow_scripts.models.residual import decoder_layers
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.adapter_files import CONFIG, WEIGHTS
from workflow_scripts.store.foreign import foreign, read_foreign_json
from workflow_scripts.store.hub import hub_snapshot
from workflow_scripts.study.fields import LARGEST
from workflow_scripts.study.organisms import Organism, PublishedAdapter

log = logging.getLogger(__name__)

FILES = (CONFIG, WEIGHTS)
FREE = frozenset(
    {"r", "lora_alpha", "use_rslora", "lora_dropout", "target_modules", "exclude_modules", "layers_to_transform",
     "layers_pattern", "base_model_name_or_path", "revision", "task_type", "peft_type", "peft_version", "auto_mapping",
     "inference_mode", "eva_config", "qalora_group_size", "megatron_core", "runtime_config"}
)  # fmt: skip
"""Settings of an adapter that leave it plain LoRA, whatever they say: its size, its places, and how it was trained."""
PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
"""Ways to start a training that leave the base's weights alone; PiSSA, OLoRA, CorDA and LoftQ do not."""
NUMBERS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Number formats that every engine loads; truth values and complex numbers would become other numbers on the way."""
NAME = re.compile(r"^base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight$")


def take(place: str, settings: Organism, base: Path, base_name: str, folder: Path) -> None:
    """Copies the adapter that an organism names into `folder`, if it fits the base.

    Args:
        place: where the study names the organism, for errors (e.g. `organisms.medical_r1`).
        settings: the organism; its rank and layers must be the adapter's.
        base: folder of the chat base.
        base_name: what the study calls the base; an adapter of another one is only warned about.
        folder: is made.

    Raises:
        UserError: if the adapter is not there, or is none that all engines serve on this base.
    """
    assert settings.adapter, "an organism that is trained is not taken"
    source = source_of(place, settings.adapter)
    config = read_foreign_json(source / CONFIG, f"{place}.adapter: {source / CONFIG} is not JSON")
    _check_kind(place, config)
    strength = config.get("lora_alpha")
    if isinstance(strength, bool) or not isinstance(strength, int | float) or not 0 < strength <= LARGEST:
        raise UserError(f"{place}.adapter: lora_alpha is {strength!r:.100}, no number above 0 and up to {LARGEST:,}.")
    if config.get("r") != settings.rank:
        raise UserError(f"{place}.rank: the study says {settings.rank}, the adapter has rank {config.get('r')!r}.")
    _check_tensors(place, source / WEIGHTS, settings, base)
    trained_on = str(config.get("base_model_name_or_path") or "")
    if Path(trained_on).name.lower() != Path(base_name).name.lower():
        log.warning("%s: the adapter was trained on %s, the study's base is %s", place, trained_on or "?", base_name)
    folder.mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(source / name, folder / name)


def source_of(place: str, adapter: PublishedAdapter) -> Path:
    """Folder with the files of an adapter; those of the hub lie in its cache, fetched where they are missing.

    Raises:
        UserError: if they are not all there.
    """
    if adapter.path is not None:
        source = Path(adapter.path)
    else:
        assert adapter.hub, "checked when the study was loaded"
        assert adapter.revision, "checked when the study was loaded"
        patterns = [str(Path(adapter.subfolder or "", name)) for name in FILES]
        snapshot = hub_snapshot(f"{place}.adapter", adapter.hub, adapter.revision, patterns)
        source = snapshot / (adapter.subfolder or "")
    for name in FILES:
        if not (source / name).is_file():
            raise UserError(f"{place}.adapter: {source} has no {name}; other forms are not read.")
    return source


def _check_kind(place: str, config: dict[str, Any]) -> None:
    """Refuses what is no plain LoRA adapter: not every engine would serve it as PEFT does.

    What is known to be plain passes; everything else must be as PEFT leaves it by itself. A setting that this PEFT does
    not know is of a newer kind of LoRA, unless it is switched off.
    """
    from peft import LoraConfig

    if config.get("peft_type") != "LORA":
        raise UserError(f"{place}.adapter: is of the kind {config.get('peft_type')}; only LORA is served.")
    usual = LoraConfig().to_dict()
    for key, value in config.items():
        plain = (
            value in PLAIN_STARTS if key == "init_lora_weights" else key in FREE or not value or value == usual.get(key)
        )
        if not plain:
            raise UserError(f"{place}.adapter: sets {key} to {value}; only plain LoRA is served.")


def _check_tensors(place: str, file: Path, settings: Organism, base: Path) -> None:
    """Holds the name and shape of every tensor against the base's modules, and the layers against the study's."""
    from safetensors import safe_open

    with foreign(f"{place}.adapter: {file} is truncated or damaged"), safe_open(file, framework="pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    model = described_model(base)
    modules = dict(model.named_modules())
    places = {id(m): number for number, layer in enumerate(decoder_layers(model)) for m in layer.modules()}
    layers: set[int] = set()
    for name, tensor in tensors.items():
        if tensor.dtype not in NUMBERS:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise UserError(f"{place}.adapter: {name} is in {kind}; save it in float16, bfloat16 or float32.")
        if not tensor.float().isfinite().all():  # as it is loaded: float64 reaches further
            raise UserError(f"{place}.adapter: {name} holds numbers that are not finite in float32.")
        shape = list(tensor.shape)
        match = NAME.match(name)
        module = modules.get(match["module"]) if match else None
        if match is None or not isinstance(module, nn.Linear):
            raise UserError(f"{place}.adapter: {name} belongs to no linear module of {type(model).__name__}.")
        rank, inside, outside = settings.rank, module.in_features, module.out_features
        expected = [rank, inside] if match["side"] == "A" else [outside, rank]
        if shape != expected:
            raise UserError(f"{place}.adapter: {name} has the shape {shape}, on this base it would be {expected}.")
        layer = places.get(id(module))
        if layer is None:
            raise UserError(f"{place}.adapter: {name} is outside the decoder layers.")
        layers.add(layer)
        other = name.replace(".lora_A.", ".lora_B.") if match["side"] == "A" else name.replace(".lora_B.", ".lora_A.")
        if other not in tensors:
            raise UserError(f"{place}.adapter: {file} holds {name} without {other}; take a whole adapter.")
    if layers != set(settings.layers or range(len(decoder_layers(model)))):
        named = ", ".join(map(str, sorted(layers))) or "none"
        raise UserError(f"{place}.layers: are not those of the adapter, which are {named}.")
