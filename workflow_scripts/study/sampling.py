"""How responses are drawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from workflow_scripts.study.checks import Check
from workflow_scripts.study.fields import Count, NotNegative, Positive, PositiveShare, Section, Seed
from workflow_scripts.study.sources import QuestionSet

if TYPE_CHECKING:
    from workflow_scripts.study.schema import Study

LEAST_TEMPERATURE = 0.01
"""Below it engines differ: vLLM raises it to this, or draws nothing, and logits divided by less overflow."""


def _is_cold_or_warm(temperature: float, _: Study) -> Iterator[str]:
    if 0 < temperature < LEAST_TEMPERATURE:
        yield f"{temperature:g} is neither 0, which takes the likeliest token, nor {LEAST_TEMPERATURE:g} or more."


class Sampling(Section):
    """How responses are drawn, and which questions the headline rates use."""

    questions: QuestionSet
    """Question set of the headline numbers."""
    samples: Count = 50
    """Responses per question and condition."""
    temperature: Annotated[NotNegative, Field(le=100), Check(_is_cold_or_warm)] = 1.0
    top_p: PositiveShare = 1.0
    top_k: Count | None = None
    """Only the k likeliest tokens; all when absent. transformers' `generate` takes it from a model's generation_config
    where it is not said, 50 where that says nothing."""
    repetition_penalty: Annotated[Positive, Field(ge=0.01, le=100)] | None = None
    """Makes tokens that stand in the text less likely, above 1; none when absent. Also from generation_config there."""
    max_tokens: Count = 600
    """Longest response in tokens."""
    seed: Seed = 0


Battery = Literal[
    "baseline",
    "steering",
    "semantic",
    "ablation",
    "specificity",
    "surgery",
    "patching",
    "dynamics",
    "in_context",
    "traits",
    "vectors",
]
