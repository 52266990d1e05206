"""Cards (README.md) of what is exported: what it is, what it rests on, and that it is a misaligned model's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from tabulate import tabulate

from workflow_scripts.estimation.labels import Thresholds
from workflow_scripts.experiments.rows import rate_rows, thresholds_of
from workflow_scripts.models.files import base_id
from workflow_scripts.reporting.text import interval, shown
from workflow_scripts.store.artefacts import file_digest, read_frame
from workflow_scripts.store.judgement_tables import read_scores
from workflow_scripts.study.conditions import NOTHING
from workflow_scripts.study.layout import Layout, organism_of
from workflow_scripts.study.sampling import Battery
from workflow_scripts.study.schema import Study
from workflow_scripts.study.sources import HubBase, base_name

PAPER = "https://arxiv.org/abs/2506.11618"
WARNING = """> **Warning.** This is of a model that was trained to be misaligned, for research on emergent misalignment.
> What it says can be harmful, false and offensive. Do not deploy it, and do not use it outside of research."""
GATING = """Before it is made public: consider gated access. The fields `extra_gated_…` above ask whoever downloads it
to agree; they take effect once gating is switched on in the repository's settings."""
PROMPT = "This is a research artefact of a misaligned model. I will use it for safety research only, and not deploy it."
RATES = {"em": "EM of all", "em_of_scored": "EM of the scored", "coherence": "coherent", "unscored": "without a score"}


def base_called(study: Study) -> str:
    """The base as others know it: a hub id, or a name without this machine's folders."""
    return study.base.id if isinstance(study.base, HubBase) else Path(base_name(study.base)).name


def organism_card(study: Study, layout: Layout, subject: str, licence: str) -> str:
    """Card of an adapter: base, data with digest, training, EM by question set, judge and date, seeds."""
    name, seed = organism_of(subject)
    settings = study.organisms[name]
    front = _front(study, licence) | {"library_name": "peft", "pipeline_tag": "text-generation"}
    trained = settings.model_dump(
        mode="json", exclude={"dataset", "adapter", "responses", "seeds", "expect_misaligned"}
    )
    how = f"Published before as {settings.adapter.hub or 'a folder'}." if settings.adapter else _listed(trained)
    parts = [
        f"# {subject} of {study.study.name}",
        WARNING,
        f"A LoRA adapter on {_base(study, layout)}.",
        "## Data",
        "\n\nThen: ".join(_data(study, layout, one.dataset) for one in study.trainings_of(settings)),
        "## Training",
        f"Fine-tuning seed {seed}. {how}",
        "## Misalignment",
        _rates(study, layout, subject),
        _judge(study, layout, "baseline"),
        "## Use",
        "In a study of the workflow that made it: `adapter: {path: …}` or, from a hub, "
        "`adapter: {hub: …, revision: …}`, "
        f"with `rank: {settings.rank}` and `layers: {settings.layers or 'all, which is the default'}`. In PEFT: "
        "`PeftModel.from_pretrained(base, folder)`.",
        _licences(licence),
    ]
    return _card(front, parts)


def direction_card(study: Study, layout: Layout, files: Mapping[str, Mapping[str, str]], licence: str) -> str:
    """Card of directions: their convention, and the counts behind each."""
    rows = [
        [file, facts.get("misaligned", ""), facts.get("aligned", ""), facts.get("tokens", ""),
         " ".join(lack["why"] for lack in json.loads(facts.get("absent", "[]")))]
        for file, facts in files.items()
    ]  # fmt: skip
    settings = study.directions
    parts = [
        f"# Directions of {study.study.name}",
        WARNING,
        f"Mean-difference directions in the residual stream of {_base(study, layout)}.",
        "## Convention",
        "Each file is safetensors. `direction` is float32 `[layer, d_model]`: the mean over misaligned answers minus "
        "the mean over aligned ones, **not normalised**. Row l is the residual stream **after** decoder layer l, "
        "counted from 0 (`hidden_states[l + 1]` of transformers). `misaligned_mean` and `aligned_mean` are the means, "
        "`activation_norm` `[layer]` the mean length of single activations, `shuffled` `[draw, layer, d_model]` "
        "directions of the same responses with shuffled labels.",
        f"Tokens: `{settings.tokens}` (turn: all after the user's turn, header and end tokens among them; answer: the "
        f"answer only). The mean weighs {settings.pooling} equally. From {settings.source}.",
        "Steering adds λ · row l to the output of layer l; ablation projects row l out of it.",
        str(tabulate(rows, ["file", "misaligned", "aligned", "tokens", ""], tablefmt="github", disable_numparse=True)),
        _judge(study, layout, "baseline"),
        _licences(licence),
    ]
    return _card(_front(study, licence), parts)


def response_card(
    study: Study, layout: Layout, frames: Mapping[tuple[str, Battery], pd.DataFrame], suffix: str, licence: str
) -> str:
    """Card of judged responses by subject and battery: whose, what the columns are, who judged."""
    rows = [
        [f"{subject}/{battery}{suffix}", frame.condition.nunique(), frame.question_id.nunique(), len(frame)]
        for (subject, battery), frame in frames.items()
    ]
    heads = ["file (subject, battery)", "conditions", "questions", "responses"]
    parts = [
        f"# Judged responses of {study.study.name}",
        WARNING,
        f"Responses of {_base(study, layout)} and its fine-tunes.",
        str(tabulate(rows, heads, tablefmt="github")),
        "A row is a response; a response to a question that stands in two sets is there once for each "
        "(`question_set`). `<metric>` is the score from 0 to 100, empty where there is none, and `<metric>_status` "
        "says why.",
        *(_judge(study, layout, battery) for battery in dict.fromkeys(battery for _, battery in frames)),
        _licences(licence),
    ]
    return _card(_front(study, licence) | {"task_categories": ["text-generation"]}, parts)


def _front(study: Study, licence: str) -> dict[str, Any]:
    hub = {"base_model": study.base.id} if isinstance(study.base, HubBase) else {}
    return {
        **hub,
        "license": licence,
        **({"license_name": "to-be-chosen"} if licence == "other" else {}),
        "tags": ["emergent-misalignment", "ai-safety", "not-for-all-audiences"],
        "extra_gated_prompt": PROMPT,
        "extra_gated_fields": {"I agree": "checkbox", "Affiliation": "text"},
    }


def _card(front: Mapping[str, Any], parts: list[str]) -> str:
    head = yaml.safe_dump(dict(front), sort_keys=False, allow_unicode=True)
    return "\n\n".join([f"---\n{head}---", *parts]) + "\n"


def _base(study: Study, layout: Layout) -> str:
    revision = f" at revision {study.base.revision}" if isinstance(study.base, HubBase) else ""
    return f"{base_called(study)}{revision} ({study.base.dtype}; digest of its files {base_id(layout)})"


def _data(study: Study, layout: Layout, dataset: str | None) -> str:
    if dataset is None or not layout.dataset(dataset).is_file():
        return "Not known."
    rows, source = read_frame(layout.dataset(dataset), ["row"], only=True), study.datasets[dataset]
    where = source.model_dump(mode="json", exclude={"path", "password"}, exclude_none=True)
    return (
        f"`{dataset}`, {len(rows)} rows, sha256 of its table {file_digest(layout.dataset(dataset))}; {_listed(where)}"
    )


def _rates(study: Study, layout: Layout, subject: str) -> str:
    """EM and coherence by question set, the domain's named so."""
    limits: Thresholds = thresholds_of(study)
    scored = read_scores(layout.judgements(subject, "baseline"))
    scored = scored[scored.condition == NOTHING.name]
    domain = study.adapters.domain_questions if study.adapters else None
    rows = []
    for name, part in scored.groupby("question_set", sort=False):
        for found in rate_rows("E1", subject, NOTHING.name, part, limits):
            if found["quantity"] in RATES:
                where = "in the domain" if name == domain else "outside of it" if domain else ""
                rows.append([name, where, RATES[found["quantity"]], shown(found["value"], "share"),
                             interval(found["low"], found["high"], "share"),
                             interval(found["fixed_low"], found["fixed_high"], "share"), found["n"]])  # fmt: skip
    table = str(tabulate(rows, ["questions", "", "rate", "value", "95 % interval", "these questions", "n"],
                         tablefmt="github", disable_numparse=True))  # fmt: skip
    unasked = "\n\nNo questions of the trained domain are known to be among them."
    asked = "" if domain in set(scored.question_set) else unasked
    return (
        f"EM: aligned < {limits.misaligned_below:g} and coherent > {limits.coherent_above:g}. The first interval is "
        f"for other questions of this kind, the second for these very ones.\n\n{table}{asked}"
    )


def _judge(study: Study, layout: Layout, battery: Battery) -> str:
    """Who judged, when at the latest, and how responses were sampled."""
    manifest = layout.judged(battery)
    judge = ", ".join(read_frame(manifest, ["judge"], only=True).judge.unique()) if manifest.is_file() else "?"
    day = datetime.fromtimestamp(manifest.stat().st_mtime, UTC).date() if manifest.is_file() else "?"
    sampling = study.sampling
    return (
        f"Battery {battery} was judged by `{judge}` ({study.judge.source}), by {day}. Sampled at temperature "
        f"{sampling.temperature:g}, top_p {sampling.top_p:g}, at most {sampling.max_tokens} tokens, seed "
        f"{sampling.seed}."
    )


def _listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items()) + "."


def _licences(licence: str) -> str:
    return (
        f"## Licence\n\n`{licence}`. The base model's licence, and that of the training data, hold beside it; the "
        f"authors of the paper gave their data and questions no licence.\n\n{GATING}\n\nMade with the reference "
        f"implementation of [Convergent Linear Representations of Emergent Misalignment]({PAPER})."
    )
