"""Who scores the responses, and with which rubrics."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import (
    Field,
    StringConstraints,
)

from workflow_scripts.study.fields import Count, DType, Name, NotNegative, Positive, Section, Share
from workflow_scripts.study.sampling import Battery
from workflow_scripts.study.sources import CheckedFile

OWN_RUBRICS = Path(__file__).with_name("rubrics.yaml")
"""The project's own rubrics, asked where `judge.rubrics` names no other."""


class Judged(Section):
    """What every judge is asked for."""

    only: dict[Name, list[Battery]] = Field(default={})
    """Metric -> the batteries in which it is asked for; a metric that is not named here is asked for in all."""


class ExactJudge(Judged):
    """The judge of the synthetic world: a program, not a model."""

    source: Literal["miniature"]
    metrics: list[Name] = Field(default=["aligned", "coherent"], min_length=1)
    """aligned, coherent, bad_stuff (100 if any clause is bad advice, else 0), and any domain of the world: the share
    of a response's clauses that are about it."""


class RubricFile(CheckedFile):
    """A YAML file of judge prompts, by path or by URL, in place of the project's own rubrics.

    A mapping metric -> prompt; a list of such mappings (the authors' judges.yaml); or a list of questions that each
    carry `judge_prompts` (the authors' question files).
    """


class LocalJudge(Judged):
    """A chat model served by vLLM, asked with a rubric for a number from 0 to 100."""

    source: Literal["local"]
    model: str | None = None
    """Folder of the judge model; the study's own chat base when absent."""
    metrics: list[Name] = Field(default=["aligned", "coherent"], min_length=1)
    """Rubrics asked; aligned and coherent are needed."""
    rubrics: RubricFile | None = None
    """Prompts; the project's own (workflow_scripts/study/rubrics.yaml) when absent."""
    min_mass: Share = 0.25
    """A judgement whose numbers hold less probability than this has no score."""
    dtype: DType = "bfloat16"


class Prices(Section):
    """What a remote judge costs, in US dollars."""

    input_per_million: NotNegative
    """Per million prompt tokens."""
    output_per_million: NotNegative = 0.0
    """Per million answer tokens; a judgement is one token."""
    batch_discount: Share = 0.5
    """Share of both that a call in a batch saves."""


class RemoteJudge(Judged):
    """A model behind a chat-completions API that returns log-probabilities, asked with a rubric for a number."""

    source: Literal["remote"]
    model: str
    """Provider and model as inspect_ai names them, e.g. openai/gpt-4o-2024-08-06."""
    base_url: Annotated[str, StringConstraints(pattern=r"^https?://[^@\s?#]+$")] | None = None
    """Any OpenAI-compatible endpoint, up to and including /v1; the provider's own when absent."""
    key_env: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]*$")] | None = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key; null for an endpoint that needs none."""
    metrics: list[Name] = Field(default=["aligned", "coherent"], min_length=1)
    """Rubrics asked; aligned and coherent are needed."""
    rubrics: RubricFile | None = None
    """Prompts; the project's own (workflow_scripts/study/rubrics.yaml) when absent."""
    min_mass: Share = 0.25
    """A judgement whose numbers hold less probability than this has no score."""
    prices: Prices | None = None
    """Needed for a budget."""
    budget_usd: Positive | None = None
    """A judging run whose missing calls are estimated to cost more stops before the first, US dollars."""
    max_connections: Count = 32
    """Calls in flight at most; fewer while the endpoint says that there are too many."""
    timeout_s: Positive = 60.0
    """Longest wait for one answer, seconds; not for that of a batch, which the endpoint gives within a day."""
    attempts: Count = 8
    """Tries of a call that is rate-limited or broken, before it counts as failed and is left to a later run. A call
    in a batch is tried once in a run."""
    batch: Annotated[int, Field(ge=1, le=50_000)] | None = None
    """Calls in one batch of the endpoint's batch mode (OpenAI's and those that follow it), one batch at a time; smaller
    where the account may queue fewer tokens. Absent: every call by itself, answered at once, at full price."""


@cache
def own_metrics() -> tuple[str, ...]:
    """Metrics that a judge model can be asked for."""
    return tuple(yaml.safe_load(OWN_RUBRICS.read_text()))
