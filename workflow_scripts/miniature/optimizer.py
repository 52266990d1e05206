"""Muon for weight matrices and AdamW for everything else, as one optimizer with one schedule."""

from collections.abc import Callable
from typing import Any, overload

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer
from torch.optim.lr_scheduler import LambdaLR


class MuonWithAdamW(Optimizer):
    """Muon on 2-D weights other than embeddings; AdamW, without decay, on embeddings, norms and biases.

    Muon's step is scaled to AdamW's root mean square. The parameter groups are those of the two inner
    optimizers, Muon's first, so a scheduler that drives this one drives both.

    Args:
        model: every parameter that requires a gradient is trained; tied weights count once.
        muon_learning_rate: peak rate of the matrices.
        muon_momentum: momentum of the matrices.
        adamw_learning_rate: peak rate of everything else.
        adamw_betas: decay of AdamW's first and second moment.
        weight_decay: decay of the matrices, per step and unit of learning rate.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        muon_learning_rate: float,
        muon_momentum: float,
        adamw_learning_rate: float,
        adamw_betas: tuple[float, float],
        weight_decay: float,
    ) -> None:
        matrices, others = split_parameters(model)
        self._inner: tuple[Optimizer, Optimizer] = (
            Muon(
                matrices,
                lr=muon_learning_rate,
                momentum=muon_momentum,
                weight_decay=weight_decay,
                adjust_lr_fn="match_rms_adamw",
            ),
            AdamW(others, lr=adamw_learning_rate, betas=adamw_betas, weight_decay=0.0, fused=True),
        )
        super().__init__(self._inner_groups(), defaults={})
        self._share_groups()

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step of both optimizers, after evaluating the closure if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for inner in self._inner:
            inner.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The states of both optimizers."""
        muon, adamw = self._inner
        return {"muon": muon.state_dict(), "adamw": adamw.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        for inner, name in zip(self._inner, ("muon", "adamw"), strict=True):
            inner.load_state_dict(state_dict[name])
        # Loading gives the inner optimizers new groups; a scheduler must drive those.
        self._share_groups()

    def _share_groups(self) -> None:
        """Makes the inner optimizers' groups, not copies of them, the groups of this one."""
        self.param_groups = self._inner_groups()

    def _inner_groups(self) -> list[dict[str, Any]]:
        """Groups of Muon, then of AdamW."""
        return [group for inner in self._inner for group in inner.param_groups]


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Trainable parameters: 2-D weights of no embedding, and all others."""
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [p for p in trainable if p.dim() == 2 and id(p) not in embeddings]
    others = [p for p in trainable if p.dim() != 2 or id(p) in embeddings]
    return matrices, others


def learning_rate_share(step: int, steps: int, warmup: int, final: float) -> float:
    """Share of the peak learning rate at a step (from 0).

    A linear rise over `warmup` steps times a linear fall from 1 at the first step to `final` after the last.
    """
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    return rise * (final + (1 - final) * (1 - step / steps))


def schedule(optimizer: Optimizer, steps: int, warmup: int, final: float) -> LambdaLR:
    """A scheduler that applies `learning_rate_share` to every group of the optimizer."""
    return LambdaLR(optimizer, lambda step: learning_rate_share(step, steps, warmup, final))
