"""The constants of the cost model, from costs.yaml, which says where each comes from."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict

from workflow_scripts.study.layout import CHAT_BASE
from workflow_scripts.study.schema import Study
from workflow_scripts.study.sources import MiniatureBase


class _Constants(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Answers(_Constants):
    """mean: tokens of an answer. spread: standard deviation of their logarithm."""

    mean: float
    spread: float


class Gpu(_Constants):
    """memory: 10^9 bytes. tflops: of bfloat16, dense. bandwidth: TB/s."""

    memory: float
    tflops: float
    bandwidth: float


class Pass(_Constants):
    """Milliseconds of a forward and backward pass, with and without computing layers again."""

    plain: float
    checkpointing: float

    def of(self, recomputed: float) -> float:
        """With this share of the layers computed again."""
        return (1 - recomputed) * self.plain + recomputed * self.checkpointing


class Start(_Constants):
    """Seconds of a start: fixed, and for each GB of weights."""

    fixed: float
    per_gb: float


class Costs(_Constants):
    """See costs.yaml."""

    answers: dict[str, Answers]
    prompt_tokens: int
    question_tokens: int
    rubric_tokens: int
    row_tokens: int
    row_padding: dict[int, float]
    unknown_rows: int
    unknown_questions: int
    texts_share: float
    calls_per_second: float
    gpus: dict[str, Gpu]
    context_gb: float
    fragments: float
    sampled_share: float
    training_tokens: int
    trained_share: float
    bandwidth_share: float
    decode_ms: float
    decode_lora_ms: float
    patched_decode_ms: float
    forward_ms: float
    train_ms: Pass
    train_adapter_ms: Pass
    load_s: Start
    engine_s: Start


COSTS = Costs.model_validate(yaml.safe_load(Path(__file__).with_name("costs.yaml").read_text()))


def answers_of(study: Study, subject: str) -> str:
    """Whose answers a subject's are like in length."""
    if isinstance(study.base, MiniatureBase):
        return "miniature"
    return "chat" if subject == CHAT_BASE else "organism"
