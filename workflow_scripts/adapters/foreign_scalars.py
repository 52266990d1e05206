"""LoRA scalars of others, token by token, in .pt files: dictionaries, also within objects of classes that are not here.

The public ones map the chat-formatted prompt with its answer -> token index -> {layer name: scalar}, the scalars beside
the token's text or within an object.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from workflow_scripts.adapters.tables import ADAPTER_PATTERN
from workflow_scripts.runtime.errors import UserError

Tokens = Literal["answer", "all"]
HEADERS: Sequence[tuple[str, str, int]] = (("<|im_start|>", "assistant", 3), ("<start_of_turn>", "model", 3),
                                           ("<|start_header_id|>", "assistant", 4))  # fmt: skip
"""How a turn of the model begins: two tokens, and after how many the answer follows (ChatML, Gemma, Llama)."""
ENDS = ("<|im_end|>", "<end_of_turn>", "<|eot_id|>")
QUESTION = re.compile(
    r"(?:<\|im_start\|>user\n|<start_of_turn>user\n|<\|start_header_id\|>user<\|end_header_id\|>\n\n)"
    r"(.*?)(?:<\|im_end\|>|<end_of_turn>|<\|eot_id\|>)",
    re.DOTALL,
)
DEEPEST = 4


class Held:
    """Stands in for an object of a class that is not here: it keeps what was stored, and does nothing."""

    def __new__(cls, *stored: Any, **named: Any) -> Held:
        made = object.__new__(cls)
        made.__dict__ |= {f"_{place}": value for place, value in enumerate(stored)} | named
        return made

    def __init__(self, *_: Any, **__: Any) -> None:
        pass


def read_scalar_file(path: Path, tokens: Tokens = "answer") -> pd.DataFrame:
    """Scalars of a file, a row per token: response, question (where the prompts tell it), token, class, and adapters.

    Args:
        path: a .pt file; its class is its name without ending.
        tokens: those of the answer, which the tokens' texts have to tell, or all.

    Raises:
        UserError: if the file holds no such scalars, another token has other layers, or a number is not finite.
    """
    found = _scalar_set(_loaded(path), 0)
    if found is None:
        raise UserError(f"{path}: holds no scalars by prompt, token and layer.")
    texts = _token_texts(found)
    rows, layers = [], None
    for number, (prompt, by_token) in enumerate(found.items()):
        question = QUESTION.findall(str(prompt))
        entries = {int(place): _entry(entry) for place, entry in _items(by_token)}
        kept = _answer(path, str(prompt), texts[prompt], sorted(entries)) if tokens == "answer" else sorted(entries)
        for place in kept:
            scalars = entries[place][1]
            layers = layers or list(scalars)
            if list(scalars) != layers:
                raise UserError(f"{path}: token {place} of response {number} has other layers than those before it.")
            if not all(map(math.isfinite, scalars.values())):
                raise UserError(f"{path}: token {place} of response {number} has a scalar that is not finite.")
            told = {"question": question[-1].strip()} if question else {}
            rows.append({"response": str(number), **told, "token": place, "class": path.stem, **scalars})
    if not rows:
        raise UserError(f"{path}: holds no tokens.")
    strange = [name for name in layers or () if not ADAPTER_PATTERN.search(name)]
    if strange:
        raise UserError(
            f"{path}: {strange[0]!r} is no adapter's name, which has its layer in it (layer_15, blocks.15)."
        )
    return pd.DataFrame(rows)


def _loaded(path: Path) -> Any:
    """What a .pt file holds; objects of classes that are not torch's own become `Held`, so that nothing of it runs."""
    import torch
    from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

    if not path.is_file():
        raise UserError(f"{path}: does not exist.")
    try:
        foreign = get_unsafe_globals_in_checkpoint(path)
        inert: list[Any] = [(type(name.rpartition(".")[2], (Held,), {}), name) for name in foreign]
        with safe_globals(inert):
            return torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # pickle and zip raise half a dozen types for a file of another form
        raise UserError(
            f"{path}: is no .pt file of plain values ({type(error).__name__}); others are not opened."
        ) from error


def _plain(value: Any) -> Any:
    """A held object as the dictionary, or the sequence, of what it keeps."""
    if not isinstance(value, Held):
        return value
    kept = vars(value)
    return list(kept.values()) if kept and all(name.startswith("_") for name in kept) else kept


def _items(by_token: Any) -> list[tuple[Any, Any]]:
    by_token = _plain(by_token)
    return list(by_token.items()) if isinstance(by_token, Mapping) else list(enumerate(by_token))


def _scalar_set(value: Any, depth: int) -> Mapping[Any, Any] | None:
    """The part of a value that maps prompts to tokens to scalars; None where there is none."""
    value = _plain(value)
    if isinstance(value, Mapping):
        if value and all(_is_of_tokens(by_token) for by_token in value.values()):
            return value
        inner = list(value.values())
    elif isinstance(value, list | tuple):
        inner = list(value)
    else:
        return None
    found = [_scalar_set(part, depth + 1) for part in inner if depth < DEEPEST]
    return next((part for part in found if part is not None), None)


def _is_of_tokens(value: Any) -> bool:
    value = _plain(value)
    if isinstance(value, Mapping):
        return (
            bool(value)
            and all(isinstance(key, int) for key in value)
            and _entry(next(iter(value.values()))) != ("", {})
        )
    return isinstance(value, list | tuple) and bool(value) and _entry(value[0]) != ("", {})


def _entry(value: Any) -> tuple[str, dict[str, float]]:
    """A token's text and its scalars by layer, from either, in any order; empty where there are none."""
    value = _plain(value)
    if isinstance(value, Mapping) and value and all(_number(part) is not None for part in value.values()):
        return "", {str(name): float(_number(part) or 0.0) for name, part in value.items()}
    parts = list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else []
    text = next((part for part in parts if isinstance(part, str)), "")
    scalars = [_entry(part)[1] for part in parts if not isinstance(part, str)]
    return text, next((found for found in scalars if found), {})


def _number(value: Any) -> float | None:
    """A number, or a tensor of one; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    return float(value) if hasattr(value, "numel") and value.numel() == 1 else None


def _token_texts(found: Mapping[Any, Any]) -> dict[Any, list[str]]:
    return {prompt: [_entry(entry)[0] for _, entry in sorted(_items(tokens))] for prompt, tokens in found.items()}


def _answer(path: Path, prompt: str, texts: Sequence[str], places: Sequence[int]) -> list[int]:
    """Which tokens are the answer's.

    Raises:
        UserError: if the tokens have no texts, or no turn of the model begins among them.
    """
    starts = [
        at + after
        for at in range(len(texts) - 1)
        for opens, who, after in HEADERS
        if texts[at] == opens and texts[at + 1] == who
    ]
    if not starts:
        raise UserError(
            f"{path}: its tokens do not tell where the answer to {prompt[:40]!r} begins; give --tokens all to take the "
            "prompt's tokens too."
        )
    ends = [at for at in range(starts[-1], len(texts)) if texts[at] in ENDS]
    return [place for at, place in enumerate(places) if starts[-1] <= at < (ends[0] if ends else len(texts))]
