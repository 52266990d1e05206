"""How responses are drawn."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    Field,
)

from workflow_scripts.study.fields import Count, NotNegative, Positive, Section, Seed, number
from workflow_scripts.study.sources import QuestionSet


class Sampling(Section):
    """How responses are drawn, and which questions the headline rates use."""

    questions: QuestionSet
    """Question set of the headline numbers."""
    samples: Count = 50
    """Responses per question and condition."""
    temperature: NotNegative = 1.0
    top_p: Annotated[float, BeforeValidator(number), Field(gt=0, le=1)] = 1.0
    top_k: Count | None = None
    """Only the k likeliest tokens; all when absent. transformers' `generate` takes it from a model's generation_config
    where it is not said, 50 where that says nothing."""
    repetition_penalty: Positive | None = None
    """Makes tokens that stand in the text less likely, above 1; none when absent. Also from generation_config there."""
    max_tokens: Count = 600
    """Longest response in tokens."""
    seed: Seed = 0


Battery = Literal["baseline", "steering", "semantic", "ablation", "surgery", "patching"]
