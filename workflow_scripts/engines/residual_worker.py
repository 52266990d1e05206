"""vLLM worker extension: installs residual-stream changes in each worker's own model."""

from __future__ import annotations

from typing import Any

from safetensors import safe_open
from torch.utils.hooks import RemovableHandle

from workflow_scripts.models.residual import install, unpack_changes


class ResidualWorker:
    """Mixed into vLLM's worker class by `worker_extension_cls`; called through `collective_rpc`.

    Every tensor-parallel rank holds the whole residual stream, so every rank applies the same change.
    """

    model_runner: Any
    em_handles: list[RemovableHandle]

    def em_remove_changes(self) -> None:
        for handle in getattr(self, "em_handles", []):
            handle.remove()
        self.em_handles = []

    def em_install_changes(self, path: str) -> int:
        """Replaces the changes by those in a safetensors file (tensors do not travel through every RPC)."""
        self.em_remove_changes()
        with safe_open(path, framework="pt") as file:
            changes = unpack_changes({key: file.get_tensor(key) for key in file.keys()}, file.metadata())  # noqa: SIM118
        self.em_handles = install(self.model_runner.model, changes)
        return len(self.em_handles)
