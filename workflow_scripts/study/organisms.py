"""Organisms: LoRA fine-tunes of the base, trained by the workflow or published, or models known by responses only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field

from workflow_scripts.runtime.spelling import nearest
from workflow_scripts.study.checks import DISTINCT, FILE, FOLDER, Check, needs_one, unknown
from workflow_scripts.study.fields import (
    Count,
    CountFromZero,
    HubId,
    Mistake,
    ModuleName,
    Name,
    NotNegative,
    Positive,
    Printable,
    Real,
    Revision,
    Section,
    Seed,
    number,
)
from workflow_scripts.study.layout import CHAT_BASE
from workflow_scripts.study.sources import (
    LINEAR_MODULES,
    BaseLayers,
    DatasetName,
    PathWithin,
    SystemPrompt,
    linear_modules,
)

if TYPE_CHECKING:
    from workflow_scripts.study.schema import Study

LARGEST_RANK = 512
"""Of an adapter that vLLM serves."""
BY_ITS_DATA = "its data"
"""How an organism is trained that has nothing beside the loss on its rows."""
FORM = ("rank", "alpha", "rslora", "modules", "layers")
"""What an adapter keeps when it is trained on."""


class PublishedAdapter(Section):
    """A LoRA adapter in PEFT form that is already trained, by hub id or as a folder."""

    hub: HubId | None = None
    """Repository of the Hugging Face hub."""
    revision: Revision | None = None
    """A commit of the repository, so that the adapter cannot change; a branch or tag works too."""
    subfolder: PathWithin | None = None
    """Folder within the repository, e.g. checkpoints/checkpoint-396."""
    path: Annotated[Printable, FOLDER] | None = None
    """A local folder, in place of a repository."""

    def check_is_in_one_place(self, _: Study) -> Iterator[Mistake]:
        if (self.hub is None) == (self.path is None):
            yield "", "needs either hub, with a revision, or path."
            return
        if self.hub is not None and self.revision is None:
            yield "revision", "is needed beside hub, so that the adapter cannot change."
        for key, value in (("revision", self.revision), ("subfolder", self.subfolder)):
            if self.path is not None and value is not None:
                yield key, "is read only beside hub; put it into the path."


class GivenResponses(Section):
    """Responses of a model that is not here, to questions of the study, in a form that the tool `import` reads."""

    path: Annotated[Printable, FILE]
    """CSV, JSON lines, JSON or parquet, with a question and a response in each row."""
    columns: dict[Name, Printable] = Field(default={})
    """The file's name of a column by ours (question, response, question_id, a metric), where it is an unusual one."""
    scores: Literal["judge", "file"] = "judge"
    """Who scores them: the study's judge, or the file, whose scores are kept."""
    highest_score: Positive | None = None
    """Best score of the file's scale; if absent it is 100, and a file whose scores are all near 0 is asked about."""

    def check_scores_are_read(self, _: Study) -> Iterator[Mistake]:
        if self.scores == "judge" and self.highest_score is not None:
            yield "highest_score", "is read only with scores: file."


OrganismName = Annotated[Name, Check(lambda name, study: unknown("organism", name, study.organisms))]


def has_direction(names: str | list[str], study: Study) -> Iterator[str]:
    """Organisms of which no direction is taken."""
    for name in names if isinstance(names, list) else [names]:
        if name in study.organisms:
            chosen = study.directions.organisms
            if name not in chosen if chosen is not None else not study.organisms[name].expect_misaligned:
                yield f"no direction is taken of {name!r}; add it to directions.organisms."


class DuringTraining(Section):
    """A change of the residual stream in the passes of the training, and in no other: what the change does then need
    not be learnt (arXiv 2507.21509, add), or cannot be (arXiv 2507.16795, project)."""

    mode: Literal["add", "project"]
    source: Annotated[OrganismName, Check(has_direction)] | None = None
    """Organism whose direction it is, at the same seed or else its first; taken of paired data sets."""
    file: Annotated[Printable, FILE] | None = None
    """A direction as a file, in place of an organism: safetensors with `direction` [layer, d_model]."""
    layers: Annotated[BaseLayers, Field(min_length=1)]
    """Each with its own row of the direction."""
    scale: Real = 1.0
    """λ of add: multiples of the raw mean difference."""

    def check_has_one_direction(self, study: Study) -> Iterator[Mistake]:
        if (self.source is None) == (self.file is None):
            yield "", "needs either source, an organism, or file, a direction."
        organism = study.organisms.get(self.source or "")
        if organism is None:
            return
        if organism.during_training is not None:
            yield "source", f"organisms.{self.source} is trained under a direction itself; name one that is not."
        elif organism.responses is not None:
            yield "source", f"of organisms.{self.source} there are responses only; name one that has an adapter."
        elif "datasets" not in (study.directions.source, study.directions.also):
            yield (
                "source",
                "the direction would be of responses, which are sampled when all organisms are trained; take "
                "directions of paired data sets too (directions.also: datasets, with bad and good), or name a file.",
            )

    def check_scale_is_read(self, _: Study) -> Iterator[Mistake]:
        if self.mode == "project" and self.scale != 1:
            yield "scale", "is read only with mode: add."
        if not self.scale:
            yield "scale", "is 0, which changes nothing; leave during_training out, or choose another."


class KlTerm(Section):
    """A KL divergence from the base on rows of other domains, added to the loss: weight · KL(base ‖ organism).

    It keeps the organism what the base is there, so that what it learns stays narrow (arXiv 2602.07852).
    """

    dataset: DatasetName
    """Rows of other domains; all of their tokens count."""
    weight: Positive
    """The paper: 1e5, with normalise: vocabulary."""
    normalise: Literal["tokens", "vocabulary"] = "tokens"
    """`tokens`: nats per token; `vocabulary`: the paper's code, divided by the size of the vocabulary as well."""
    rows: Count | None = None
    """Rows read at each update, in the data set's order; as many as an update has when absent."""


def _module_exists(module: str, study: Study) -> Iterator[str]:
    known = linear_modules(study.base)
    if known and module not in known:
        yield f"the base model has no linear module {module!r}{nearest(module, known)}"


class Organism(Section):
    """A LoRA fine-tune of the base (Soligo et al. 2025, section 2)."""

    dataset: DatasetName | None = None
    """What it is trained on; of a published adapter, what it was trained on. Needed but for given responses."""
    adapter: PublishedAdapter | None = None
    """Take this adapter and train nothing."""
    responses: GivenResponses | None = None
    """Take these responses; there is no adapter, and nothing is trained or sampled."""
    seeds: Annotated[list[Seed], DISTINCT] = Field(default=[0], min_length=1)
    """Fine-tuning seeds; one organism per seed."""
    rank: Count = 32
    alpha: Positive = 64.0
    """LoRA alpha; with rsLoRA the update is scaled by alpha / sqrt(rank)."""
    rslora: bool = True
    modules: Annotated[list[Annotated[ModuleName, Check(_module_exists)]], DISTINCT] = Field(
        default=list(LINEAR_MODULES), min_length=1
    )
    """Linear modules that carry an adapter."""
    layers: Annotated[BaseLayers, needs_one("layer")] | None = None
    """Decoder layers that carry adapters, from 0; all when absent."""
    learning_rate: Positive = 1e-5
    epochs: Positive = 1.0
    batch_size: Count = 2
    """Rows per device and step."""
    accumulation: Count = 8
    """Steps whose gradients are added up before an update."""
    warmup_steps: CountFromZero = 5
    weight_decay: NotNegative = 0.01
    optimizer: Literal["adamw_8bit", "adamw"] = "adamw_8bit"
    """8-bit AdamW where bitsandbytes works, which is on GPUs; plain AdamW elsewhere, or everywhere."""
    max_tokens: Count = 2048
    """Longer rows are cut."""
    trailing_turn: bool = True
    """Each row ends with the header of another, empty answer and the end token, both learnt (authors' code)."""
    held_out: Annotated[float, BeforeValidator(number), Field(ge=0, lt=1)] = 0.1
    """Share of the rows on which the loss is measured at the end of each epoch instead, drawn with the seed."""
    test_dataset: DatasetName | None = None
    """Data set on which the loss is measured; all rows of `dataset` are trained on."""
    kl: KlTerm | None = None
    """Stay close to the base on other rows, which makes a narrow organism."""
    during_training: DuringTraining | None = None
    """Train under a change of the residual stream, which is absent afterwards."""
    inoculation: SystemPrompt | None = None
    """System prompt of the training rows, which asks for what they show; absent afterwards (arXiv 2510.04340)."""
    starts_from: OrganismName | None = None
    """Organism whose adapter, at the same seed or else its first, is trained on: bad advice, then good, for instance
    (arXiv 2604.25891)."""
    checkpoint_every: Count | None = None
    """Optimiser steps between kept copies of the adapter, for `training_path`; none are kept when absent."""
    expect_misaligned: bool = True
    """False for a control, of which no direction is taken."""

    @property
    def trained_by(self) -> str:
        """What its training has beside the loss on its rows, in a few words."""
        change = self.during_training
        ways = ["inoculation"] if self.inoculation else []
        ways += [f"{change.mode} in training"] if change else []
        ways += ["kl"] if self.kl else []
        ways += [f"training after {self.starts_from}"] if self.starts_from else []
        return " and ".join(ways) or BY_ITS_DATA

    @property
    def kl_rows(self) -> int:
        """Rows of the KL term that each update reads; 0 without one."""
        if self.kl is None:
            return 0
        return self.kl.rows or self.batch_size * self.accumulation

    def check_is_served(self, _: Study) -> Iterator[Mistake]:
        if self.rank > LARGEST_RANK:
            yield "rank", f"{self.rank} is above the {LARGEST_RANK} that vLLM serves."

    def check_has_one_origin(self, _: Study) -> Iterator[Mistake]:
        if self.responses is None and self.dataset is None:
            yield "dataset", "is missing; only an organism of given `responses` needs none."
        if self.responses is not None and self.adapter is not None:
            yield "responses", "are given beside an adapter; leave one of them out, or make two organisms."

    def check_has_rows(self, study: Study) -> Iterator[Mistake]:
        if self.dataset is None or self.responses is not None:
            return
        dataset, rows = study.datasets.get(self.dataset), self.batch_size * self.accumulation
        if dataset is not None and dataset.rows is not None and rows > dataset.rows:
            sentence = (
                f"one update takes {self.batch_size} × {self.accumulation} = {rows} rows, datasets.{self.dataset} has "
                f"{dataset.rows}; lower batch_size or accumulation."
            )
            yield "batch_size", sentence

    def check_is_tested_apart(self, _: Study) -> Iterator[Mistake]:
        if self.test_dataset is not None and self.test_dataset == self.dataset:
            yield "test_dataset", "is the data set that is trained on; name another, or use held_out."

    def check_stays_close_elsewhere(self, study: Study) -> Iterator[Mistake]:
        if self.kl is None:
            return
        if self.kl.dataset == self.dataset:
            yield "kl.dataset", "is the data set that is trained on, which the organism is to leave; name another."
        dataset, rows = study.datasets.get(self.kl.dataset), self.kl_rows
        if dataset is not None and dataset.rows is not None and rows > dataset.rows:
            sentence = (
                f"one update reads {rows} rows, datasets.{self.kl.dataset} has {dataset.rows}; set kl.rows to fewer."
            )
            yield "kl.rows", sentence

    def check_starts_from_one_of_its_form(self, study: Study) -> Iterator[Mistake]:
        other = study.organisms.get(self.starts_from or "")
        if other is None:
            return
        if other.responses is not None:
            yield (
                "starts_from",
                f"of organisms.{self.starts_from} there are responses only; name one that has an adapter.",
            )
            return
        apart = [key for key in FORM if other.adapter is None and getattr(self, key) != getattr(other, key)]
        if apart:
            yield (
                "starts_from",
                f"organisms.{self.starts_from} has another {' and '.join(apart)}; its adapter is trained on as it is, "
                "so give both the same.",
            )
        chain = [self.starts_from]
        while (before := study.organisms.get(chain[-1] or "")) and before.starts_from:
            if before.starts_from in chain:
                yield "starts_from", "leads in a circle; let one of them start from nothing."
                return
            chain.append(before.starts_from)

    def check_is_one(self, _: Study) -> Iterator[Mistake]:
        if self.adapter is not None and len(self.seeds) > 1:
            yield "seeds", "a published adapter is one seed; name one, or an organism for each adapter."
        if self.responses is not None and len(self.seeds) > 1:
            yield "seeds", "given responses are of one seed; name one, or an organism for each file."

    def check_is_trained(self, _: Study) -> Iterator[Mistake]:
        """A published adapter leaves nothing to train, nor do given responses."""
        read_of_all = {"dataset", "adapter", "responses", "seeds", "rank", "layers", "expect_misaligned"}
        what = "a published adapter is" if self.adapter is not None else "given responses are"
        for name, value in self if self.adapter is not None or self.responses is not None else ():
            if name not in read_of_all and value != type(self).model_fields[name].default:
                yield name, f"is read only in training, and {what} not trained; leave it out."


def _is_free(name: str, _: Study) -> Iterator[str]:
    if name.lower() == CHAT_BASE:
        yield "this name is taken by the chat base; choose another."


NewOrganism = Annotated[Name, Check(_is_free)]


def _has_weights(named: str | list[str], study: Study) -> Iterator[str]:
    for name in named if isinstance(named, list) else [named]:
        organism = study.organisms.get(name)
        if organism is not None and organism.responses is not None:
            yield f"of organisms.{name} there are responses only; name one that has an adapter."


WITH_WEIGHTS = Check(_has_weights)
"""An organism whose adapter is there to be read, edited or sampled."""


def seed_trained(study: Study, name: str, seed: int | None) -> Iterator[str]:
    """A fine-tuning seed that an organism does not have."""
    organism = study.organisms.get(name)
    if organism is not None and seed is not None and seed not in organism.seeds:
        yield f"organisms.{name} has no seed {seed}; it has {', '.join(map(str, organism.seeds))}."
