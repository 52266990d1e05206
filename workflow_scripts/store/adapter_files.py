"""The files of a PEFT adapter, and their identity. Light: the response tables ask it without loading torch."""

from __future__ import annotations

import json
from pathlib import Path

from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import canonical, digest, file_digest, tensor_metadata
from workflow_scripts.store.lineage import mending

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


def adapter_facts(adapter: Path) -> dict[str, str]:
    """sha256 of an adapter's weights and of its PEFT config, as the gate records them."""
    config = adapter.with_name(CONFIG)
    return {
        fact: file_digest(file) if file.is_file() else "missing"
        for fact, file in (("adapter", adapter), ("adapter_config", config))
    }


def identity(weights: str, config: str) -> str:
    """What names an adapter in the stores: the digest of its weights, and how strongly PEFT's config writes them.

    The rest of the config says where the adapter came from, or is in the names of the weights already.
    """
    scaling = {key: json.loads(config).get(key) for key in ("r", "lora_alpha", "use_rslora")}
    return digest(weights, canonical(scaling))


def adapter_digest(adapter: Path, gate: Path) -> str:
    """What names an adapter (`identity`); its weights and config must be those that the gate was recorded with.

    Raises:
        UserError: if they have changed since.
    """
    found, recorded = adapter_facts(adapter), tensor_metadata(gate)
    for fact, file in (("adapter", adapter), ("adapter_config", adapter.with_name(CONFIG))):
        if recorded.get(fact, found[fact]) != found[fact]:
            raise UserError(
                f"{file}: is not what {gate} was made with, one of them is missing, damaged or exchanged; "
                f"{mending(gate)}."
            )
    return identity(found["adapter"], adapter.with_name(CONFIG).read_text())
