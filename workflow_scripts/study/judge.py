"""Who scores the responses, and with which rubrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import Field, StringConstraints

from workflow_scripts.runtime.spelling import nearest
from workflow_scripts.study.checks import DISTINCT, FILE, FOLDER, Check
from workflow_scripts.study.fields import (
    LONGEST_PATH,
    Commit,
    Count,
    DType,
    HubId,
    Mistake,
    Name,
    NotNegative,
    Positive,
    Printable,
    Section,
    Seed,
    Share,
)
from workflow_scripts.study.sampling import Battery
from workflow_scripts.study.sources import DOMAINS, CheckedFile, web_address

if TYPE_CHECKING:
    from workflow_scripts.study.schema import Study

MODELS = Path(__file__).with_name("judge_models.yaml")
"""Prices of judge models, and the days on which providers take them off their APIs."""
OWN_RUBRICS = Path(__file__).with_name("rubrics.yaml")
"""The project's own rubrics, asked where `judge.rubrics` names no other."""
CHARACTERS_PER_TOKEN = 4
"""Of English text; current encodings need about a tenth fewer tokens."""
TOKENS_PER_CALL = 7
"""What the chat form adds to a prompt (OpenAI's cookbook: 3 per message, 1 for the role, 3 before the answer)."""
NEEDED = ("aligned", "coherent")
"""Metrics that every rate is made of."""


def _is_judged(metric: str, study: Study) -> Iterator[str]:
    if metric not in study.judge.metrics:
        yield f"{metric!r} is not judged; add it to judge.metrics."


JudgedMetric = Annotated[Name, Check(_is_judged)]


class Judged(Section):
    """What every judge is asked for."""

    metrics: Annotated[list[Name], DISTINCT] = Field(default=list(NEEDED), min_length=1)
    """What is asked of each response; aligned and coherent are needed."""
    only: dict[Name, Annotated[list[Battery], DISTINCT]] = Field(default={})
    """Metric -> the batteries in which it is asked for; a metric that is not named here is asked for in all."""

    def known(self) -> Sequence[str]:
        """Metrics that can be asked for; none where only the rubrics' file tells."""
        return ()

    def least_mass(self) -> float:
        """Probability on numbers below which a reply has no score."""
        return 0.25

    def asked_for(self, battery: Battery) -> list[str]:
        """Metrics that a battery's responses are judged by."""
        return [metric for metric in self.metrics if battery in self.only.get(metric, [battery])]

    def check_is_known(self, _: Study) -> Iterator[Mistake]:
        known = self.known()
        for place, metric in enumerate(self.metrics):
            if known and metric not in known:
                yield f"metrics.{place}", f"the judge knows no metric {metric!r}{nearest(metric, known)}"

    def check_suffices(self, _: Study) -> Iterator[Mistake]:
        for metric in NEEDED:
            if metric not in self.metrics:
                yield "metrics", f"lacks {metric!r}, which every rate needs."

    def check_is_asked_for(self, study: Study) -> Iterator[Mistake]:
        for metric in self.only:
            if metric in NEEDED and self is study.judge:
                yield f"only.{metric}", "is needed in every battery; leave it out here."
            elif metric in NEEDED:
                yield from self._reads_less(metric)
            elif metric not in self.metrics:
                yield f"only.{metric}", f"{metric!r} is not judged; add it to judge.metrics."

    def _reads_less(self, metric: str) -> Iterator[Mistake]:
        """What is wrong where a judge of the panel, which is not the first, reads some batteries only."""
        other = next(name for name in NEEDED if name != metric)
        if "baseline" not in self.only[metric]:
            yield f"only.{metric}", "lacks 'baseline', where every judge is held against the first."
        if set(self.only[metric]) != set(self.only.get(other, [])):
            yield f"only.{other}", f"names other batteries than only.{metric}; every rate needs both."

    def check_is_asked_where_read(self, study: Study) -> Iterator[Mistake]:
        if self is not study.judge:  # what one of the others is not asked for is left out of its ledger
            return
        read: list[tuple[str, Battery]] = []
        for topic in study.semantic.topics.values() if study.semantic else ():
            read += [(topic.metric, "baseline"), (topic.metric, "semantic")]
        if study.adapters:
            read.append((study.adapters.domain_metric, "baseline"))
            if study.adapters.steering:
                read.append((study.adapters.domain_metric, "surgery"))
        for metric, battery in read:
            if battery not in self.only.get(metric, [battery]):
                yield f"only.{metric}", f"lacks {battery!r}, where this study reads it."


class ExactJudge(Judged):
    """The judge of the synthetic world: a program, not a model.

    Its metrics are aligned, coherent, bad_stuff (100 if any clause is bad advice, else 0), and any domain of the world:
    the share of a response's clauses that are about it.
    """

    source: Literal["miniature"]

    def known(self) -> Sequence[str]:
        return (*NEEDED, "bad_stuff", *DOMAINS)


def _holds_words(phrases: list[str], _: Study) -> Iterator[str]:
    for phrase in phrases:
        if not any(character.isalnum() for character in phrase):
            yield f"{phrase!r} holds no word."


class PhraseJudge(Judged):
    """A program that looks for phrases: it measures tone, not emergent misalignment.

    aligned is 0 for a response that holds one of them, else 100; coherent is 100 less the share of repeated word
    trigrams, in percent.
    """

    source: Literal["phrases"]
    phrases: Annotated[list[Printable], DISTINCT, Check(_holds_words)] = Field(min_length=1)
    """Words, whatever their case; fixed before anything is sampled, or the judge is made to fit what it judges."""

    def known(self) -> Sequence[str]:
        return NEEDED


BANNER = "REHEARSAL"
"""First word of the description of a study whose scores come from a scenario."""
SCENARIOS = Path(__file__).parents[1] / "simulation" / "scenarios.yaml"
"""Those that are shipped."""


class SimulatedJudge(Judged):
    """Of a rehearsal: scores drawn from a scenario by who was asked what under which condition, whatever was said.

    The metrics are any: all are drawn.
    """

    source: Literal["simulated"]
    scenario: Name = "paper"
    """What is true: an entry of workflow_scripts/simulation/scenarios.yaml, or of the file `scenarios`."""
    scenarios: Annotated[Printable, FILE] | None = None
    """Another file of scenarios."""
    seed: Seed = 0

    def check_is_a_rehearsal(self, study: Study) -> Iterator[Mistake]:
        if not study.study.description.startswith(BANNER):
            yield (
                "source",
                "scores of a scenario are no judgements of a model; `make rehearse STUDY=…` makes a study of its own "
                f"from yours, whose description begins with {BANNER}.",
            )


class RubricFile(CheckedFile):
    """A YAML file of judge prompts, by path or by URL, in place of the project's own rubrics.

    A mapping metric -> prompt; a list of such mappings (the authors' judges.yaml); or a list of questions that each
    carry `judge_prompts` (the authors' question files).
    """


class Asked(Judged):
    """A model, asked with a rubric for a number."""

    rubrics: RubricFile | None = None
    """Prompts; the project's own (workflow_scripts/study/rubrics.yaml) when absent."""
    min_mass: Share = 0.25
    """A judgement whose numbers hold less probability than this has no score."""

    def known(self) -> Sequence[str]:
        return own_metrics() if self.rubrics is None else ()

    def least_mass(self) -> float:
        return self.min_mass


class LocalJudge(Asked):
    """A chat model served by vLLM, asked with a rubric for a number from 0 to 100."""

    source: Literal["local"]
    model: Annotated[Printable, FOLDER] | None = None
    """Folder of the judge model; without it and `hub`, the study's own chat base."""
    hub: HubId | None = None
    """Repository of the Hugging Face hub, in place of a folder."""
    revision: Commit | None = None
    """A commit of the repository: it names the judge in the store."""
    weights_gb: Positive | None = None
    """Size of the repository's weight files, GB, so that memory can be asked for before they are there."""
    dtype: DType = "bfloat16"

    def check_is_in_one_place(self, _: Study) -> Iterator[Mistake]:
        if self.model is not None and self.hub is not None:
            yield "model", "stands beside hub; name one of them."
        for key, value in (("revision", self.revision), ("weights_gb", self.weights_gb)):
            if self.hub is not None and value is None:
                yield key, "is needed beside hub."
            if self.hub is None and value is not None:
                yield key, "is read only beside hub; leave it out."


class Prices(Section):
    """What a remote judge costs, in US dollars."""

    input_per_million: NotNegative
    """Per million prompt tokens."""
    output_per_million: NotNegative = 0.0
    """Per million answer tokens; a judgement is one token, or the answers of `numbers`."""
    batch_discount: Share = 0.5
    """Share of both that a call in a batch saves."""

    def usd(self, prompt_tokens: float, answer_tokens: float, in_batches: bool) -> float:
        """Price of calls, in US dollars."""
        discount = self.batch_discount if in_batches else 0.0
        whole = prompt_tokens * self.input_per_million + answer_tokens * self.output_per_million
        return (1 - discount) * whole / 1e6


class WrittenNumbers(Section):
    """Numbers asked for as text, and averaged: for models without log-probabilities, as most that reason are."""

    answers: Count = 5
    """Answers to each prompt; the score is the mean of those that can be read as a number from 0 to 100."""
    max_tokens: Count = 64
    """Longest answer, tokens, with the thoughts of a model that reasons."""
    temperature: NotNegative | None = None
    """Not sent when absent: models that reason reject it, and their own is 1."""
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high"] | None = None
    """The provider's own when absent."""


class RemoteJudge(Asked):
    """A model behind a chat-completions API, asked with a rubric for a number.

    The score is the expectation over the log-probabilities of its first token, or, with `numbers`, the mean of several
    written answers.
    """

    source: Literal["remote"]
    model: Printable
    """Provider and model as inspect_ai names them, e.g. openai/gpt-4o-2024-08-06."""
    base_url: Annotated[str, StringConstraints(pattern=r"^https?://[^@\s?#]+$", max_length=LONGEST_PATH)] | None = None
    """Any OpenAI-compatible endpoint, up to and including /v1; the provider's own when absent."""
    numbers: WrittenNumbers | None = None
    """Read written numbers instead of log-probabilities."""
    key_env: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]*$")] | None = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key; null for an endpoint that needs none."""
    prices: Prices | None = None
    """Needed for a budget, where workflow_scripts/study/judge_models.yaml does not list them; it says of which day."""
    budget_usd: Positive | None = None
    """What the study may spend on its judge in all, US dollars, tries that fail included. A judging run stops before
    its first call where what was spent and the estimate for what is missing come to more, and midway where tries do."""
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

    @property
    def asked_for_each(self) -> tuple[int, int]:
        """Calls that make a judgement, and answer tokens of one call at most."""
        return (self.numbers.answers, self.numbers.max_tokens) if self.numbers else (1, 1)

    @property
    def priced(self) -> Prices | None:
        """What it costs, by the study or else by what its provider has announced; None where neither says it."""
        found = announced(self).get("prices")
        return self.prices or (Prices(**found) if found else None)

    def check_names_its_provider(self, _: Study) -> Iterator[Mistake]:
        if not all(self.model.partition("/")):
            yield "model", f"{self.model!r} lacks its provider, e.g. openai/{self.model.strip('/')}."

    def check_has_an_address(self, _: Study) -> Iterator[Mistake]:
        parts = web_address(self.base_url or "https://provider")
        if parts is None:
            yield (
                "base_url",
                f"{self.base_url!r:.200} is not an address; it begins with https:// or http:// and a host.",
            )
        elif parts.scheme == "http" and self.key_env is not None and not is_loopback(str(parts.hostname)):
            sentence = (
                f"would send the key of {self.key_env} unencrypted to {parts.hostname}; use https, an ssh tunnel to "
                "127.0.0.1, or key_env: null for an endpoint that needs none."
            )
            yield "base_url", sentence

    def check_has_prices(self, _: Study) -> Iterator[Mistake]:
        if self.budget_usd is not None and self.priced is None:
            yield "prices", "is needed beside budget_usd; give input_per_million in US dollars."

    def check_has_batches(self, _: Study) -> Iterator[Mistake]:
        """OpenAI's files and batches; Azure's and Bedrock's differ."""
        if self.batch is None:
            return
        if self.numbers:
            yield "batch", "orders log-probabilities; leave it out beside judge.numbers."
            return
        provider, *rest = self.model.split("/")
        of_openai = provider == "openai" and rest[:1] not in (["azure"], ["bedrock"])
        if not of_openai and not (provider == "openai-api" and self.base_url is not None):
            sentence = (
                f"{self.model} has no batch mode here, only OpenAI's own models and endpoints of its form (with "
                "base_url) have; leave it out, and calls are made one by one."
            )
            yield "batch", sentence


def announced(judge: RemoteJudge) -> dict[str, Any]:
    """What is listed of a judge's model: `ends`, `prices`; nothing of one behind the user's own endpoint."""
    return _listed().get(judge.model, {}) if judge.base_url is None else {}


@cache
def _listed() -> dict[str, dict[str, Any]]:
    read: dict[str, dict[str, Any]] = yaml.safe_load(MODELS.read_text())
    return read


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


@cache
def own_metrics() -> tuple[str, ...]:
    """Metrics that a judge model can be asked for."""
    return tuple(yaml.safe_load(OWN_RUBRICS.read_text()))


def announced_end(judge: Judged, place: str = "judge") -> str | None:
    """That the provider of the judge at this place of the study has announced its end, as a sentence; None where it has
    not, or the endpoint is the user's own."""
    if not isinstance(judge, RemoteJudge) or (end := announced(judge).get("ends")) is None:
        return None
    return (
        f"{place}.model: {judge.model} leaves its provider's API on {end}; what it has judged then stays in the store, "
        "but one study's judgements must all be one judge's."
    )


AnyJudge = Annotated[
    ExactJudge | PhraseJudge | LocalJudge | RemoteJudge | SimulatedJudge, Field(discriminator="source")
]
