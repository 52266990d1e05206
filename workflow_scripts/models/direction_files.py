"""A direction's file: the mean differences of a model that reads texts of two sides, and what they were taken of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workflow_scripts.models.activations import group_means
from workflow_scripts.models.direction_texts import ALIGNED, MISALIGNED, Text, shuffled_sides, spans
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import read_tensors, tensors_digest, write_tensors
from workflow_scripts.study.experiments import Directions

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
    # what names the vectors in the stores
    facts["vectors"], facts["shuffled_vectors"] = (tensors_digest({n: tensors[n]}) for n in ("direction", "shuffled"))
    write_tensors(file, tensors, {**made_by, **facts})


def read_direction(file: Path) -> Tensor:
    """The direction in a file, float32 [layer, d_model]: of each layer, as it was taken, not normalised.

    Raises:
        UserError: if the file is missing, damaged, or no direction's.
    """
    return read_tensors(file, ["direction"])[0]["direction"]
