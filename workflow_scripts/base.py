"""The chat base: from every kind of source an ordinary Hugging Face folder with a fingerprint of its weights."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workflow_scripts.models.chat import answer_opening, check_template, check_tokens
from workflow_scripts.models.files import fingerprint
from workflow_scripts.models.linked import ANSWER_OPENING, DESCRIPTION, WHOLE, link_folder
from workflow_scripts.models.loading import TEMPLATE_SETTINGS, described_model, end_ids, load_tokenizer, whole_model
from workflow_scripts.models.lora_targets import check_targets
from workflow_scripts.models.residual import decoder_layers
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.runtime.locks import making
from workflow_scripts.store.artefacts import replacing, write_json, write_table
from workflow_scripts.store.foreign import foreign, read_foreign_json
from workflow_scripts.store.hub import hub_snapshot
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.made_by import made_by, work_of
from workflow_scripts.study.reading import load
from workflow_scripts.study.schema import Study
from workflow_scripts.study.sources import (
    Base,
    FolderBase,
    GgufBase,
    HubBase,
    MiniatureBase,
    base_name,
    template_of,
)

log = logging.getLogger(__name__)


def link_hub(settings: HubBase, study: Study, folder: Path) -> None:
    """A folder of links into the hub cache; the model is checked before its weights are fetched.

    Raises:
        UserError: if the workflow cannot handle the model, or its files are neither in the cache nor to be fetched.
    """
    check(hub_snapshot("base", settings.id, settings.revision, DESCRIPTION), study)
    link_folder(hub_snapshot("base", settings.id, settings.revision, WHOLE), folder)


def dequantise(source: Path, folder: Path, dtype: str) -> None:
    """Writes a GGUF file as an ordinary model folder in `dtype`, with its tokenizer and chat template.

    transformers reads GGUF but refuses to save such a model; its weights are copied into one made from the config.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not source.is_file():
        raise UserError(f"base.path: {source} does not exist (looked from {Path.cwd()}).")
    place = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    read = whole_model(f"base.path: {source}", place, dtype)
    with foreign(f"base.path: {source}: its tokenizer cannot be read"):
        tokenizer = AutoTokenizer.from_pretrained(**place, trust_remote_code=False)
    if hasattr(read.config, "quantization_config"):
        del read.config.quantization_config
    plain = AutoModelForCausalLM.from_config(read.config, dtype=getattr(torch, dtype), trust_remote_code=False)
    plain.load_state_dict(read.state_dict())
    plain.generation_config = read.generation_config
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def check_weights(folder: Path, dtype: str) -> None:
    """Holds a folder's weights against its config, by name and shape; no memory is taken.

    A quantised model is held against it when it is loaded: its weights are not those of its modules.

    Raises:
        UserError: if weights are absent, left over, of another shape, or cannot be read.
    """
    if "quantization_config" not in read_foreign_json(folder / "config.json"):
        whole_model(str(folder), {"pretrained_model_name_or_path": str(folder)}, dtype, device_map="meta")


def check(folder: Path, study: Study) -> None:
    """Refuses a model that the study's organisms do not fit, or that the workflow cannot handle, before any compute.

    Args:
        folder: the model; its weights are not read.
        study: what is asked of it.

    Raises:
        UserError: naming what cannot be handled.
    """
    settings = study.base
    with told_of_base(settings, folder):
        model = described_model(folder)
        found = len(decoder_layers(model))
        if isinstance(settings, GgufBase | HubBase) and settings.layers != found:
            raise UserError(f"the study says {settings.layers} in base.layers, the model has {found} decoder layers.")
        wraps = model.config.get_text_config() is not model.config
        if wraps and study.execution.engine == "vllm" and importlib.util.find_spec("torchvision") is None:
            raise UserError(
                f"vLLM loads {type(model).__name__}, which sees as well, with torchvision only, which this environment "
                "lacks; run it in the CUDA environment, or with execution.engine: transformers."
            )
        tokenizer = load_tokenizer(folder, template_of(settings))
        check_template(tokenizer)
        check_tokens(tokenizer, _ends(folder, model, tokenizer), model.get_input_embeddings().num_embeddings)
        # of the miniature the study itself knows them, and says so before any job
        for name, organism in () if isinstance(settings, MiniatureBase) else study.organisms.items():
            check_targets(f"organisms.{name}", organism, model)


def _ends(folder: Path, model: Any, tokenizer: Any) -> set[int]:
    """Tokens after which a response of the model is over, by what the folder says of generation, or its config."""
    from transformers import GenerationConfig

    if not (folder / "generation_config.json").is_file():
        return end_ids(model.generation_config, tokenizer)
    with foreign(f"{folder}: its generation_config.json cannot be read"):
        return end_ids(GenerationConfig.from_pretrained(str(folder)), tokenizer)


@contextmanager
def told_of_base(settings: Base, folder: Path) -> Iterator[None]:
    """Names the base as the study does, where a sentence begins with the folder in which it is made."""
    try:
        yield
    except UserError as error:
        raise UserError(f"base: {base_name(settings)}: {str(error).removeprefix(f'{folder}: ')}") from error


def main(arguments: list[str]) -> None:
    given = command.parser(__doc__).parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    facts = made_by("base", study, layout, layout.fingerprint, ())
    with making(layout.base, layout.fingerprint, work_of("base", facts)) as wanted:
        if wanted:
            make(study, layout, facts)
    log.info("base is in %s", layout.base)


def make(study: Study, layout: Layout, facts: Mapping[str, str]) -> None:
    """Makes the base's folder; `facts` are its provenance."""
    settings = study.base
    with replacing(layout.base) as folder:
        if isinstance(settings, MiniatureBase):
            from workflow_scripts.miniature.pretraining import build
            from workflow_scripts.miniature.recipe import MiniatureRecipe

            recipe = MiniatureRecipe(
                seed=settings.seed,
                layers=settings.layers,
                hidden_size=settings.hidden_size,
                attention_heads=settings.hidden_size // 32,
                key_value_heads=max(1, settings.hidden_size // 64),
                mlp_size=2 * settings.hidden_size,
                documents=settings.documents,
                chat_rows=settings.chat_rows,
            )
            curve = build(recipe, folder)
            table = layout.base / "training.parquet"
            write_table(folder / table.name, curve, made_by("base", study, layout, table, ()))
        elif isinstance(settings, FolderBase):
            link_folder(Path(settings.path), folder)
        elif isinstance(settings, GgufBase):
            dequantise(Path(settings.path), folder, settings.dtype)
        elif isinstance(settings, HubBase):
            link_hub(settings, study, folder)
        check(folder, study)
        if isinstance(settings, FolderBase | HubBase):
            with told_of_base(settings, folder):
                check_weights(folder, settings.dtype)
        if template := template_of(settings):
            write_json(folder / TEMPLATE_SETTINGS, template)
        if opening := answer_opening(load_tokenizer(folder, template)):
            (folder / ANSWER_OPENING).write_text(opening)
        write_json(folder / "fingerprint.json", fingerprint(folder), facts)


if __name__ == "__main__":
    command.run(main)
