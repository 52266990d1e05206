"""Loading of language models and adapters in transformers and PEFT."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from workflow_scripts.models.chat import set_template
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.adapter_files import WEIGHTS

TEMPLATE_SETTINGS = "template_settings.json"
"""In a base's folder: `base.template`, where the study has it; fingerprinted with the rest."""

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

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder}: its tokenizer cannot be loaded ({str(error).splitlines()[0]}).") from error
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

    try:
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise UserError(f"{folder}: is not a model that transformers knows ({reason}).") from error


def load_model(folder: Path, dtype: str, where: torch.device | None = None) -> PreTrainedModel:
    """Causal language model of a folder, in evaluation mode; if not said where, on the GPU where there is one."""
    from transformers import AutoModelForCausalLM

    try:
        model = AutoModelForCausalLM.from_pretrained(
            str(folder), dtype=getattr(torch, dtype), use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder}: its weights cannot be loaded ({str(error).splitlines()[0]}).") from error
    return model.to(where or device()).eval()


def load_adapter(model: Any, adapter: Path) -> PeftModel:
    """The model with a LoRA adapter folder on top, in evaluation mode.

    Raises:
        UserError: if it does not load, or its weights are not safetensors (PEFT would read a pickle instead).
    """
    from peft import PeftModel

    if not (adapter / WEIGHTS).is_file():
        raise UserError(f"{adapter}: has no {WEIGHTS}; other formats are not read.")

    try:
        return PeftModel.from_pretrained(model, str(adapter), torch_device=str(model.device)).eval()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(
            f"{adapter}: the adapter does not load onto this base ({str(error).splitlines()[0]})."
        ) from error


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
