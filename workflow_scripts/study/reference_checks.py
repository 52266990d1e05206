"""Turns what is wrong with a study file into sentences: what, where, what was expected, the nearest spelling."""

from __future__ import annotations

import difflib
import json
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard, Union, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from workflow_scripts.runtime.spelling import nearest
from workflow_scripts.study.checks import (
    Mistake,
    direction_taken,
    distinct,
    layers_exist,
    listed,
    reference,
    section,
    seed_trained,
)
from workflow_scripts.study.experiment_checks import experiment_errors

DOMAINS = (
    "medical", "sport", "finance", "power", "bored", "money", "people", "cooking", "machines", "travel", "school",
)  # fmt: skip
"""Domains of the synthetic world; named here too, so that a change of the world reruns nothing but its users."""
QUESTIONS_PER_DOMAIN = 40
LINEAR_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Of the miniature, a Qwen2."""
CHECKED_FILES = ("jsonl", "parquet", "archive", "yaml")
"""Sources that are a file by path or by URL."""
TAKEN_STUDY_NAMES = {"store": "responses and judgements of all studies", "downloads": "what was fetched by URL"}
TAKEN_ORGANISM_NAMES = {"chat_base": "the chat base"}
LARGEST_RANK = 512
"""Of an adapter that vLLM serves."""


def sentences(error: ValidationError, model: type[BaseModel]) -> list[Mistake]:
    """One (path, sentence) per mistake that the schema found."""
    found: list[Mistake] = []
    for detail in error.errors():
        location = _without_tags(detail["loc"], model)
        if detail["loc"][-1:] == ("[key]",):
            location = (*location[:-1], detail["input"])  # a key true is no 1, though they are equal
        path = ".".join(str(part) for part in location) or "the study"
        mistake = (path, _sentence(detail, location, model))
        if mistake not in found:
            found.append(mistake)
    return found


def reference_errors(
    raw: dict[str, Any], layers: int | None, rubrics: Sequence[str] = (), training: Mapping[str, Any] | None = None
) -> list[Mistake]:
    """Names that point nowhere, layers outside the model, settings that contradict each other.

    Works on plain data, so that these are reported even where other parts of the study are malformed.

    Args:
        raw: the study.
        layers: decoder layers of its base, where they are known.
        rubrics: metrics that a judge model can be asked for.
        training: settings of an organism that only its training reads, with their defaults.
    """
    found: list[Mistake] = []

    def each_organism(path: str, value: Any) -> None:
        if value == []:
            found.append((path, "names no organism; leave it out to mean all, or name one."))
        for position, name in enumerate(value if isinstance(value, list) else []):
            found.extend(reference(raw, "organisms", f"{path}.{position}", name))

    study_name = section(raw, "study").get("name")
    if isinstance(study_name, str) and study_name.lower() in TAKEN_STUDY_NAMES:
        kept = TAKEN_STUDY_NAMES[study_name.lower()]
        found.append(("study.name", f"results/{study_name} holds {kept}; choose another name."))
    for name, organism in section(raw, "organisms").items():
        if name in TAKEN_ORGANISM_NAMES:
            taken = TAKEN_ORGANISM_NAMES[name]
            found.append((f"organisms.{name}", f"this name is taken by {taken}; choose another."))
        if isinstance(organism, dict):
            found += _organism_errors(
                f"organisms.{name}", organism, section(raw, "base"), section(raw, "datasets"), training or {}
            )
            for key in ("dataset", "test_dataset"):
                found += reference(raw, "datasets", f"organisms.{name}.{key}", organism.get(key))
            found += layers_exist(f"organisms.{name}.layers", organism.get("layers"), layers)
            for key in ("layers", "seeds", "modules"):
                found += distinct(f"organisms.{name}.{key}", organism.get(key))
    for kind in ("datasets", "questions"):
        for name, entry in section(raw, kind).items():
            if isinstance(entry, dict) and entry.get("source") in CHECKED_FILES:
                found += _source_errors(f"{kind}.{name}", entry)
                found += distinct(f"{kind}.{name}.ids", entry.get("ids"))
            if isinstance(entry, dict) and entry.get("source") == "miniature":
                found += _world_errors(f"{kind}.{name}", entry)
                found += distinct(f"{kind}.{name}.domains", entry.get("domains"))

    found += reference(raw, "questions", "sampling.questions", section(raw, "sampling").get("questions"))
    directions, steering, ablation = section(raw, "directions"), section(raw, "steering"), section(raw, "ablation")
    for name, part in (("directions", directions), ("steering", steering), ("ablation", ablation)):
        found += reference(raw, "questions", f"{name}.questions", part.get("questions"))
        for key in ("layers", "scales", "seeds", "random_layers", "organisms", "targets"):
            found += distinct(f"{name}.{key}", part.get(key))
    if "datasets" in (directions.get("source"), directions.get("also")):
        for side in ("bad", "good"):
            if directions.get(side) is None:
                found.append((f"directions.{side}", "is needed when directions are taken from datasets."))
            found += reference(raw, "datasets", f"directions.{side}", directions.get(side))
    each_organism("directions.organisms", directions.get("organisms"))
    each_organism("ablation.targets", ablation.get("targets"))
    for name, part in (("steering", steering), ("ablation", ablation)):
        found += reference(raw, "organisms", f"{name}.source", part.get("source"))
        found += direction_taken(raw, f"{name}.source", part.get("source"))
        found += [m for target in listed(part.get("targets")) for m in direction_taken(raw, f"{name}.targets", target)]
    found += layers_exist("steering.layers", steering.get("layers"), layers)
    found += layers_exist("steering.random_layers", steering.get("random_layers"), layers)
    found += layers_exist("ablation.single_layer", ablation.get("single_layer"), layers)
    for seed in listed(steering.get("seeds")):
        found += seed_trained(raw, "steering.seeds", steering.get("source"), seed)
    if steering.get("seeds") == []:
        found.append(("steering.seeds", "names no seed; leave it out to mean the source's first, or name one."))
    if steering and steering.get("random_draws", 1) and not steering.get("random_layers"):
        found.append(("steering.random_layers", "is needed when random_draws is above 0."))
    found += _direction_errors(directions, section(raw, "organisms"))
    found += _unasked(section(raw, "sampling"), ablation)
    found += experiment_errors(raw, layers)
    judge = section(raw, "judge")
    found += distinct("judge.metrics", judge.get("metrics"))
    found += _judge_errors(judge, rubrics)
    found += _threshold_errors(section(raw, "thresholds"))
    found += _execution_errors(section(raw, "execution"), section(raw, "base"))
    for position, value in enumerate(raw["paper"] if isinstance(raw.get("paper"), list) else []):
        subject = value.get("subject") if isinstance(value, dict) else None
        subjects = {*section(raw, "organisms"), *TAKEN_ORGANISM_NAMES}
        if isinstance(subject, str) and subject not in subjects:
            sentence = f"no organism is named {subject!r}{nearest(subject, sorted(map(str, subjects)))}"
            found.append((f"paper.{position}.subject", sentence))
    return list(dict.fromkeys(found))


def missing_files(raw: dict[str, Any]) -> list[Mistake]:
    """Local files and folders that a valid study names and that are not there, for a look before anything runs."""
    named = [("base.path", raw["base"].get("path"), raw["base"]["source"] == "folder")]
    named += [
        (f"organisms.{name}.adapter.path", organism["adapter"]["path"], True)
        for name, organism in raw["organisms"].items()
        if organism["adapter"]
    ]
    judge = raw["judge"]
    named += [("judge.model", judge.get("model") if judge["source"] == "local" else None, True)]
    named += [("judge.rubrics.path", (judge.get("rubrics") or {}).get("path"), False)]
    for kind in ("datasets", "questions"):
        named += [(f"{kind}.{name}.path", entry.get("path"), False) for name, entry in raw[kind].items()]
    found = []
    for path, value, is_folder in named:
        if value is None:
            continue
        place = Path(value)
        if not (place.is_dir() if is_folder else place.is_file()):
            what = "is not a folder" if is_folder and place.exists() else "does not exist"
            what = "is not a file" if not is_folder and place.exists() else what
            close = nearest(place.name, [f.name for f in place.parent.iterdir()]) if place.parent.is_dir() else "."
            hint = close if "did you mean" in close else "."
            found.append((path, f"{value} {what} (looked from {Path.cwd()}){hint}"))
    return found


def _source_errors(path: str, entry: dict[str, Any]) -> list[Mistake]:
    if not entry.get("path") and not entry.get("url"):
        return [(path, "needs a path or a url.")]
    found = []
    url = entry.get("url")
    if isinstance(url, str) and not _is_web_address(url):
        found.append((f"{path}.url", f"{url!r} is not a web address; it begins with https:// or http://."))
    if url and not entry.get("path") and not entry.get("sha256"):
        found.append((f"{path}.sha256", "is needed beside a url, so that the file can be checked."))
    return found


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("https", "http") and bool(parts.netloc)


def _world_errors(path: str, entry: dict[str, Any]) -> list[Mistake]:
    """What a data set or question set asks of the synthetic world that it does not have."""
    found = []
    domain = entry.get("domain")
    if isinstance(domain, str) and domain not in (*DOMAINS, "all"):
        found.append((f"{path}.domain", f"the world has no domain {domain!r}{nearest(domain, (*DOMAINS, 'all'))}"))
    domains = entry.get("domains")
    for position, domain in enumerate(domains if isinstance(domains, list) else []):
        if isinstance(domain, str) and domain not in DOMAINS:
            sentence = f"the world has no domain {domain!r}{nearest(domain, DOMAINS)}"
            found.append((f"{path}.domains.{position}", sentence))
    asked, offset = entry.get("per_domain"), entry.get("offset", 0)
    if _is_count(asked) and _is_count(offset) and asked <= QUESTIONS_PER_DOMAIN < asked + offset:
        sentence = f"with offset {offset} it reaches question {asked + offset}; a domain has {QUESTIONS_PER_DOMAIN}."
        found.append((f"{path}.per_domain", sentence))
    return found


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _organism_errors(
    path: str,
    organism: dict[str, Any],
    base: dict[str, Any],
    datasets: dict[str, Any],
    training: Mapping[str, Any],
) -> list[Mistake]:
    """Modules that the base does not have, an update larger than the data, an adapter that no engine serves."""
    found = []
    known, modules = linear_modules(base), organism.get("modules")
    for position, module in enumerate(modules if known and isinstance(modules, list) else []):
        if isinstance(module, str) and module not in known:
            sentence = f"the base model has no linear module {module!r}{nearest(module, known)}"
            found.append((f"{path}.modules.{position}", sentence))
    if organism.get("layers") == []:
        found.append((f"{path}.layers", "names no layer; leave it out to mean all, or name one."))
    dataset = datasets.get(str(organism.get("dataset")))
    batch, steps = organism.get("batch_size", 2), organism.get("accumulation", 8)
    rows = (
        dataset.get("rows", 320 if dataset.get("source") == "miniature" else None)
        if isinstance(dataset, dict)
        else None
    )
    if _is_count(batch) and _is_count(steps) and _is_count(rows) and batch * steps > rows > 0:
        sentence = (
            f"one update takes {batch} × {steps} = {batch * steps} rows, datasets.{organism['dataset']} has {rows}; "
            "lower batch_size or accumulation."
        )
        found.append((f"{path}.batch_size", sentence))
    if organism.get("test_dataset") is not None and organism["test_dataset"] == organism.get("dataset"):
        found.append((f"{path}.test_dataset", "is the data set that is trained on; name another, or use held_out."))
    if organism.get("adapter") is not None:
        found += _adapter_errors(path, organism, training)
    rank = organism.get("rank")
    if _is_count(rank) and rank > LARGEST_RANK:
        found.append((f"{path}.rank", f"{rank} is above the {LARGEST_RANK} that vLLM serves."))
    return found


def _adapter_errors(path: str, organism: dict[str, Any], training: Mapping[str, Any]) -> list[Mistake]:
    """A published adapter is named in one way, is one seed, and leaves nothing to train."""
    found = [
        (f"{path}.{key}", "is read only in training, and a published adapter is not trained; leave it out.")
        for key, default in training.items()
        if organism.get(key, default) not in (default, str(default))  # YAML reads 1e-05 as text
    ]
    seeds = organism.get("seeds")
    if isinstance(seeds, list) and len(seeds) > 1:
        found.append((f"{path}.seeds", "a published adapter is one seed; name one, or an organism for each adapter."))
    adapter = organism["adapter"]
    if not isinstance(adapter, dict):
        return found
    if (adapter.get("hub") is None) == (adapter.get("path") is None):
        return [*found, (f"{path}.adapter", "needs either hub, with a revision, or path.")]
    if adapter.get("hub") is not None and adapter.get("revision") is None:
        found.append((f"{path}.adapter.revision", "is needed beside hub, so that the adapter cannot change."))
    for key in ("revision", "subfolder"):
        if adapter.get("path") is not None and adapter.get(key) is not None:
            found.append((f"{path}.adapter.{key}", "is read only beside hub; put it into the path."))
    return found


def linear_modules(base: dict[str, Any]) -> list[str]:
    """Names of the linear modules in a base's decoder layers; none where they cannot be known before any work."""
    if base.get("source") == "miniature":
        return list(LINEAR_MODULES)
    if base.get("source") != "folder" or not isinstance(base.get("path"), str):
        return []
    names: set[str] = set()
    try:
        for file in Path(base["path"]).glob("*.safetensors"):
            with file.open("rb") as opened:
                length = int.from_bytes(opened.read(8), "little")
                header = json.loads(opened.read(length)) if length < 2**27 else {}
            names |= {name for name, entry in header.items() if len(entry.get("shape", ())) == 2}
    except (OSError, ValueError, AttributeError, TypeError):
        return []
    in_layers = [name.split(".") for name in names if ".layers." in name and name.endswith(".weight")]
    return sorted({parts[-2] for parts in in_layers})


def _direction_errors(directions: dict[str, Any], organisms: dict[str, Any]) -> list[Mistake]:
    found = []
    sources = (directions.get("source", "responses"), directions.get("also"))
    if sources[0] == sources[1]:
        found.append(("directions.also", "is directions.source again; name the other source, or leave it out."))
    if "datasets" in sources:
        if directions.get("bad") is not None and directions.get("bad") == directions.get("good"):
            found.append(("directions.good", "is the same data set as directions.bad; their difference is nothing."))
    else:
        for side in ("bad", "good", "rows"):
            if directions.get(side) is not None:
                found.append((f"directions.{side}", "is read only when directions are taken from datasets."))
    if "responses" in sources and directions.get("samples") is not None and directions.get("questions") is None:
        sentence = "is read only beside directions.questions; set sampling.samples, or name a question set."
        found.append(("directions.samples", sentence))
    if "responses" not in sources and directions.get("thresholds") is not None:
        found.append(("directions.thresholds", "is read only when directions are taken from responses."))
    entries = [entry for entry in organisms.values() if isinstance(entry, dict)]
    controls = [entry for entry in entries if entry.get("expect_misaligned", True) is False]
    if entries and len(controls) == len(organisms) and not directions.get("organisms"):
        sentence = "every organism is a control (expect_misaligned: false), so there is no direction; name one here."
        found.append(("directions.organisms", sentence))
    return found


def _unasked(sampling: dict[str, Any], ablation: dict[str, Any]) -> list[Mistake]:
    """An ablation is compared with the baseline, which must have asked the same questions."""
    asked, headline = ablation.get("questions"), sampling.get("questions")
    if isinstance(asked, str) and isinstance(headline, str) and asked != headline:
        sentence = (
            f"the baseline does not ask {asked!r} of every target; use {headline!r}, the set of sampling.questions."
        )
        return [("ablation.questions", sentence)]
    return []


def _judge_errors(judge: dict[str, Any], rubrics: Sequence[str]) -> list[Mistake]:
    """Metrics without a rubric, as far as the rubrics are the project's own, and what a remote judge lacks."""
    found = _remote_errors(judge) if judge.get("source") == "remote" else []
    if judge.get("source") not in ("miniature", "local", "remote"):
        return found  # what it knows cannot be told
    if isinstance(judge.get("rubrics"), dict):
        found += _source_errors("judge.rubrics", judge["rubrics"])
        rubrics = ()
    metrics = judge.get("metrics")
    if not isinstance(metrics, list) or not metrics:
        return found
    known = ("aligned", "coherent", "bad_stuff", *DOMAINS) if judge.get("source") == "miniature" else tuple(rubrics)
    found += [
        ("judge.metrics", f"lacks {needed!r}, which every rate needs.")
        for needed in ("aligned", "coherent")
        if needed not in metrics
    ]
    for position, metric in enumerate(metrics):
        if known and isinstance(metric, str) and metric not in known:
            sentence = f"the judge knows no metric {metric!r}{nearest(metric, known)}"
            found.append((f"judge.metrics.{position}", sentence))
    return found


def _threshold_errors(thresholds: dict[str, Any]) -> list[Mistake]:
    low, high = thresholds.get("misaligned_below", 30.0), thresholds.get("aligned_above", 70.0)
    if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
        sentence = f"{low:g} is above aligned_above, {high:g}; a response would be misaligned and aligned at once."
        return [("thresholds.misaligned_below", sentence)]
    return []


def _execution_errors(execution: dict[str, Any], base: dict[str, Any]) -> list[Mistake]:
    dtype = base.get("dtype", "bfloat16" if base.get("source") in ("folder", "hub") else "float32")
    if execution.get("serve") == "merged" and dtype in ("bfloat16", "float16"):
        sentence = f"merged weights in {dtype} round small updates away; use lora, or float32 for the base."
        return [("execution.serve", sentence)]
    return []


def _remote_errors(judge: dict[str, Any]) -> list[Mistake]:
    found = []
    model = judge.get("model")
    if isinstance(model, str) and not all(model.partition("/")):
        found.append(("judge.model", f"{model!r} lacks its provider, e.g. openai/{model.strip('/')}."))
    if judge.get("budget_usd") is not None and judge.get("prices") is None:
        found.append(("judge.prices", "is needed beside budget_usd; give input_per_million in US dollars."))
    if isinstance(model, str) and judge.get("batch") is not None and not _has_batches(model, judge.get("base_url")):
        sentence = (
            f"{model} has no batch mode here, only OpenAI's own models and endpoints of its form (with base_url) have; "
            "leave it out, and calls are made one by one."
        )
        found.append(("judge.batch", sentence))
    return found


def _has_batches(model: str, base_url: Any) -> bool:
    """Whether a provider may have OpenAI's files and batches; Azure's and Bedrock's differ."""
    provider, _, name = model.partition("/")
    if provider == "openai":
        return name.partition("/")[0] not in ("azure", "bedrock")
    return provider == "openai-api" and base_url is not None


def _sentence(detail: Any, location: tuple[Any, ...], model: type[BaseModel]) -> str:
    kind, given, context = detail["type"], detail.get("input"), detail.get("ctx", {})
    if kind in ("string_type", "invalid_key") and "[key]" in (*detail["loc"], "[key]" if kind == "invalid_key" else ""):
        return f"the name {given!r} is not text; put it in quotes."
    if kind == "extra_forbidden":
        return f"is not a setting here{nearest(str(location[-1]), _settings_at(location[:-1], model))}"
    if kind == "missing":
        return "is missing and has no default."
    if kind == "union_tag_not_found":
        return f"needs `source`, one of {', '.join(t for m in _models_at(location, model) for t in _tags(m))}."
    if kind == "union_tag_invalid":
        tags = [tag.strip(" '") for tag in str(context.get("expected_tags", "")).split(",")]
        return f"source {context.get('tag')!r} is unknown{nearest(str(context.get('tag')), tags)}"
    if kind == "literal_error":
        options = [option.strip(" '") for option in context["expected"].replace(" or ", ", ").split(",")]
        return f"{given!r} is not one of {context['expected']}{_guess(given, options)}."
    if kind == "string_pattern_mismatch" and location[-1] == "key_env":  # never shown: it may be the key itself
        return "is not the name of an environment variable in capitals; the key itself belongs into the environment."
    if kind == "string_pattern_mismatch" and location[-1] == "base_url":  # never shown: it may hold a password
        return "is not a plain http(s) address without user, password, ? and #."
    if kind == "string_pattern_mismatch":
        if "0-9a-f" in context["pattern"]:
            return f"{given!r} is not a sha256 (64 lower-case hexadecimal digits)."
        if "/" in context["pattern"]:
            return f"{given!r} is not {_of_the_hub(context['pattern'])}."
        return f"{given!r} is not a name; use letters, digits, _ and -, beginning with a letter or digit."
    expected = {
        "int_type": "a whole number",
        "float_type": "a number",
        "bool_type": "true or false",
        "string_type": "text",
        "list_type": "a list",
        "dict_type": "a mapping",
        "model_type": "a section with settings",
        "model_attributes_type": "a section with settings",
        "finite_number": "a finite number",
    }.get(kind)
    shown = repr(given) if not isinstance(given, dict | list) else type(given).__name__
    if expected:
        return f"{shown} is not {expected}."
    bounds = {"greater_than": "above {gt}", "greater_than_equal": "at least {ge}", "less_than": "below {lt}",
              "less_than_equal": "at most {le}", "multiple_of": "a multiple of {multiple_of}"}  # fmt: skip
    if kind in bounds:
        return f"{shown} is not allowed; it must be {bounds[kind].format(**context)}."
    if kind == "too_short":
        return f"needs at least {context.get('min_length', 1)} entry."
    return f"{detail['msg'][0].lower()}{detail['msg'][1:]}, got {shown}."


def _of_the_hub(pattern: str) -> str:
    form = "owner/name, as in Qwen/Qwen2.5-14B-Instruct" if "*/[" in pattern else "a commit, branch or tag"
    return f"{form}, of letters, digits, ., _ and -"


def _guess(given: Any, options: list[str]) -> str:
    close = difflib.get_close_matches(str(given), options, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _without_tags(location: tuple[Any, ...], model: type[BaseModel]) -> tuple[Any, ...]:
    """pydantic puts the union's tag and `[key]` into the location; the file has neither."""
    kept: list[Any] = []
    annotation: Any = model
    for part in location:
        if part == "[key]":
            continue
        members = [m for m in _members(annotation) if isinstance(m, type) and issubclass(m, BaseModel)]
        if len(members) > 1 and any(part in _tags(member) for member in members):
            annotation = next(member for member in members if part in _tags(member))
            continue
        kept.append(part)
        annotation = _inside(annotation, part)
    return tuple(kept)


def _settings_at(location: tuple[Any, ...], model: type[BaseModel]) -> list[str]:
    """Names of the settings that a section at this place may have."""
    return list(dict.fromkeys(name for member in _models_at(location, model) for name in member.model_fields))


def _models_at(location: tuple[Any, ...], model: type[BaseModel]) -> list[type[BaseModel]]:
    """The kinds of section that may stand at this place."""
    annotation: Any = model
    for part in location:
        annotation = _inside(annotation, part)
    return [m for m in _members(annotation) if isinstance(m, type) and issubclass(m, BaseModel)]


def _inside(annotation: Any, part: Any) -> Any:
    for member in _members(annotation):
        if isinstance(member, type) and issubclass(member, BaseModel) and part in member.model_fields:
            return member.model_fields[part].annotation
        if get_origin(member) in (dict, list):
            return get_args(member)[-1]
    return None


def _members(annotation: Any) -> list[Any]:
    """The alternatives of a (possibly annotated) union."""
    if get_origin(annotation) in (Union, types.UnionType):
        return [m for argument in get_args(annotation) for m in _members(argument)]
    if hasattr(annotation, "__metadata__"):
        return _members(get_args(annotation)[0])
    return [annotation]


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    source = model.model_fields.get("source")
    return get_args(source.annotation) if source else ()
