"""vLLM worker extension: installs residual-stream changes in each worker's model, and watches them for the probe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from workflow_scripts.models.residual import LayerChange, changed, decoder_layers, install, stream, unpack_changes

PROMPT = (1, 2, 3, 4)
"""What the probe asks: any tokens do."""
FINAL_NORMS = ("norm", "final_layernorm", "final_norm", "ln_f", "final_layer_norm")
"""Names of the norm between the last decoder layer and the head, beside the layers."""


class ResidualWorker:
    """Mixed into vLLM's worker class by `worker_extension_cls`; called through `collective_rpc`.

    Every tensor-parallel rank holds the whole residual stream, so every rank applies the same change.
    """

    model_runner: Any
    use_v2_model_runner: bool
    em_handles: list[RemovableHandle]
    em_changes: list[LayerChange]

    def em_runner(self) -> str:
        """Which of vLLM's model runners this worker has."""
        return "V2" if self.use_v2_model_runner else "V1"

    def em_remove_changes(self) -> None:
        for handle in getattr(self, "em_handles", []):
            handle.remove()
        self.em_handles, self.em_changes = [], []

    def em_install_changes(self, path: str) -> int:
        """Replaces the changes by those in a safetensors file (tensors do not travel through every RPC)."""
        self.em_remove_changes()
        with safe_open(path, framework="pt") as file:
            self.em_changes = unpack_changes({key: file.get_tensor(key) for key in file.keys()}, file.metadata())  # noqa: SIM118
        self.em_handles = install(self.model_runner.model, self.em_changes)
        return len(self.em_handles)

    def em_watch(self) -> int:
        """From now on, keeps what the last layer gives on `PROMPT`, and what arithmetic makes of it.

        Returns the number of layers, or 0 where the model's final norm is not found. Must come before changes, so that
        the stream is seen as it is without those of the last layer.
        """
        self.em_remove_changes()
        model = self.model_runner.model
        layers, norm = decoder_layers(model), final_norm(model)
        if norm is None:
            return 0
        self.em_watched = Watched(model, norm, len(layers) - 1, lambda: self.em_changes)
        self.em_watch_handle = layers[-1].register_forward_hook(self.em_watched.see)
        model.compute_logits = self.em_watched.compute_logits
        return len(layers)

    def em_watched_stream(self) -> list[float]:
        row: list[float] = self.em_watched.stream.float().tolist()
        return row

    def em_watched_logprobs(self, tokens: list[int]) -> tuple[list[float], list[float]] | None:
        """What arithmetic says of these tokens: without any change, as first seen, and with the changes.

        None on ranks that do not gather logits.
        """
        first, last = self.em_watched.first, self.em_watched.last
        if first is None or last is None:
            return None
        return first[tokens].tolist(), last[tokens].tolist()

    def em_unwatch(self) -> None:
        if hasattr(self, "em_watch_handle"):
            self.em_watch_handle.remove()
            del self.model_runner.model.compute_logits, self.em_watched, self.em_watch_handle


class Watched:
    """The last layer's output on `PROMPT`, and the log-probabilities that the final norm and the head make of it.

    The head runs where the runner runs it, so that it finds the runner's own state (of LoRA, of other ranks).
    """

    def __init__(self, model: Any, norm: nn.Module, last_layer: int, changes: Callable[[], list[LayerChange]]) -> None:
        self._head, self._norm, self._last_layer, self._changes = model.compute_logits, norm, last_layer, changes
        self._fresh = False
        self.stream: Tensor = torch.empty(0)
        self.first: Tensor | None = None
        self.last: Tensor | None = None

    def see(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        x = stream(output).flatten(end_dim=-2)  # some models keep a dimension for batches
        if len(x) >= len(PROMPT):  # not a step that reads one sampled token
            self.stream, self._fresh = x[len(PROMPT) - 1].clone(), True

    def compute_logits(self, hidden: Tensor, *given: Any, **named: Any) -> Any:
        logits = self._head(hidden, *given, **named)
        if self._fresh:
            self._fresh = False
            x = self.stream[None]
            for change in self._changes():
                if change.layer == self._last_layer:
                    x = changed(x, change)
            expected = self._head(self._norm(x), *given, **named)
            if expected is not None:
                self.last = expected[0].float().log_softmax(-1)
                self.first = self.last if self.first is None else self.first
        return logits


def final_norm(model: nn.Module) -> nn.Module | None:
    """The norm between a model's last decoder layer and its head."""
    layers = decoder_layers(model)
    parent = next(module for module in model.modules() if any(child is layers for child in module.children()))
    found = (getattr(parent, name, None) for name in FINAL_NORMS)
    return next((norm for norm in found if isinstance(norm, nn.Module)), None)
