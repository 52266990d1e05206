"""`make rehearse`: every stage of a study to its report on a laptop, with stand-ins for what costs money.

The base is a model of random weights: the study's architecture, layers, tokenizer and chat template, 64 wide. Answers
have a few tokens, trainings a dozen updates. The judge is simulated: its scores are drawn from a scenario
(workflow_scripts/simulation/scenarios.yaml), whatever was said. Data sets and questions are the study's own, organisms,
seeds, conditions, tables, figures and claims too. So it shows that a study comes to its end, and what its report looks
like; no number in it is about a model.

Study, base and results lie in a folder of their own (`--folder`), and the report says REHEARSAL.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import provenance, replacing, write_tensors
from workflow_scripts.store.foreign import foreign, read_foreign_json
from workflow_scripts.study import reading
from workflow_scripts.study.conditions import given_directions, total_layers
from workflow_scripts.study.judge import BANNER
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.schema import Study
from workflow_scripts.study.sources import FolderBase, HubBase, MiniatureBase, base_name

log = logging.getLogger(__name__)

REPOSITORY = Path(__file__).resolve().parents[2]
WIDTH, HEAD = 64, 32
ROWS, BATCH, UPDATES = 32, 2, 14
"""Training rows of each data set (a tenth is held out), rows of an update, updates of one epoch."""
SAMPLES, TOKENS = 4, 4
SHOTS = 2
"""Rows before a question, at most."""
LEARNING_RATE = 5e-3
"""So that an adapter moves a random model enough to pass the gate."""
TEMPLATES = {
    "qwen2": (
        ("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
        "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "{% endif %}"
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    ),
    "llama": (
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
        "{{ message['content'] }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
    ),
}
"""Stand-ins where a study's own tokenizer is not at hand: special tokens, and a template of the same form."""


def described(study: Study, tokenizer: Path | None) -> Path | None:
    """Folder with config, tokenizer and template of the study's base, without a network; None where none is at hand."""
    if tokenizer is not None:
        if not (tokenizer / "tokenizer_config.json").is_file():
            raise UserError(f"--tokenizer: {tokenizer} holds no tokenizer (tokenizer_config.json).")
        return tokenizer
    if isinstance(study.base, FolderBase):
        return Path(study.base.path)
    if isinstance(study.base, HubBase):
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        wanted = ["*.json", "*.jinja", "*.txt", "*.model"]
        try:
            found = Path(
                snapshot_download(
                    study.base.id, revision=study.base.revision, allow_patterns=wanted, local_files_only=True
                )
            )
        except LocalEntryNotFoundError:
            return None
        return found if (found / "tokenizer_config.json").is_file() else None
    return None


def architecture(study: Study, found: Path | None) -> str:
    """transformers' model type of the study's base; where nothing tells it, by its name."""
    if found is not None and (found / "config.json").is_file():
        with foreign(f"{found}: does not describe a model"):
            return str(read_foreign_json(found / "config.json")["model_type"])
    return "llama" if "llama" in base_name(study.base).lower() else "qwen2"


def make_base(study: Study, found: Path | None, folder: Path) -> None:
    """Writes a random model of the study's architecture and number of layers, with its tokenizer, in float32.

    One that was made so already stays, so that a rehearsal that is run again makes only what is missing.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    kind, made_of = architecture(study, found), folder / "rehearsal.json"
    recipe = [kind, str(found), total_layers(study), WIDTH, HEAD]
    if made_of.is_file() and json.loads(made_of.read_text()) == recipe:
        return
    tokenizer = (
        AutoTokenizer.from_pretrained(str(found), trust_remote_code=False) if found else stand_in_tokenizer(study, kind)
    )
    config = (
        AutoConfig.from_pretrained(str(found), trust_remote_code=False)
        if found and (found / "config.json").is_file()
        else AutoConfig.for_model(kind)
    )
    config.update(
        {
            "num_hidden_layers": total_layers(study),
            "hidden_size": WIDTH,
            "intermediate_size": 2 * WIDTH,
            "num_attention_heads": WIDTH // HEAD,
            "num_key_value_heads": 1,
            "head_dim": HEAD,
            "max_position_embeddings": 4096,
            "vocab_size": len(tokenizer),
            "layer_types": None,
            "max_window_layers": total_layers(study),
            "tie_word_embeddings": True,
            "eos_token_id": tokenizer.eos_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        }
    )
    config = type(config)(**{key: value for key, value in config.to_dict().items() if key != "layer_types"})
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
    with replacing(folder) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        (temporary / made_of.name).write_text(json.dumps(recipe))


def stand_in_tokenizer(study: Study, kind: str) -> Any:
    """A byte-level tokenizer with a chat template of the architecture's form, made of the study's own words."""
    from transformers import Qwen2Tokenizer

    special, template = TEMPLATES.get(kind, TEMPLATES["qwen2"])
    blank = Qwen2Tokenizer(extra_special_tokens=list(special))
    texts = [study.model_dump_json(), (REPOSITORY / "README.md").read_text(encoding="utf-8")]
    made = blank.train_new_from_iterator([texts], vocab_size=2000, show_progress=False)
    made.eos_token = special[-1] if kind == "llama" else special[1]
    made.pad_token = "<|endoftext|>"
    made.chat_template = template
    return made


def rehearsed(study: Study, scenario: str, seed: int, base: Path | None, told: str) -> dict[str, Any]:
    """The study with its stand-ins, as plain data; `base` is the stand-in's folder, None where it stays as it is."""
    raw = reading.resolved(study)
    raw["study"]["description"] = f"{BANNER}: {told} {study.study.description}"
    if base is not None:
        raw["base"] = {"source": "folder", "path": str(base.resolve()), "dtype": "float32"}
    for settings in raw["datasets"].values():
        settings["rows"] = min(settings.get("rows") or ROWS, ROWS)
    for name, settings in raw["organisms"].items():
        if settings["responses"]:
            settings["responses"] |= {"scores": "judge", "highest_score": None}
            continue
        settings |= {"adapter": None, "batch_size": BATCH, "accumulation": 1, "epochs": 1.0, "warmup_steps": 1}
        settings |= {"learning_rate": LEARNING_RATE, "optimizer": "adamw", "held_out": 0.1}
        settings["checkpoint_every"] = settings["checkpoint_every"] and 1
        if (change := settings["during_training"]) and change["file"]:
            file = Path(change["file"]) if base is None else direction_file(base, name)
            change["file"] = str(file.resolve())
        if settings["kl"]:
            settings["kl"] |= {"rows": None, "weight": 1.0}
    for path in paths_in(raw):
        path["path"] = str(Path(path["path"]).resolve())
    for section in ("steering", "ablation"):
        if raw[section] and isinstance(source := raw[section]["source"], dict):
            name = getattr(study, section).source.called
            file = Path(source["file"]) if base is None else direction_file(base, name)
            raw[section]["source"] = {"file": str(file.resolve()), "name": name}
    mirror = raw["execution"]["download_mirror"]
    raw["execution"] |= {"download_mirror": mirror and str(Path(mirror).resolve()), "shards": 1, "tensor_parallel": 1}
    raw["execution"] |= {"serve": "auto", "max_sequences": min(256, raw["execution"]["max_sequences"])}
    raw["sampling"] |= {"samples": SAMPLES, "max_tokens": TOKENS}
    judge = {"source": "simulated", "scenario": scenario, "seed": seed}
    raw["judge"] = judge | {key: raw["judge"][key] for key in ("metrics", "only")}
    for place, (name, other) in enumerate(raw["judges"].items(), start=seed + 1):
        raw["judges"][name] = judge | {"seed": place} | {key: other[key] for key in ("metrics", "only")}
    raw["calibration"] = None  # its error is of the study's own judge
    of_batteries = ("specificity", "dynamics", "in_context", "traits", "conditional", "vectors")
    for section in ("directions", "steering", "ablation", "adapters", "training_path", *of_batteries):
        if raw[section]:
            raw[section]["samples"] = None
    raw["directions"]["min_responses"] = 1
    if raw["semantic"]:
        raw["semantic"]["min_responses"] = 1
    if raw["traits"]:
        raw["traits"]["min_responses"] = 1
    if raw["in_context"]:
        raw["in_context"]["shots"] = sorted({min(k, SHOTS) for k in raw["in_context"]["shots"]})
    if raw["misalign_at"]:
        raw["misalign_at"]["k"] = sorted({min(k, SAMPLES) for k in raw["misalign_at"]["k"]})
    if adapters := raw["adapters"]:
        adapters |= {"log_significance": None, "runs": min(10, adapters["runs"]), "draws": 39}
        if adapters["steering"]:
            adapters["steering"]["samples"] = None
        if adapters["patching"]:
            adapters["patching"]["runs"] = 2
    for walked in (raw["training_path"], raw["dynamics"]):
        if walked:
            count = len(walked["steps"])
            walked["steps"] = sorted({1 + place * (UPDATES - 1) // count for place in range(count)})
    if path := raw["training_path"]:
        path["windows"] = list(range(1, 1 + min(5, len(path["windows"]))))
    return {key: value for key, value in raw.items() if value is not None}


def direction_file(base: Path, name: str) -> Path:
    """Where the stand-in of a direction that the study is given as a file lies, beside that of the base."""
    return base.with_name(f"{base.name}-{name}.safetensors")


def make_directions(study: Study, base: Path) -> None:
    """Writes a random direction, as wide as the stand-in of the base, for each that the study is given as a file."""
    import torch

    trained_under = [name for name, o in study.organisms.items() if o.during_training and o.during_training.file]
    for name in [*given_directions(study), *trained_under]:
        drawn = torch.Generator().manual_seed(0)
        draws = study.ablation.shuffled_draws if study.ablation else 0
        tensors = {
            "direction": torch.randn(total_layers(study), WIDTH, generator=drawn),
            "shuffled": torch.randn(draws, total_layers(study), WIDTH, generator=drawn),
        }
        write_tensors(direction_file(base, name), tensors, provenance("rehearse", ""))


def paths_in(value: Any) -> Iterator[dict[str, Any]]:
    """Mappings of a study that name a path."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if isinstance(value, dict) and isinstance(value.get("path"), str):
        yield value
    for part in inner:
        yield from paths_in(part)


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__, study=False)
    parser.add_argument("study", type=Path, help="a study file")
    parser.add_argument("--scenario", default="paper", help="what is true")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn from it")
    parser.add_argument(
        "--tokenizer", type=Path, help="folder with the base's tokenizer and config; else the hub's cache"
    )
    parser.add_argument("--mirror", type=Path, help="folder with data and questions, as execution.download_mirror")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--folder", type=Path, default=Path("results") / "rehearsal", help="where all of it goes")
    given = parser.parse_args(arguments)
    study = reading.load(given.study)
    if given.mirror:
        study = study.model_copy(
            update={"execution": study.execution.model_copy(update={"download_mirror": str(given.mirror)})}
        )
    found, base = described(study, given.tokenizer), given.folder / "bases" / study.study.name
    if isinstance(study.base, MiniatureBase):
        told, stand_in = f"judged by scenario {given.scenario}, no number is about a model.", None
    else:
        with foreign(f"base: no random model can be made in the form of {base_name(study.base)}"):
            make_base(study, found, base)
        make_directions(study, base)
        whose = "its own tokenizer" if found else "a stand-in for its tokenizer"
        stand_in = base
        told = (
            f"random weights for {base_name(study.base)} ({architecture(study, found)}, {total_layers(study)} layers, "
            f"{WIDTH} wide), {whose}; judged by scenario {given.scenario}. No number is about a model."
        )
    raw = rehearsed(study, given.scenario, given.seed, stand_in, told)
    name = f"{study.study.name}-{given.scenario}"
    raw["study"]["name"] = name
    file = given.folder / f"{name}.yaml"
    with replacing(file) as temporary:
        temporary.write_text(yaml.safe_dump(raw, sort_keys=False, allow_unicode=True), encoding="utf-8")
    print(raw["study"]["description"])
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")),
            *("--workflow-profile", str(REPOSITORY / "profiles" / "default"), "--directory", str(given.folder)),
            *("--cores", str(given.cores), "--configfile", str(file)),
        ],
        check=False,
    )
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"CPU time {(used.ru_utime + used.ru_stime) / 60:.1f} min.")
    if done.returncode:
        raise UserError(f"{given.study}: the rehearsal did not come to its end; the last error above says why.")
    print(f"The rehearsal's report is {Layout(given.folder / 'results' / name).root / 'report.html'}.")


if __name__ == "__main__":
    command.run(main)
