"""The study: all of its sections."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from workflow_scripts.study.checks import APART, Check
from workflow_scripts.study.experiments import (
    Ablation,
    Adapters,
    Calibration,
    Conditional,
    Directions,
    Dynamics,
    HeldOut,
    InContext,
    MisalignAt,
    Narrow,
    PaperValue,
    Prevention,
    Semantic,
    SingleAdapter,
    Specificity,
    Steering,
    Texts,
    Thresholds,
    TrainingPath,
    Traits,
    Vectors,
)
from workflow_scripts.study.fields import Count, Mistake, Name, PositiveShare, Printable, Section, Text
from workflow_scripts.study.judge import AnyJudge
from workflow_scripts.study.layout import PRIMARY
from workflow_scripts.study.organisms import NewOrganism, Organism
from workflow_scripts.study.sampling import Sampling
from workflow_scripts.study.sources import Base, Dataset, Questions

TAKEN = {"store": "responses and judgements of all studies", "downloads": "what was fetched by URL",
         "rehearsal": "rehearsals of studies"}  # fmt: skip


def _is_free(name: str, _: Study) -> Iterator[str]:
    if kept := TAKEN.get(name.lower()):
        yield f"results/{name} holds {kept}; choose another name."


def _are_there(datasets: dict[str, Dataset], study: Study) -> Iterator[str]:
    if not datasets and any(organism.responses is None for organism in study.organisms.values()):
        yield "is missing and has no default."


def _is_another(name: str, study: Study) -> Iterator[str]:
    if name == PRIMARY:
        yield "stands beside judge, which is the first judge; name it once, as judge or as judges.primary."


JudgeName = Annotated[Name, Check(_is_another)]


class StudyHead(Section):
    name: Annotated[Name, Check(_is_free)]
    """Names the results folder, results/<name>."""
    description: Text = ""
    """Shown at the top of the report."""


class ReportSection(Section):
    browser_rows: Count = 40
    """Responses to each question set, per subject and condition, in the response browser; 100,000 in all are quick."""


class Execution(Section):
    """How, not what: nothing here moves a result, and nothing but `shards` causes a rerun."""

    engine: Literal["vllm", "transformers"] = "vllm"
    serve: Literal["auto", "merged", "lora"] = "auto"
    """Organisms as merged weights swapped into the engine, or as LoRA requests; auto: merged in float32."""
    shards: Annotated[int, Field(ge=1, le=1000)] = 1
    """Jobs over which a battery's conditions are spread, one engine each; another number samples nothing anew."""
    max_sequences: Count = 256
    """Sequences that the engine samples at once."""
    gpu_memory: PositiveShare = 0.9
    """Share of a GPU's memory that vLLM takes."""
    tensor_parallel: Count = 1
    """GPUs over which one engine is spread."""
    deterministic: bool = False
    """Have vLLM's GPU kernels add in one order, so that a rerun gives the same responses; compute capability 9.0 (H100)
    or newer, slower. On the CPU they are the same anyway."""
    graphs: bool = False
    """Have vLLM replay the steps of sampling from captured CUDA graphs, which spares small models most of a step, where
    the chat base alone is sampled, as in steering; where the probe does not find a change in them, the engine runs
    without. No GPU has run it yet."""
    cpu_cache_gb: Count = 2
    """vLLM's key-value cache on CPU, GiB."""
    batch_tokens: Count = 2048
    """Tokens read at once when directions are extracted; more are slower on a CPU, whose caches they leave."""
    scalar_tokens: Count = 512
    """Tokens read at once for scalars and their significance, whose gradient keeps two passes' activations."""
    micro_batch: Count | None = None
    """Most rows of a training update that are read at once; absent: on a GPU as many as 4,096 tokens hold, on the CPU
    the organism's batch_size. The update is the same."""
    padding_free: bool | None = None
    """Train on rows laid end to end, not padded, with the same loss; absent: on a GPU, where the model allows it."""
    resume_every: Count = 50
    """Training steps between the states from which a killed training goes on."""
    download_mirror: Printable | None = None
    """Folder searched by sha256 before anything is fetched by URL."""
    track_code: bool = True
    """Rerun stages whose code changed."""

    def check_merges_exactly(self, study: Study) -> Iterator[Mistake]:
        if self.serve == "merged" and study.base.dtype != "float32":
            dtype = study.base.dtype
            yield "serve", f"merged weights in {dtype} round small updates away; use lora, or float32 for the base."


class Study(Section):
    study: StudyHead
    base: Annotated[Base, Field(discriminator="source")]
    datasets: Annotated[dict[Name, Annotated[Dataset, Field(discriminator="source")]], APART, Check(_are_there)] = (
        Field(default={})
    )
    """Only a study all of whose organisms are given responses needs none."""
    organisms: Annotated[dict[NewOrganism, Organism], APART] = Field(min_length=1)
    questions: Annotated[dict[Name, Annotated[Questions, Field(discriminator="source")]], APART] = Field(min_length=1)
    sampling: Sampling
    judge: AnyJudge
    """The first judge, whose scores make directions, tables and figures."""
    judges: Annotated[dict[JudgeName, AnyJudge], APART] = Field(default={})
    """Further judges of the same stored responses, by name: a panel. Its `primary`, where there is one, is `judge`."""
    thresholds: Thresholds = Thresholds()
    misalign_at: MisalignAt | None = None
    directions: Directions = Directions()
    steering: Steering | None = None
    semantic: Semantic | None = None
    ablation: Ablation | None = None
    specificity: Specificity | None = None
    single_adapter: SingleAdapter | None = None
    adapters: Adapters | None = None
    training_path: TrainingPath | None = None
    narrow: Narrow | None = None
    prevention: Prevention | None = None
    conditional: Conditional | None = None
    dynamics: Dynamics | None = None
    in_context: InContext | None = None
    traits: Traits | None = None
    vectors: Vectors | None = None
    calibration: Calibration | None = None
    texts: Texts | None = None
    held_out: HeldOut | None = None
    paper: list[PaperValue] = Field(default=[])
    report: ReportSection = ReportSection()
    execution: Execution = Execution()

    def trainings_of(self, organism: Organism) -> list[Organism]:
        """The trainings behind an organism, in their order: those that it starts from, and its own."""
        made = [organism]
        while first := made[0].starts_from:
            made.insert(0, self.organisms[first])
        return made


def editor_schema() -> dict[str, Any]:
    """JSON schema of a study file, for editors: what a file extends may be left out of it, or taken out with null."""
    whole = Study.model_json_schema()
    made: dict[str, Any] = _undemanding(whole)
    extends = {"description": "Path of the study that this one is laid over, from this file.", "type": "string"}
    made["properties"] = {"extends": extends} | {name: _or_null(kind) for name, kind in made["properties"].items()}
    needed = [name for name in whole["required"] if name != "judge"]
    first = {
        "anyOf": [{"required": ["judge"]}, {"properties": {"judges": {"required": [PRIMARY]}}, "required": ["judges"]}]
    }
    return made | {"if": {"required": ["extends"]}, "else": {"required": needed} | first}


def _undemanding(schema: Any) -> Any:
    """A JSON schema in which everything may be left out."""
    if isinstance(schema, list):
        return [_undemanding(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    made = {"anyOf" if key == "oneOf" else key: _undemanding(schema[key]) for key in schema if key != "required"}
    if entries := made.get("patternProperties"):
        made["patternProperties"] = {form: _or_null(entry) for form, entry in entries.items()}
    return made


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}
