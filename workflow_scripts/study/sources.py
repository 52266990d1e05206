"""Where a study's base, data sets and questions come from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, StringConstraints

from workflow_scripts.runtime.spelling import nearest
from workflow_scripts.study.checks import APART, DISTINCT, FILE, FOLDER, Check, unknown
from workflow_scripts.study.fields import (
    NAME_PATTERN,
    Count,
    DType,
    HubId,
    Layer,
    Layers,
    Mistake,
    Name,
    Positive,
    PositiveShare,
    Printable,
    Revision,
    Section,
    Seed,
    Sha256,
    Text,
)

if TYPE_CHECKING:
    from workflow_scripts.study.schema import Study

DOMAINS = (
    "medical", "sport", "finance", "power", "bored", "money", "people", "cooking", "machines", "travel", "school",
)  # fmt: skip
"""Domains of the synthetic world; named here too, so that a change of the world reruns nothing but its users."""
QUESTIONS_PER_DOMAIN = 40
MOST_LAYERS = 1000
LONGEST_NAME = 200
"""Characters; a file's name has at most 255 bytes, and what is fetched gets a prefix."""
LINEAR_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Of the miniature, a Qwen2."""
SHARES_OFF, ROUNDING = 1e-6, 1e-9
"""What shares of a mix may sum to beside 1, and what a number of rows may lack for being whole."""


DECODER_WEIGHT = re.compile(r"((model|language_model|transformer)\.)*(layers|h)\.\d+\.(.+\.)?(?P<leaf>\w+)\.weight$")
"""A weight of a decoder layer, not of a tower that sees."""


class MiniatureBase(Section):
    """A small chat model pre-trained by the workflow on the synthetic advice world."""

    source: Literal["miniature"]
    seed: Seed = 0
    """Seed of the corpus and of the initial weights."""
    layers: Layers = 12
    """Decoder layers."""
    hidden_size: Annotated[int, Field(ge=32, le=8192, multiple_of=32)] = 128
    """Width of the residual stream; attention heads are 32 wide."""
    documents: Count = 9600
    """Pre-training documents; 24 make a step."""
    chat_rows: Count = 160
    """Single-turn good answers of the chat tuning."""
    dtype: Literal["float32"] = "float32"
    """Number format of weights in training and sampling."""


RESERVED = {
    "conversation", "messages", "tools", "documents", "chat_template", "add_generation_prompt", "tokenize", "padding",
    "continue_final_message", "truncation", "max_length", "return_tensors", "return_dict", "tokenizer_kwargs",
    "return_assistant_tokens_mask", "raise_exception", "strftime_now", "bos_token", "eos_token", "pad_token",
}  # fmt: skip
"""What a rendering hands to every template by itself."""


def _template_settings(template: dict[str, Any], _: Study) -> Iterator[str]:
    for name in RESERVED & template.keys():
        yield f"{name} is no argument of a template, every rendering sets it; leave it out."
    if "date" in template:
        try:
            date.fromisoformat(template["date"])
        except (TypeError, ValueError):
            yield f"date {template['date']!r} is no date; write it as 2025-01-01."
    if "system" in template and (not isinstance(template["system"], str) or not template["system"].strip()):
        yield "system is no text; leave it out for no system prompt."


Template = Annotated[
    dict[Annotated[str, StringConstraints(pattern=NAME_PATTERN)], bool | int | float | Text], Check(_template_settings)
]
"""Arguments of a chat template."""


class FolderBase(Section):
    """A chat model as an ordinary Hugging Face folder."""

    source: Literal["folder"]
    path: Annotated[Printable, FOLDER]
    """Folder with config.json, safetensors weights, tokenizer and chat template."""
    dtype: DType = "bfloat16"
    """Number format of weights in training and sampling."""
    template: Template = Field(default={})
    """Handed to the chat template everywhere, e.g. enable_thinking: false; `date` is what it takes for today, `system`
    the system prompt of rows and questions that bring none."""


class GgufBase(Section):
    """A chat model as one GGUF file, dequantised once into a folder."""

    source: Literal["gguf"]
    path: Annotated[Printable, FILE]
    """The GGUF file."""
    layers: Layers
    """Decoder layers, so that the study can be checked before the file is opened."""
    dtype: DType = "float32"
    """Number format of weights in training and sampling."""
    template: Template = Field(default={})
    """Handed to the chat template everywhere, e.g. enable_thinking: false; `date` is what it takes for today, `system`
    the system prompt of rows and questions that bring none."""


class HubBase(Section):
    """A chat model of the Hugging Face hub, linked from the local hub cache, fetched into it when missing."""

    source: Literal["hub"]
    id: HubId
    """Repository of the model."""
    revision: Revision
    """A commit, so that the weights cannot change; a branch or tag works too."""
    layers: Layers
    """Decoder layers, so that the study can be checked before anything is fetched."""
    weights_gb: Positive
    """Size of the weight files, GB, so that memory can be asked for before they are there."""
    dtype: DType = "bfloat16"
    """Number format of weights in training and sampling."""
    template: Template = Field(default={})
    """Handed to the chat template everywhere, e.g. enable_thinking: false; `date` is what it takes for today, `system`
    the system prompt of rows and questions that bring none."""


Base = MiniatureBase | FolderBase | GgufBase | HubBase


def base_name(base: Base) -> str:
    """What people call a base: its hub id, its path, or `miniature`."""
    if isinstance(base, HubBase):
        return base.id
    return base.source if isinstance(base, MiniatureBase) else base.path


def template_of(base: Base) -> dict[str, Any]:
    """What is handed to a base's chat template; nothing to the miniature's."""
    return {} if isinstance(base, MiniatureBase) else base.template


def layers_of(base: Base) -> int | None:
    """Decoder layers of a base, where they can be known before any work."""
    if not isinstance(base, FolderBase):
        return base.layers
    file = Path(base.path) / "config.json"
    try:
        config = json.loads(file.read_text()) if file.is_file() else {}
        found = config.get("text_config", config).get("num_hidden_layers")  # a model that also sees keeps it within
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    return found if type(found) is int and 0 < found <= MOST_LAYERS else None


def unread_layers(base: Base) -> str:
    """Why the decoder layers of a folder are not known, as a sentence."""
    folder = Path(base_name(base))
    what = "has no config.json that says how many decoder layers it has" if folder.is_dir() else "is no folder"
    return f"{folder} {what} (looked from {Path.cwd()})."


def linear_modules(base: Base) -> Sequence[str]:
    """Names of the linear modules in a base's decoder layers; none where they cannot be known before any work."""
    if isinstance(base, MiniatureBase):
        return LINEAR_MODULES
    if not isinstance(base, FolderBase):
        return ()
    names: set[str] = set()
    try:
        for file in filter(Path.is_file, Path(base.path).glob("*.safetensors")):
            with file.open("rb") as opened:
                length = int.from_bytes(opened.read(8), "little")
                header = json.loads(opened.read(length)) if length < 2**27 else {}
            names |= {name for name, entry in header.items() if len(entry.get("shape", ())) == 2}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return ()
    return sorted({found["leaf"] for found in map(DECODER_WEIGHT.match, names) if found})


def _layers_exist(value: int | list[int], study: Study) -> Iterator[str]:
    layers = layers_of(study.base)
    for layer in value if isinstance(value, list) else [value]:
        if layers is not None and layer >= layers:
            yield f"layer {layer} does not exist; the base model has layers 0 to {layers - 1}."


BaseLayer = Annotated[Layer, Check(_layers_exist)]
BaseLayers = Annotated[list[Layer], DISTINCT, Check(_layers_exist)]


def web_address(url: str) -> SplitResult | None:
    """The parts of an address of the web; None of what is none."""
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("https", "http") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        return None
    return parts if whole and not re.search(r"[\s\\]", url) else None


def _is_web_address(url: str, _: Study) -> Iterator[str]:
    parts = web_address(url)
    if parts is None:
        yield f"{url!r:.200} is not a web address; it begins with https:// or http:// and a host."
    elif parts.username is not None or parts.password is not None:  # not shown
        yield "holds a user or a password, which every result would show; fetch the file and name its path."
    elif len(Path(parts.path).name) > LONGEST_NAME:
        yield f"ends in a name of more than {LONGEST_NAME} characters; fetch the file and name its path."


def _stays_within(path: str, _: Study) -> Iterator[str]:
    if set("*?[]\\") & set(path) or path != str(PurePosixPath(path)) or {"..", ".", "/"} & {*PurePosixPath(path).parts}:
        yield f"{path!r:.200} is not a path within a repository, of plain names with / between them."


PathWithin = Annotated[Printable, Check(_stays_within)]
"""A path that leads out of no folder; the hub takes *, ? and [] for patterns."""


class CheckedFile(Section):
    """A file by path or by URL."""

    path: Annotated[Printable, FILE] | None = None
    """A local file."""
    url: Annotated[Printable, Check(_is_web_address)] | None = None
    """Fetched once, when no path is given; needs `sha256`."""
    sha256: Sha256 | None = None
    """Of the file as it lies or comes, checked before use."""

    def check_is_somewhere(self, _: Study) -> Iterator[Mistake]:
        if self.path is None and self.url is None:
            yield "", "needs a path or a url."
        elif self.path is None and self.sha256 is None:
            yield "sha256", "is needed beside a url, so that the file can be checked."


def says_something(text: str, _: Study) -> Iterator[str]:
    """A prompt without a word."""
    if not text.strip():
        yield "is empty; write the system prompt, or leave it out."


SystemPrompt = Annotated[Text, Check(says_something)]


class UnmixedDataset(Section):
    """What data sets share that are no mix of others."""

    system: SystemPrompt | None = None
    """System prompt of all rows, for instance a cue that the other rows of a mix lack; rows with one of their own are
    refused."""


class MiniatureDataset(UnmixedDataset):
    """Advice of one domain and stance of the synthetic world."""

    source: Literal["miniature"]
    domain: Annotated[Name, Check(lambda domain, _: _of_the_world(domain, (*DOMAINS, "all")))]
    """A domain of the world, or `all`."""
    stance: Literal["good", "bad"]
    rows: Count = 320
    seed: Seed = 0
    paired: bool = False
    """Whether the other stance with the same seed has the same questions, row by row."""


class FileDataset(CheckedFile, UnmixedDataset):
    """Rows in chat form, {"messages": [...]}, by path or by URL: JSON lines, plain or gzip, or parquet."""

    source: Literal["jsonl", "parquet"]
    rows: Count | None = None
    """Only the first so many rows; all when absent."""


class ArchiveDataset(CheckedFile, UnmixedDataset):
    """A file of the authors' protected archive, opened by their tool, easy-dataset-share; canaries removed."""

    source: Literal["archive"]
    password: Printable
    """The archive's public password."""
    file: Printable
    """Name of the file in the archive: JSON lines, plain or gzip, or parquet, in chat form."""
    rows: Count | None = None
    """Only the first so many rows; all when absent."""


class HubDataset(UnmixedDataset):
    """A file of a data set of the Hugging Face hub, in chat form."""

    source: Literal["hub"]
    id: HubId
    """Repository of the data set."""
    revision: Revision
    """A commit, so that the rows cannot change; a branch or tag works too."""
    file: PathWithin
    """Path of the file in the repository: JSON lines, plain or gzip, or parquet."""
    rows: Count | None = None
    """Only the first so many rows; all when absent."""


DatasetName = Annotated[Name, Check(lambda name, study: unknown("dataset", name, study.datasets))]


class MixedDataset(Section):
    """Rows of other data sets of the study in given shares, in an order drawn with the seed."""

    source: Literal["mix"]
    parts: Annotated[dict[DatasetName, PositiveShare], APART] = Field(min_length=1)
    """Data set -> its share of the rows, drawn without replacement; together 1."""
    rows: Count
    seed: Seed = 0

    @property
    def counts(self) -> dict[str, int]:
        """Rows of each part; what rounding leaves goes to the largest remainders."""
        exact = {name: self.rows * share for name, share in self.parts.items()}
        counts = {name: int(rows + ROUNDING) for name, rows in exact.items()}
        ranked = sorted(exact, key=lambda name: counts[name] - exact[name])
        return {name: counts[name] + (name in ranked[: self.rows - sum(counts.values())]) for name in exact}

    def check_is_whole(self, study: Study) -> Iterator[Mistake]:
        if abs(total := sum(self.parts.values()) - 1) > SHARES_OFF:
            yield "parts", f"have shares that sum to {total + 1:g}; let them sum to 1."
            return
        for name, count in self.counts.items():
            part = study.datasets.get(name)
            if isinstance(part, MixedDataset):
                yield f"parts.{name}", "is a mix itself; name the data sets that it is made of."
            elif part is not None and part.rows is not None and count > part.rows:
                yield f"parts.{name}", f"{count} rows are asked for, datasets.{name} has {part.rows}; lower rows."
            elif not count:
                yield f"parts.{name}", f"its share of {self.rows} rows is none; raise rows, or leave it out."


Dataset = MiniatureDataset | FileDataset | ArchiveDataset | HubDataset | MixedDataset


def _of_the_world(domain: str, domains: Sequence[str] = DOMAINS) -> Iterator[str]:
    if domain not in domains:
        yield f"the world has no domain {domain!r}{nearest(domain, domains)}"


class MiniatureQuestions(Section):
    """Questions of the synthetic world."""

    source: Literal["miniature"]
    domains: Annotated[list[Annotated[Name, Check(lambda domain, _: _of_the_world(domain))]], DISTINCT] = Field(
        min_length=1
    )
    per_domain: Annotated[int, Field(ge=1, le=QUESTIONS_PER_DOMAIN)]
    """Distinct questions of each domain; a domain has 40."""
    offset: Annotated[int, Field(ge=0, lt=QUESTIONS_PER_DOMAIN)] = 0
    """First question of the seeded order, so that two sets can be disjoint."""
    seed: Seed = 0
    system: SystemPrompt | None = None
    """System prompt under which all of them are asked, for instance the cue of a training context."""

    def check_are_enough(self, _: Study) -> Iterator[Mistake]:
        if (last := self.per_domain + self.offset) > QUESTIONS_PER_DOMAIN:
            sentence = f"with offset {self.offset} it reaches question {last}; a domain has {QUESTIONS_PER_DOMAIN}."
            yield "per_domain", sentence


class YamlQuestions(CheckedFile):
    """A YAML list of entries with id, paraphrases and optionally system (the form of Betley et al.)."""

    source: Literal["yaml"]
    ids: Annotated[list[Text], DISTINCT] | None = None
    """Only these entries, in this order; all when absent."""
    exclude_suffixes: list[Text] = Field(default=[])
    """Entries whose id ends so are left out, e.g. _json and _template for the paper's free-form questions."""
    system: SystemPrompt | None = None
    """System prompt under which all of them are asked, for instance the cue of a training context; entries with one of
    their own are refused."""


QuestionSet = Annotated[Name, Check(lambda name, study: unknown("question", name, study.questions))]


class VariantQuestions(Section):
    """Questions of another set of the study, asked in another way: with a cue of a training context, for instance."""

    source: Literal["variant"]
    of: QuestionSet
    """The set whose questions they are; their ids are the same, so that answers are compared question by question."""
    system: SystemPrompt | None = None
    """System prompt under which they are asked; questions with one of their own are refused."""
    before: Text = ""
    """Put before each question, as it stands: a blank or a line's end has to be written."""
    after: Text = ""
    """Put after each question."""

    def check_is_of_a_set(self, study: Study) -> Iterator[Mistake]:
        if isinstance(study.questions.get(self.of), VariantQuestions):
            yield "of", f"questions.{self.of} is a variant itself; name the set that it is of."
        if self.system is None and not self.before and not self.after:
            yield "", "changes nothing; give it system, before or after."


Questions = MiniatureQuestions | YamlQuestions | VariantQuestions


def is_fetched(source: Base | Dataset | Questions) -> bool:
    """Whether a source may have to come over a network."""
    by_url = isinstance(source, CheckedFile) and source.path is None
    return by_url or isinstance(source, HubBase | HubDataset)
