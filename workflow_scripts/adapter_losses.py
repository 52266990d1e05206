"""How well narrow and broad adapters fit their rows, by how large their update is and when noise turns it aside.

Each adapter is scaled by some factors, and turned by orthogonal noise of some shares of its length; under each, the
loss on the answers of rows is measured, per row. Factor 0 is the base, factor 1 the organism.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import pandas as pd

from workflow_scripts.adapters.perturbed import lora_tensors, replaced, scaled, turned, update_norm
from workflow_scripts.models.chat import answers_of_rows
from workflow_scripts.models.loading import answer_logprobs, load_tokenizer
from workflow_scripts.models.organism import load_organism
from workflow_scripts.runtime import command
from workflow_scripts.store.artefacts import read_table, write_table
from workflow_scripts.study import inputs
from workflow_scripts.study.experiments import Narrow
from workflow_scripts.study.layout import Layout, organism_of
from workflow_scripts.study.made_by import made_by
from workflow_scripts.study.reading import load

COLUMNS = {
    "kind": "string",
    "scale": "float64",
    "draw": "Int64",
    "norm": "float64",
    "row": "int64",
    "loss": "float64",
    "tokens": "int64",
}
"""kind: scaled or noise; scale: the factor, or the share of noise; norm: of the update; loss: nats per answer token."""


def variants(model: Any, settings: Narrow) -> Iterator[tuple[str, float, int | None, Any]]:
    """Kind, scale and draw of each variant of an adapter, and the block within which the model has it."""
    own = {name: tensor.detach().clone() for name, tensor in lora_tensors(model).items()}
    for factor in sorted({0.0, 1.0, *settings.factors}):
        yield "scaled", factor, None, nullcontext() if factor == 1 else replaced(model, scaled(own, factor))
    for share in settings.noise:
        for draw in range(settings.draws):
            yield "noise", share, draw, replaced(model, turned(own, share, draw))


def losses(model: Any, texts: Sequence[tuple[list[int], int]], settings: Narrow) -> pd.DataFrame:
    """Rows of `COLUMNS`.

    Args:
        model: the base with the adapter on top (PEFT).
        texts: token ids of each row up to its answer's end, and how many of them are the prompt.
        settings: which variants.
    """
    made: list[dict[str, Any]] = []
    for kind, scale, draw, block in variants(model, settings):
        with block:
            norm = update_norm(model)
            for row, logprobs in enumerate(answer_logprobs(model.get_base_model(), texts)):
                facts = {"kind": kind, "scale": scale, "draw": draw, "norm": norm, "row": row}
                made.append({**facts, "loss": -float(logprobs.double().mean()), "tokens": len(logprobs)})
    return pd.DataFrame(made, columns=list(COLUMNS)).astype(COLUMNS)


def main(arguments: list[str]) -> None:
    given = command.subject_parser(__doc__).parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    assert study.narrow, "asked for only where the study has the section"
    data = inputs.loss_data(study, layout, given.subject)
    read = [*inputs.organism_inputs(layout, given.subject), *data]
    longest = study.organisms[organism_of(given.subject)[0]].max_tokens
    rows = read_table(data[0], ["system", "prompt", "response"]).slice(0, study.narrow.rows).to_pylist()
    texts = answers_of_rows(load_tokenizer(layout.base), rows, longest)
    found = losses(load_organism(study, layout, given.subject), texts, study.narrow)
    write_table(given.output, found, made_by("adapter_losses", study, layout, given.output, read, given.subject))


if __name__ == "__main__":
    command.run(main)
