"""A direction's file: the mean differences of a model that reads texts of two sides, and what they were taken of."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workflow_scripts.models.activations import group_means
from workflow_scripts.models.direction_reading import check_form
from workflow_scripts.models.direction_texts import ALIGNED, MISALIGNED, Text, shuffled_sides, spans
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import read_tensors, tensors_digest, write_tensors
from workflow_scripts.study.conditions import total_layers, used_layers
from workflow_scripts.study.experiments import DirectionFile, Directions, called
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    from torch import Tensor


def mean_differences(
    settings: Directions, model: Any, tokenizer: Any, texts: list[Text], shuffled: list[list[int]], batch_tokens: int
) -> dict[str, Tensor]:
    """The tensors of a direction's file, float32 (Soligo et al. 2025, section 3.1).

    direction, misaligned_mean, aligned_mean: [layer, d_model]; activation_norm, the mean length of single activations:
    [layer]; shuffled, directions under shuffled labels: [draw, layer, d_model]. A direction is the mean over misaligned
    minus the mean over aligned answer tokens and is not normalised, so that a steering scale of 1 adds one mean
    difference.
    """
    read = spans(tokenizer, texts, settings, shuffled)
    found = group_means(model, read, 2 + 2 * len(shuffled), batch_tokens)
    differences = (found.mean[0::2] - found.mean[1::2]).float()
    return {
        "direction": differences[0].clone(),
        "misaligned_mean": found.mean[MISALIGNED].float(),
        "aligned_mean": found.mean[ALIGNED].float(),
        "activation_norm": found.norm[:2].mean(0).float(),
        "shuffled": differences[1:].clone(),
    }


def write_direction(
    file: Path,
    made_by: Mapping[str, str],
    settings: Directions,
    subject: str,
    model: Any,
    tokenizer: Any,
    texts: list[Text],
    batch_tokens: int,
) -> None:
    """Takes the direction of a subject's texts and writes its file; `made_by` is its provenance, completed here.

    Shuffles within questions are each subject's own: two that read the same data sets would share them otherwise, and
    so the directions of shuffled labels.
    """
    shuffled = shuffled_sides(texts, str(settings.seed), subject, settings.shuffles)
    tensors = mean_differences(settings, model, tokenizer, texts, shuffled, batch_tokens)
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise UserError(
            f"{subject}: activations are not finite, so that it has no direction: its numbers overflow or its weights "
            "are damaged; where base.dtype is float16, use bfloat16 or float32."
        )
    counts = Counter(text.side for text in texts)
    facts = {"misaligned": str(counts[MISALIGNED]), "aligned": str(counts[ALIGNED]), "tokens": settings.tokens}
    write_tensors(file, tensors, {**made_by, **facts, **vector_digests(tensors)})


def vector_digests(tensors: dict[str, Tensor]) -> dict[str, str]:
    """What names a direction, and those of shuffled labels, in the stores: facts of its file."""
    return {
        fact: tensors_digest({name: tensors[name]})
        for fact, name in (("vectors", "direction"), ("shuffled_vectors", "shuffled"))
    }


def imported_direction(study: Study, layout: Layout, name: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A direction that the study names by file, held against the study's base: tensors and provenance.

    The tensors are those of `mean_differences` that a direction is used with: direction, activation_norm (0 where the
    file says nothing) and shuffled (none likewise).

    Raises:
        UserError: if the file is not of this project's form, not of this base, or holds a number that is not finite,
            zeros in a layer that the study uses, or norms that are none.
    """
    import torch
    from transformers import AutoConfig

    place, given = next(
        (section, part.source)
        for section, part in (("steering", study.steering), ("ablation", study.ablation))
        if part and isinstance(part.source, DirectionFile) and part.source.called == name
    )
    file, layers, draws = Path(given.file), total_layers(study), study.ablation.shuffled_draws if study.ablation else 0
    place, config = f"{place}.source.file", AutoConfig.from_pretrained(layout.base, trust_remote_code=False)
    width = config.get_text_config().hidden_size
    try:
        check_form(file)
        found, facts = read_tensors(file, ["direction"])
    except UserError as error:
        raise UserError(f"{place}: {error}") from error
    for tensor in ("direction", "activation_norm", "shuffled"):
        if tensor in found and not found[tensor].is_floating_point():
            kind = str(found[tensor].dtype).removeprefix("torch.")
            raise UserError(f"{place}: {file} holds `{tensor}` in {kind}; save it in float32.")
    direction = found["direction"].float()
    if list(direction.shape) != [layers, width]:
        raise UserError(
            f"{place}: {file} has the shape {list(direction.shape)} [layer, d_model]; the study's base has "
            f"{[layers, width]}."
        )
    norms = direction.double().norm(dim=1)
    used = used_layers(study, name)
    wrong = [
        layer for layer, norm in enumerate(norms.tolist()) if not math.isfinite(norm) or (not norm and layer in used)
    ]
    if wrong:
        raise UserError(f"{place}: {file} holds a vector that is zero or not finite, of layer {wrong[0]}.")
    shuffled = found.get("shuffled", torch.zeros(0, layers, width)).float()
    if shuffled.shape[1:] != direction.shape or not shuffled.isfinite().all():
        raise UserError(f"{place}: {file} holds `shuffled` of another shape, or with numbers that are not finite.")
    ablates = study.ablation is not None and called(study.ablation.source) == name
    if ablates and len(shuffled) < draws:
        raise UserError(
            f"{place}: {file} has {len(shuffled)} directions of shuffled labels; ablation.shuffled_draws asks for "
            f"{draws}."
        )
    idle = (shuffled[:draws, sorted(used)].norm(dim=-1) == 0).any(1).tolist() if ablates else []
    if any(idle):
        raise UserError(
            f"{place}: {file} holds a vector of zeros in `shuffled`, of draw {idle.index(True)}, which would control "
            "nothing; set ablation.shuffled_draws to 0."
        )
    length = found.get("activation_norm", torch.zeros(layers)).float()
    if list(length.shape) != [layers] or not (length.isfinite() & (length >= 0)).all():
        raise UserError(
            f"{place}: {file} holds `activation_norm` that is not one length per layer, {layers} numbers from 0 on; "
            "leave it out where it is not known."
        )
    return {"direction": direction, "activation_norm": length, "shuffled": shuffled}, facts
