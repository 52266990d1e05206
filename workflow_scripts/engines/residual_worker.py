"""vLLM worker extension: changes each token's residual stream by its request's condition, and watches for the probe.

A request says its condition in `SamplingParams.extra_args`. Before each step, the runner's order of requests is written
into a static buffer, a condition for each token of the step; the hooks read it. Both of vLLM's model runners prepare a
step in one method, which is where the order is known.

A captured graph replays the hooks of its capture, which read the static buffer, so that graphs are captured anew
whenever hooks come or go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from workflow_scripts.models.change_tables import Step, changed_rows, unpack_tables
from workflow_scripts.models.residual import ChangeMode, LayerChange, changed, decoder_layers, stream, with_stream

CONDITION = "em_condition"
"""The extra argument of a request that says its condition, 0 for none."""
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
    vllm_config: Any
    em_handles: list[RemovableHandle]
    em_conditions: Conditions

    def em_runner(self) -> str:
        """Which of vLLM's model runners this worker has."""
        return "V2" if self.use_v2_model_runner else "V1"

    def em_graphs(self) -> str:
        """Which steps are replayed from captured graphs, in vLLM's words; NONE: no step."""
        return str(self.vllm_config.compilation_config.cudagraph_mode.name)

    def em_remove_changes(self) -> None:
        self._em_remove_hooks()
        self._em_capture()

    def em_install_changes(self, path: str) -> int:
        """Replaces the changes by the tables in a safetensors file (tensors do not travel through every RPC)."""
        self._em_remove_hooks()
        conditions, made = self._em_conditions(), unpack_tables(load_file(path))
        made = made.to(conditions.tokens.device)
        layers = decoder_layers(self.model_runner.get_model())
        self.em_handles = [
            layers[step.layer].register_forward_hook(conditions.hook(made.bank, step)) for step in made.steps
        ]
        self._em_capture()
        return len(self.em_handles)

    def em_watch(self) -> int:
        """From now on, keeps what the last layer gives on `PROMPT`, and what arithmetic makes of it.

        Returns the number of layers, or 0 where the model's final norm is not found. Must come before changes, so that
        the stream is seen as it is without those of the last layer.
        """
        self._em_remove_hooks()
        model = self.model_runner.get_model()
        layers, norm = decoder_layers(model), final_norm(model)
        if norm is None:
            return 0
        self.em_watched = Watched(model, norm, self._em_conditions())
        self.em_watch_handle = layers[-1].register_forward_hook(self.em_watched.see)
        model.compute_logits = self.em_watched.compute_logits
        self._em_capture()
        return len(layers)

    def em_expect(self, changes: Sequence[tuple[int, ChangeMode, list[float], float]]) -> None:
        """Says how the last layer changes in each condition: its number, the change's mode, vector and scale."""
        self.em_watched.changes = {
            number: LayerChange(-1, mode, torch.tensor(vector), scale) for number, mode, vector, scale in changes
        }

    def em_watched_stream(self) -> list[float]:
        row: list[float] = self.em_watched.streams[0].float().tolist()
        return row

    def em_watched_logprobs(self, number: int, tokens: list[int]) -> list[float] | None:
        """What arithmetic says of these tokens in a condition; None on ranks that do not gather logits."""
        found = self.em_watched.expected.get(number)
        return None if found is None else found[tokens].tolist()

    def em_unwatch(self) -> None:
        if hasattr(self, "em_watch_handle"):
            self.em_watch_handle.remove()
            del self.model_runner.get_model().compute_logits, self.em_watched, self.em_watch_handle
            self._em_capture()

    def _em_remove_hooks(self) -> None:
        for handle in getattr(self, "em_handles", []):
            handle.remove()
        self.em_handles = []

    def _em_capture(self) -> None:
        """Captures graphs anew, as vLLM does when its own buffers move; both runners keep them elsewhere."""
        if self.em_graphs() == "NONE":
            return
        from vllm.compilation.cuda_graph import CUDAGraphWrapper
        from vllm.config import set_current_vllm_config

        self._em_conditions().counts = []  # the passes of a capture are of no request
        if self.use_v2_model_runner:
            self.model_runner.cudagraph_manager.release_graphs()
        else:
            CUDAGraphWrapper.clear_all_graphs()
        with set_current_vllm_config(self.vllm_config):
            self.model_runner.capture_model()

    def _em_conditions(self) -> Conditions:
        if not hasattr(self, "em_conditions"):
            self.em_conditions = Conditions(self.model_runner, self.use_v2_model_runner)
        return self.em_conditions


class Conditions:
    """The condition of each token of the step that a model runner is about to make.

    tokens: int64 [most tokens of a step], static; beyond the step's tokens it is 0.
    """

    def __init__(self, runner: Any, second: bool) -> None:
        device = next(runner.get_model().parameters()).device
        self.tokens = torch.zeros(runner.max_num_tokens, dtype=torch.long, device=device)
        self.counts: list[tuple[int, int]] = []
        """Of the step's requests, in order: condition and tokens."""
        self._of: dict[str, int] = {}
        name = "prepare_inputs" if second else "_prepare_inputs"
        prepare = getattr(runner, name)

        def prepared(scheduler_output: Any, *given: Any, **named: Any) -> Any:
            found = prepare(scheduler_output, *given, **named)
            order = found.req_ids if second else runner.input_batch.req_ids[: runner.input_batch.num_reqs]
            self._note(scheduler_output, order)
            return found

        setattr(runner, name, prepared)

    def hook(self, bank: Tensor, step: Step) -> Callable[[nn.Module, Any, Any], Any]:
        """A forward hook of a decoder layer that applies a step."""

        def apply(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            x = stream(output)
            return with_stream(output, changed_rows(x, bank, step, self.tokens[: x.shape[-2]]))

        return apply

    def _note(self, scheduler_output: Any, order: Sequence[str]) -> None:
        for request in scheduler_output.finished_req_ids:
            self._of.pop(request, None)
        for new in scheduler_output.scheduled_new_reqs:
            self._of[new.req_id] = (new.sampling_params.extra_args or {}).get(CONDITION, 0)
        self.counts = [(self._of[request], scheduler_output.num_scheduled_tokens[request]) for request in order]
        numbers, counts = np.array(self.counts, dtype=np.int64).T
        tokens = torch.from_numpy(np.repeat(numbers, counts))
        self.tokens.zero_()
        self.tokens[: len(tokens)].copy_(tokens, non_blocking=True)


class Watched:
    """The last layer's output on `PROMPT` by condition, and the log-probabilities that final norm and head make of it.

    The head runs where the runner runs it, so that it finds the runner's own state (of LoRA, of other ranks).
    """

    def __init__(self, model: Any, norm: nn.Module, conditions: Conditions) -> None:
        self._head, self._norm, self._conditions = model.compute_logits, norm, conditions
        self._fresh: list[int] = []
        self.changes: dict[int, LayerChange] = {}
        self.streams: dict[int, Tensor] = {}
        self.expected: dict[int, Tensor] = {}

    def see(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        x, end = stream(output).flatten(end_dim=-2), 0  # some models keep a dimension for batches
        for number, count in self._conditions.counts:
            end += count
            if count == len(PROMPT):  # not a step that reads one sampled token
                self.streams[number] = x[end - 1].clone()
                self._fresh.append(number)

    def compute_logits(self, hidden: Tensor, *given: Any, **named: Any) -> Any:
        logits = self._head(hidden, *given, **named)
        while self._fresh:
            number = self._fresh.pop()
            x = self.streams[number][None]
            if number in self.changes:
                x = changed(x, self.changes[number])
            expected = self._head(self._norm(x), *given, **named)
            if expected is not None:
                self.expected[number] = expected[0].float().log_softmax(-1)
        return logits


def final_norm(model: nn.Module) -> nn.Module | None:
    """The norm between a model's last decoder layer and its head."""
    layers = decoder_layers(model)
    parent = next(module for module in model.modules() if any(child is layers for child in module.children()))
    found = (getattr(parent, name, None) for name in FINAL_NORMS)
    return next((norm for norm in found if isinstance(norm, nn.Module)), None)
