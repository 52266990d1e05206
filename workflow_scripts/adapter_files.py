"""Identity of a trained adapter's files. Light: the response tables ask it without loading torch."""

from __future__ import annotations

from pathlib import Path

from workflow_scripts.artefacts import file_digest, tensor_metadata
from workflow_scripts.errors import UserError


def adapter_digest(adapter: Path, gate: Path) -> str:
    """sha256 of an adapter's weights, which must be those that the gate was recorded with.

    Raises:
        UserError: if the weights have changed since.
    """
    found = file_digest(adapter)
    facts = tensor_metadata(gate)
    if facts.get("adapter", found) != found:
        raise UserError(
            f"{adapter}: is damaged or was exchanged, it is not the adapter that was trained here; "
            f"delete {adapter.parent} and run again."
        )
    return found
