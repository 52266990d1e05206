"""Where a single rank-1 adapter pushes the layers after it, beside where the added direction pushes them (appendix D).

The organism's own judged responses are read by the chat base, by the organism, by the chat base with the source's
direction added at the adapter's layer, and with random directions of the same length instead. A push is the mean over
answer tokens of the activations minus the chat base's; compared are the organism's push and each of the others', layer
by layer, for misaligned and aligned responses apart. The added direction has `relative_norm` times the length of the
mean activation at that layer (the authors' code: .6). That is the norm of the mean over aligned tokens, not the mean of
the tokens' norms, which is several times as long (PAPER 4.3, 5.8: λ about 3.3 on Qwen2.5-14B).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from workflow_scripts.models.activations import WeightedSpan, group_means
from workflow_scripts.models.direction_texts import spans, texts_from
from workflow_scripts.models.interventions import random_direction
from workflow_scripts.models.loading import load_tokenizer
from workflow_scripts.models.organism import load_organism
from workflow_scripts.models.residual import LayerChange, intervened
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import NotPossible
from workflow_scripts.store.absence import require, write_absent
from workflow_scripts.store.artefacts import read_tensors, write_table
from workflow_scripts.study import inputs
from workflow_scripts.study.conditions import edit_sources, only_layer
from workflow_scripts.study.layout import Layout, organism_of
from workflow_scripts.study.made_by import made_by
from workflow_scripts.study.reading import load
from workflow_scripts.study.schema import Study

SIDES = ("misaligned", "aligned")


Comparison = tuple[str, int | None]
"""What is added: `direction`, or `random` and the number of the draw."""


def added_changes(study: Study, layout: Layout, subject: str) -> dict[Comparison, LayerChange]:
    """The source's direction and random ones of equal length at the adapter's layer."""
    settings = study.single_adapter
    assert settings, "checked when the study was loaded"
    organism, _ = organism_of(subject)
    layer = only_layer(study.organisms[organism])
    (source,) = edit_sources(study, subject)
    kept, _ = read_tensors(layout.direction(source), ["direction", "aligned_mean"])
    vector = kept["direction"][layer]
    scale = settings.relative_norm * float(kept["aligned_mean"][layer].norm() / vector.norm())
    drawn: dict[Comparison, LayerChange] = {
        ("random", draw): LayerChange(layer, "add", random_direction(vector, f"downstream:{draw}"), scale)
        for draw in range(settings.random_draws)
    }
    return {("direction", None): LayerChange(layer, "add", vector, scale), **drawn}


def pushes(
    model: Any, changes: dict[Comparison, LayerChange], read: Sequence[WeightedSpan], batch_tokens: int
) -> list[dict[str, Any]]:
    """A row per side, layer and comparison, with the cosine of the organism's push and the other's.

    Args:
        model: the chat base with the organism's adapter on top (PEFT).
        changes: what is added to the chat base.
        read: spans of the misaligned (group 0) and aligned (group 1) texts.
        batch_tokens: padded tokens read at once.
    """
    from torch.nn.functional import cosine_similarity

    tuned = group_means(model, read, 2, batch_tokens).mean
    rows = []
    with model.disable_adapter():
        plain = group_means(model, read, 2, batch_tokens).mean
        for (comparison, draw), change in changes.items():
            with intervened(model, [change]):
                steered = group_means(model, read, 2, batch_tokens).mean
            cosines = cosine_similarity(tuned - plain, steered - plain, dim=-1)
            for side, by_layer in zip(SIDES, cosines.tolist(), strict=True):
                rows += [
                    {"side": side, "comparison": comparison, "draw": draw, "layer": layer, "cosine": cosine}
                    for layer, cosine in enumerate(by_layer)
                    if layer >= change.layer
                ]
    return rows


def main(arguments: list[str]) -> None:
    given = command.subject_parser(__doc__).parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    read = [
        *inputs.organism_inputs(layout, given.subject),
        *inputs.downstream_directions(study, layout, given.subject),
        *inputs.direction_texts(study, layout, study.directions.source, given.subject),
    ]
    facts = made_by("downstream", study, layout, given.output, read, given.subject)
    try:
        texts = texts_from(study.directions.source, study, layout, given.subject)
        for source in edit_sources(study, given.subject):
            require(layout.direction(source))
    except NotPossible as lack:
        write_absent(given.output, lack, facts)
        return
    spans_read = spans(load_tokenizer(layout.base), texts, study.directions)
    model = load_organism(study, layout, given.subject)
    rows = pushes(model, added_changes(study, layout, given.subject), spans_read, study.execution.batch_tokens)
    frame = pd.DataFrame(rows).astype({"draw": "Int64"}).assign(responses=len(texts))
    write_table(given.output, frame, facts)


if __name__ == "__main__":
    command.run(main)
