"""Edited copies of one adapter, all in one file: what the surgery battery serves in the adapter's place.

Tensors are named `<condition>/<tensor>`; the file's header holds a digest per condition and the adapter's PEFT
configuration, and `gate/<condition>/…` what PEFT says of each, for an engine to be held against.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from workflow_scripts.runtime.errors import UserError
from workflow_scripts.runtime.leftovers import scratch
from workflow_scripts.store.absence import Absence, recorded
from workflow_scripts.store.adapter_files import CONFIG, WEIGHTS, identity
from workflow_scripts.store.artefacts import (
    canonical,
    provenance,
    read_group,
    tensor_metadata,
    tensors_digest,
    write_tensors,
)
from workflow_scripts.store.lineage import mending

if TYPE_CHECKING:
    from torch import Tensor


def write_edits(
    path: Path,
    config: str,
    edits: Mapping[str, Mapping[str, Tensor]],
    gates: Mapping[str, Mapping[str, Tensor]],
    made_by: Mapping[str, str],
    lacks: Sequence[Absence] = (),
) -> None:
    """Writes edited adapters by condition, each with its gate, and which ones could not be made.

    `config` is the text of the PEFT configuration, `made_by` the file's provenance, completed here.
    """
    # cloned: edits of one adapter share what they leave alone, and the tokens of their gates; safetensors refuses that
    tensors = {f"{name}/{key}": tensor.clone() for name, edit in edits.items() for key, tensor in edit.items()}
    tensors |= {f"gate/{name}/{key}": tensor.clone() for name, gate in gates.items() for key, tensor in gate.items()}
    digests = canonical({name: identity(tensors_digest(edit), config) for name, edit in edits.items()})
    told = {name: canonical(value) for name, value in recorded(lacks).items()}
    write_tensors(path, tensors, {**made_by, "digests": digests, "adapter_config": config, **told})


def edit_digests(path: Path) -> dict[str, str]:
    """What names each edited adapter in the stores, by condition; the tensors are not read."""
    found: dict[str, str] = json.loads(tensor_metadata(path)["digests"])
    return found


@contextmanager
def adapter_folder(tensors: Mapping[str, Tensor], config: str) -> Iterator[Path]:
    """Tensors and a PEFT configuration as an ordinary adapter folder, for the time of the block."""
    from safetensors.torch import save_file

    with scratch("edit") as made:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, made / WEIGHTS, {"format": "pt"})
        (made / CONFIG).write_text(config)
        yield made


@contextmanager
def unpacked(path: Path, condition: str) -> Iterator[tuple[Path, Path]]:
    """One edited adapter as an ordinary adapter folder, and its gate's file, for the time of the block.

    No other condition is read.

    Raises:
        UserError: if the file holds no such condition.
    """
    weights = read_group(path, condition)
    if not weights:
        raise UserError(f"{path}: has no edited adapter {condition!r}; {mending(path)}.")
    with adapter_folder(weights, tensor_metadata(path)["adapter_config"]) as folder:
        gate = folder / "gate.safetensors"
        write_tensors(gate, read_group(path, f"gate/{condition}"), provenance("edits", ""))
        yield folder, gate
