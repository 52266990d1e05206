"""LoRA scalars of others, token by token, in .pt files: dictionaries, also within objects of classes that are not here.

The public ones map the chat-formatted prompt with its answer -> token index -> {layer name: scalar}, the scalars beside
the token's text or within an object.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from workflow_scripts.adapters.tables import ADAPTER_PATTERN
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.text_tables import is_storable

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


def read_scalar_file(path: Path, tokens: Tokens = "answer", first: int = 0) -> pd.DataFrame:
    """Scalars of a file, a row per token: response, question (where the prompts tell it), token, class, and adapters.

    Args:
        path: a .pt file; its class is its name without ending.
        tokens: those of the answer, which the tokens' texts have to tell, or all.
        first: number of its first response; what is said of a response counts from 0 within the file.

    Raises:
        UserError: if the file holds no or several sets of scalars, a token has none, several or other layers than the
            others, or a number is not finite.
    """
    rows, layers = [], None
    for number, (prompt, by_token) in enumerate(_scalar_set(path, _loaded(path)).items()):
        question = QUESTION.findall(str(prompt))
        if not all(map(is_storable, question)):
            raise UserError(
                f"{path}: the question of response {number} holds half a character (a lone surrogate), which cannot be "
                "stored; mend it in the file."
            )
        told = {"question": question[-1].strip()} if question else {}
        entries = dict(sorted(_items(by_token), key=lambda item: item[0]))
        texts = [_text(entry) for entry in entries.values()]
        for place in _answer(path, str(prompt), texts, list(entries)) if tokens == "answer" else entries:
            where = f"{path}: token {place} of response {number}"
            scalars = _token_scalars(where, entries[place])
            layers = layers or scalars.keys()
            if scalars.keys() != layers:
                raise UserError(f"{where} has other layers than those before it.")
            if not all(map(math.isfinite, scalars.values())):
                raise UserError(f"{where} has a scalar that is not finite.")
            rows.append({"response": str(first + number), **told, "token": place, "class": path.stem, **scalars})
    if not rows:
        raise UserError(f"{path}: holds no tokens.")
    strange = [name for name in layers or () if not (ADAPTER_PATTERN.search(name) and is_storable(name))]
    if strange:
        raise UserError(
            f"{path}: {strange[0]!r} is no adapter's name; those with 'layer' or 'block' and a number are read "
            "(layer_15, blocks.15), so name them that way in the file."
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


def _scalar_set(path: Path, value: Any) -> Mapping[Any, Any]:
    """The one part of a value that maps prompts to tokens to scalars.

    Raises:
        UserError: if there is none, or more than one: two classes, batches, or several answers to a prompt.
    """
    found = _scalar_sets(value)
    if not found:
        raise UserError(
            f"{path}: holds no scalars by prompt, token and layer; a scalar is one real number, of a rank-1 adapter."
        )
    if len(found) > 1:
        keys = _listed(key for key, _ in found)
        raise UserError(
            f"{path}: holds {len(found)} sets of scalars by prompt and token ({keys}); save each as a file of its "
            "own, in which a prompt has one answer."
        )
    return found[0][1]


def _scalar_sets(value: Any, key: str = "", depth: int = 0) -> list[tuple[str, Mapping[Any, Any]]]:
    """Every part of a value that maps prompts to tokens to scalars, with the key that it stands at."""
    value = _plain(value)
    if isinstance(value, Mapping) and value and all(map(_is_of_tokens, value.values())):
        return [(key, value)]
    parts = _parts(value) if depth < DEEPEST else []
    return [found for name, part in parts for found in _scalar_sets(part, str(name), depth + 1)]


def _is_of_tokens(value: Any) -> bool:
    """Whether a value is tokens by index or in order; a text beside scalars is one token."""
    value = _plain(value)
    if any(not isinstance(key, int) or isinstance(entry, str) for key, entry in _parts(value)):
        return False
    return any(_mappings(entry) for _, entry in _parts(value))


def _parts(value: Any) -> list[tuple[Any, Any]]:
    """Keys and values of a dictionary, places and values of a sequence; nothing of anything else."""
    return _items(value) if isinstance(value, Mapping | list | tuple) else []


def _token_scalars(where: str, entry: Any) -> dict[str, float]:
    """A token's scalars by layer.

    Raises:
        UserError: if it has none, or more than one set of them, of which nobody says which is meant.
    """
    found = _mappings(entry)
    if len(found) != 1:
        what = f"{len(found)} sets of numbers ({_listed(key for key, _ in found)})" if found else "no scalars"
        raise UserError(f"{where} has {what}; it needs one set, with one number per layer.")
    return found[0][1]


def _mappings(value: Any, key: str = "", depth: int = 0) -> list[tuple[str, dict[str, float]]]:
    """Every dictionary of numbers in a token's entry, with the key that it stands at.

    The entry may be a sequence, such as of a text and the scalars. Sequences further down, and dictionaries by number,
    are not looked into: those are tokens, or answers, one level too deep.
    """
    value = _plain(value)
    if isinstance(value, Mapping):
        numbers = {str(name): _number(part) for name, part in value.items()}
        if numbers and None not in numbers.values():
            return [(key, {name: number for name, number in numbers.items() if number is not None})]
        if any(isinstance(name, int) for name in value):
            return []
    elif depth > 0:
        return []
    parts = _parts(value) if depth < DEEPEST else []
    return [found for name, part in parts for found in _mappings(part, str(name), depth + 1)]


def _text(entry: Any) -> str:
    """A token's text; "" where its entry has none."""
    return next((part for _, part in _parts(_plain(entry)) if isinstance(part, str)), "")


def _listed(keys: Iterable[str]) -> str:
    """Three keys at most, of prompts the beginning."""
    listed = [repr(key[:40]) for key in keys]
    return ", ".join(listed[:3]) + (", …" if len(listed) > 3 else "")


def _number(value: Any) -> float | None:
    """A real number, or a tensor of one, NaN if it is beyond float64; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if abs(value) <= sys.float_info.max else math.nan
    is_one = hasattr(value, "numel") and value.numel() == 1 and not (value.is_complex() or value.is_meta)
    return float(value) if is_one else None


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
