"""Loading of language models and adapters in transformers and PEFT."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from workflow_scripts.models.chat import set_template
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.runtime.phases import phase
from workflow_scripts.store.adapter_files import CONFIG, WEIGHTS
from workflow_scripts.store.foreign import foreign, read_foreign_json
from workflow_scripts.study.sources import MOST_LAYERS

TEMPLATE_SETTINGS = "template_settings.json"
"""In a base's folder: `base.template`, where the study has it; fingerprinted with the rest."""

LOADED_WRONG = {
    "missing_keys": "absent", "mismatched_keys": "of another shape", "unexpected_keys": "of no module of it"
}  # fmt: skip
"""What transformers tells of a loading, and goes on with."""
OF_A_LAYER = re.compile(r"((model|language_model|transformer)\.)*(layers|h)\.\d+\.")

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def device() -> torch.device:
    """The first GPU that this process may use, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_tokenizer(folder: Path, template: Mapping[str, Any] | None = None) -> PreTrainedTokenizerBase:
    """Tokenizer of a model folder, with a padding token.

    Args:
        folder: the model's.
        template: settings of every rendering (`chat.set_template`); if absent, those that the base's stage left in the
            folder.

    Raises:
        UserError: if there is none, or it has no chat template.
    """
    from transformers import AutoTokenizer

    with foreign(f"{folder}: its tokenizer cannot be loaded"):
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    if not tokenizer.chat_template:
        raise UserError(f"{folder}: its tokenizer has no chat template; use a chat model.")
    if not tokenizer.is_fast:
        raise UserError(f"{folder}: its tokenizer has no fast form, which tells where in a text a token stands.")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    file = folder / TEMPLATE_SETTINGS
    set_template(tokenizer, template or (json.loads(file.read_text()) if file.is_file() else {}))
    return tokenizer


def described_model(folder: Path) -> PreTrainedModel:
    """The model that a folder's config describes, its weights without numbers and memory.

    Raises:
        UserError: if transformers knows no such model.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    with foreign(f"{folder}: is not a model that transformers knows"):
        described = read_foreign_json(folder / "config.json")
        for part in (described, *(part for part in described.values() if isinstance(part, dict))):
            if not 0 <= part.get("num_hidden_layers", 0) <= MOST_LAYERS:  # transformers makes a list of so many
                raise ValueError(f"its config says {part['num_hidden_layers']} decoder layers")
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=False)


def load_model(folder: Path, dtype: str, where: torch.device | None = None) -> PreTrainedModel:
    """Causal language model of a folder, in evaluation mode; if not said where, on the GPU where there is one.

    Raises:
        UserError: if its weights cannot be read, or are not those that its config describes.
    """
    model = whole_model(str(folder), {"pretrained_model_name_or_path": str(folder), "use_safetensors": True}, dtype)
    return model.to(where or device()).eval()


@phase("loading")
def whole_model(name: str, source: Mapping[str, Any], dtype: str, **where: Any) -> PreTrainedModel:
    """A model as transformers loads it, with no weight made up: where a file lacks one, transformers draws it.

    Args:
        name: what errors call it.
        source: keyword arguments that say where it lies.
        dtype: number format of its weights.
        where: further arguments, on the device for instance.

    Raises:
        UserError: if it cannot be read, weights are absent or of another shape, or some are left over.
    """
    from transformers import AutoModelForCausalLM

    told_of = {"output_loading_info": True, "ignore_mismatched_sizes": True}  # told, and refused below
    with foreign(f"{name}: its weights cannot be loaded"):
        model, told = AutoModelForCausalLM.from_pretrained(
            **source, dtype=getattr(torch, dtype), trust_remote_code=False, **told_of, **where
        )
    for what, why in LOADED_WRONG.items():
        keys = sorted(key if isinstance(key, str) else str(key[0]) for key in told.get(what) or ())
        if what == "unexpected_keys":
            keys = [key for key in keys if OF_A_LAYER.match(key)]  # a tower or another head may lie there
        if keys:
            raise UserError(
                f"{name}: its weights are not those that its config describes ({why}: {len(keys)}, the first "
                f"{keys[0]}); take the whole model, with its own config."
            )
    return cast("PreTrainedModel", model)


def end_ids(settings: Any, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Tokens after which a response is over in both engines: the tokenizer's, and those of the generation settings."""
    listed = getattr(settings, "eos_token_id", None)
    found = listed if isinstance(listed, list) else [listed]
    return {int(token) for token in [*found, tokenizer.eos_token_id] if token is not None}


@phase("loading")
def load_adapter(model: Any, adapter: Path, trainable: bool = False) -> PeftModel:
    """The model with a LoRA adapter folder on top, in evaluation mode; `trainable` to train the adapter on.

    Raises:
        UserError: if it does not load, its weights are not safetensors (PEFT would read a pickle instead), or they are
            not those of the modules that its config names.
    """
    from peft import PeftModel, get_peft_model_state_dict

    if not (adapter / WEIGHTS).is_file():
        raise UserError(f"{adapter}: has no {WEIGHTS}; other formats are not read.")

    with foreign(f"{adapter}: the adapter does not load onto this base"):
        tuned = PeftModel.from_pretrained(
            model, str(adapter), torch_device=str(model.device), is_trainable=trainable
        ).eval()
        given = _tensor_names(adapter / WEIGHTS)
        made = set(get_peft_model_state_dict(tuned, save_embedding_layers=False))
    if given != made:  # PEFT draws what is absent, and leaves out what is left over
        name, what = (min(made - given), "lacks") if made - given else (min(given - made), "holds")
        raise UserError(f"{adapter / WEIGHTS}: {what} {name}, against what {CONFIG} says; take a whole adapter.")
    return tuned


def _tensor_names(file: Path) -> set[str]:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        return set(opened.keys())


@torch.inference_mode()
def next_token_logprobs(model: Any, prompts: list[list[int]]) -> torch.Tensor:
    """Log-probabilities of the next token after each prompt, float32 [prompt, vocabulary]; one prompt at a time."""
    where = next(model.parameters()).device
    rows = []
    for prompt in prompts:
        logits = model(input_ids=torch.tensor([prompt], device=where), use_cache=False, logits_to_keep=1).logits
        rows.append(torch.log_softmax(logits[0, -1].float(), dim=-1).cpu())
    return torch.stack(rows)


@torch.inference_mode()
def answer_logprobs(model: Any, texts: Sequence[tuple[Sequence[int], int]]) -> list[torch.Tensor]:
    """Log-probability of each answer token of each text, float32 [answer token]; one text at a time.

    Args:
        model: a causal language model.
        texts: token ids of each, and how many of them are its prompt.
    """
    where = next(model.parameters()).device
    rows = []
    for ids, start in texts:
        given = torch.tensor([list(ids)], device=where)
        logits = model(input_ids=given, use_cache=False, logits_to_keep=len(ids) - start + 1).logits[0, :-1]
        found = torch.log_softmax(logits.float(), dim=-1).gather(1, given[0, start:, None])
        rows.append(found[:, 0].cpu())
    return rows
