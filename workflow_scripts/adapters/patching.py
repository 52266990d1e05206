"""LoRA-scalar patching (PAPER 8.6, E11): a model answers one prompt with the scalars it had on another.

Two stages. `generate` first answers both prompts of a pair of equal token length and records every adapter's scalar at
every position; then it answers prompt A again with a `plan` of scalars recorded on B, for as many tokens at most as B's
clean response has. Paper and code differ in which positions are patched, so `plan` takes a mode:

- `tokens` (the paper): the recorded scalars at every position, of the prompt and, token by token, of the response.
- `prompt` (the authors' code as it runs): recorded scalars at the prompt's positions; at every generated token that of
  prompt position 0, because the code adds the first len(input) recorded deltas in each forward pass and with a
  key-value cache each later pass has one token. The adapter's own scalar is never used.
- `prompt_only`: recorded scalars at the prompt's positions, the adapter's own at the generated ones: what the code
  would do if it minded the cache.

Sampling adds Gumbel noise that is given per row and step to the logits and takes the largest, which is sampling from
the softmax; the same noise gives the same response, so that clean and patched runs of a prompt are paired. The other
prompt's runs have other noise: common noise makes two answers alike word by word, and the scalars that come in would be
those of a similar text.

A patched answer is cut at the length of the answer whose scalars it takes, and so is the clean answer that it is held
against (`cut`): an unfinished answer is less coherent by itself. The control `own_prompt` gives a prompt the scalars of
another of its own clean runs: what patching does by itself, to whatever prompt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from workflow_scripts.adapters.rank_one import RankOne, rank_one_adapters, scalar
from workflow_scripts.models.drawing import SamplingSettings, adjusted
from workflow_scripts.runtime.errors import UserError

Mode = Literal["tokens", "prompt", "prompt_only"]
Noise = Callable[[int], Tensor]
"""Step (from 0) -> noise [row, vocabulary] float32 that is added to logits / temperature."""

GOLDEN = 0x9E3779B97F4A7C15 - 2**64
"""What SplitMix64 adds to its state from one number to the next."""


@dataclass(frozen=True)
class Runs:
    """Responses to one prompt.

    token_ids: of each row's response, end token included. scalars: float32 [row, position, adapter] at the positions
    that the model read: the prompt and all of a response but its last token; NaN beyond a row's own end.
    """

    prompt: tuple[int, ...]
    token_ids: tuple[tuple[int, ...], ...]
    scalars: Tensor


def gumbel_noise(seeds: Sequence[int], vocabulary: int, device: torch.device | str = "cpu") -> Noise:
    """Standard Gumbel noise that depends on a row's seed and the step alone, not on the batch that the row is in.

    Drawn where it is used: on the CPU by a generator for each row, elsewhere by `hashed_gumbel`. The streams differ.
    """
    where = torch.device(device)

    def noise(step: int) -> Tensor:
        digests = [hashlib.sha256(f"{seed}:{step}".encode()).digest()[:8] for seed in seeds]
        keys = [int.from_bytes(digest, "big") >> 1 for digest in digests]
        if where.type != "cpu":
            return hashed_gumbel(torch.tensor(keys, device=where), vocabulary)
        generators = [torch.Generator().manual_seed(key) for key in keys]
        return torch.stack([-torch.empty(vocabulary).exponential_(generator=made).log() for made in generators])

    return noise


def hashed_gumbel(keys: Tensor, vocabulary: int) -> Tensor:
    """Standard Gumbel noise [key, vocabulary] float32 from each key's SplitMix64 stream, on the keys' device.

    A number depends on its key and its place alone, and its integers are the same on every device.

    Args:
        keys: int64 [key].
    """
    mixed = splitmix64(keys[:, None] + torch.arange(1, vocabulary + 1, device=keys.device) * GOLDEN)
    uniform = (_shifted(mixed, 12).double() + 0.5) * 2.0**-52
    return -(-uniform.log()).log().float()


def splitmix64(states: Tensor) -> Tensor:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014) of 64-bit states, held as int64."""
    mixed = (states ^ _shifted(states, 30)) * (0xBF58476D1CE4E5B9 - 2**64)
    mixed = (mixed ^ _shifted(mixed, 27)) * (0x94D049BB133111EB - 2**64)
    return mixed ^ _shifted(mixed, 31)


def _shifted(bits: Tensor, places: int) -> Tensor:
    """To the right, with zeros from the left; torch copies the sign."""
    return (bits >> places) & (2 ** (64 - places) - 1)


def plan(recorded: Runs, length: int, mode: Mode) -> Tensor:
    """Scalars to be patched in, float32 [row, position, adapter] for `length` positions; NaN is the adapter's own.

    Args:
        recorded: clean runs on the prompt that the scalars come from.
        length: positions of the longest patched run, its prompt included.
        mode: which positions are patched; see this module's docstring.
    """
    prompt = len(recorded.prompt)
    rows, known, adapters = recorded.scalars.shape
    made = torch.full((rows, max(length, prompt), adapters), float("nan"))
    copied = min(known, made.shape[1]) if mode == "tokens" else prompt
    made[:, :copied] = recorded.scalars[:, :copied]
    if mode == "prompt":
        made[:, prompt:] = recorded.scalars[:, :1]
    return made


@torch.inference_mode()
def generate(
    model: Any,
    prompt: Sequence[int],
    limits: Sequence[int],
    noise: Noise,
    ends: Sequence[int],
    settings: SamplingSettings,
    patch: Tensor | None = None,
) -> Runs:
    """One response per row to the same prompt, with a key-value cache.

    Args:
        model: a PEFT model with rank-1 adapters, in evaluation mode.
        prompt: token ids.
        limits: most tokens of each row's response, at least 1, [row].
        noise: of each step, on the model's device.
        ends: token ids that end a response.
        settings: of the study; at temperature 0 there is no noise. `limits` stand for its max_tokens.
        patch: as `plan` makes it; None leaves every adapter alone.

    Returns:
        The responses, with the scalars that were written: patched ones where they were patched.
    """
    rows, device = len(limits), next(model.parameters()).device
    adapters = rank_one_adapters(model)
    fed = text = torch.tensor([list(prompt)] * rows, device=device)
    responses: list[list[int]] = [[] for _ in range(rows)]
    open_rows, cache, read = set(range(rows)), None, []
    position = 0
    with _patched(adapters) as state:
        for step in range(max(limits)):
            state.scalars = None if patch is None else patch[:, position : position + fed.shape[1]].to(device)
            output = model(input_ids=fed, past_key_values=cache, use_cache=True, logits_to_keep=1)
            read.append(torch.stack([state.written[adapter.name] for adapter in adapters], dim=-1))
            position += fed.shape[1]
            cache, logits = output.past_key_values, output.logits[:, -1].float()
            scores = adjusted(logits, text, settings)
            drawn = (scores + noise(step) if settings.temperature else scores).argmax(-1).tolist()
            for row in sorted(open_rows):
                responses[row].append(drawn[row])
                if drawn[row] in ends or len(responses[row]) == limits[row]:
                    open_rows.remove(row)
            if not open_rows:
                break
            fed = torch.tensor(drawn, device=device)[:, None]
            text = torch.cat([text, fed], dim=1)
    scalars = torch.cat(read, dim=1).cpu()
    for row, response in enumerate(responses):
        scalars[row, len(prompt) + len(response) - 1 :] = float("nan")
    return Runs(tuple(prompt), tuple(map(tuple, responses)), scalars)


def clean_pair(
    model: Any,
    prompts: tuple[Sequence[int], Sequence[int]],
    seeds: tuple[Sequence[int], Sequence[int]],
    ends: Sequence[int],
    settings: SamplingSettings,
) -> tuple[Runs, Runs]:
    """Clean runs of both prompts, one row per seed of each.

    Raises:
        UserError: if the prompts have different lengths, so that positions do not correspond.
    """
    if len(prompts[0]) != len(prompts[1]):
        raise UserError(
            f"patching: the prompts of a pair have {len(prompts[0])} and {len(prompts[1])} tokens; "
            "reword one so that both have the same number."
        )
    first, second = (
        generate(model, prompt, [settings.max_tokens] * len(of), _noise_for(model, of), ends, settings)
        for prompt, of in zip(prompts, seeds, strict=True)
    )
    return first, second


def cut(clean: tuple[Runs, Runs]) -> tuple[Runs, Runs]:
    """Each prompt's clean runs, none longer than the other's run of the same row, as patched ones are."""
    first, second = (
        replace(mine, token_ids=tuple(t[: len(o)] for t, o in zip(mine.token_ids, other.token_ids, strict=True)))
        for mine, other in zip(clean, clean[::-1], strict=True)
    )
    return first, second


def patched_with(
    model: Any,
    clean: tuple[Runs, Runs],
    seeds: tuple[Sequence[int], Sequence[int]],
    ends: Sequence[int],
    mode: Mode,
    settings: SamplingSettings,
    own: bool = False,
) -> tuple[Runs, Runs]:
    """Each prompt again, with the scalars of the other's clean runs; no response is longer than theirs.

    Args:
        model: as `generate` takes it.
        clean: runs of both prompts, as `clean_pair` made them.
        seeds: of each prompt's noise: those of its clean runs.
        ends: token ids that end a response.
        mode: which positions are patched.
        settings: of the sampling.
        own: take the scalars of the next of the prompt's own clean runs instead, with the same limits: where that run
            ends earlier, the adapter's own scalars go on.
    """
    patched = []
    for side, (target, other) in enumerate(zip(clean, clean[::-1], strict=True)):
        lengths = [len(response) for response in other.token_ids]
        source = replace(target, scalars=target.scalars.roll(1, dims=0)) if own else other
        scalars = plan(source, len(target.prompt) + max(lengths), mode)
        noise = _noise_for(model, seeds[side])
        patched.append(generate(model, target.prompt, lengths, noise, ends, settings, scalars))
    return patched[0], patched[1]


def _noise_for(model: Any, seeds: Sequence[int]) -> Noise:
    return gumbel_noise(seeds, model.config.get_text_config().vocab_size, next(model.parameters()).device)


class _State:
    """What the hooks share with the loop: the scalars of the pass to come, and those of the pass just made."""

    def __init__(self) -> None:
        self.scalars: Tensor | None = None
        self.written: dict[str, Tensor] = {}


@contextmanager
def _patched(adapters: Sequence[RankOne]) -> Iterator[_State]:
    """Replaces each adapter's scalars [row, position] by the state's [row, position, adapter] where it is not NaN."""
    state = _State()

    def hook(column: int, adapter: RankOne) -> Any:
        def replace(_module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            own = scalar(adapter, inputs[0])
            new = own if state.scalars is None else state.scalars[..., column]
            written = torch.where(new.isnan(), own, new)
            state.written[adapter.name] = written
            return output if state.scalars is None else written.unsqueeze(-1).to(output.dtype)

        return replace

    handles = [adapter.reader.register_forward_hook(hook(i, adapter)) for i, adapter in enumerate(adapters)]
    try:
        yield state
    finally:
        for handle in handles:
            handle.remove()
