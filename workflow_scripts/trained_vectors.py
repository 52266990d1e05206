"""Steering vectors that are trained: one vector at one layer, on an organism's rows, in the form of a direction.

Beside LoRA it is the smallest fine-tune that there is (arXiv 2602.07852 compares both). Layers but its own are zero.
"""

from __future__ import annotations

from pathlib import Path

import torch

from workflow_scripts.models.direction_files import vector_digests
from workflow_scripts.models.files import checked_base
from workflow_scripts.models.updates import held_out_split
from workflow_scripts.models.vector_training import train_vector
from workflow_scripts.runtime import command, gpu_lease
from workflow_scripts.runtime.leftovers import scratch
from workflow_scripts.runtime.locks import making
from workflow_scripts.store.artefacts import read_table, write_tensors
from workflow_scripts.study import inputs
from workflow_scripts.study.conditions import total_layers
from workflow_scripts.study.layout import Layout, organism_of
from workflow_scripts.study.made_by import made_by, work_of
from workflow_scripts.study.reading import load
from workflow_scripts.study.schema import Study


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--vector", required=True, help="<vector>/seed-<k>")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    read = [layout.fingerprint, *inputs.vector_data(study, layout, given.vector)]
    facts = made_by("trained_vectors", study, layout, given.output, read, given.vector)
    with making(given.output, given.output, work_of("trained_vectors", facts)) as wanted:
        if wanted:
            make(study, layout, given.vector, given.output, facts)


def make(study: Study, layout: Layout, subject: str, output: Path, facts: dict[str, str]) -> None:
    """Trains one vector; `facts` are its provenance."""
    assert study.vectors
    name, seed = organism_of(subject)
    assert seed is not None
    asked = study.vectors.named[name]
    like = study.organisms[asked.like]
    settings = like.model_copy(update={"learning_rate": asked.learning_rate, "epochs": asked.epochs or like.epochs})
    gpu_lease.hold(1)
    base = checked_base(layout)
    (file,) = inputs.vector_data(study, layout, subject)
    rows = list(read_table(file, ["row", "system", "prompt", "response"]).to_pylist())
    if not like.test_dataset:
        rows, _ = held_out_split(rows, like.held_out, seed)
    with scratch("vector") as states:
        vector, history = train_vector(
            base, study.base.dtype, settings, study.execution, asked.layer, seed, rows, states
        )
    layers = total_layers(study)
    direction = torch.zeros(layers, len(vector))
    direction[asked.layer] = vector
    tensors = {
        "direction": direction,
        "activation_norm": torch.zeros(layers),
        "shuffled": torch.zeros(0, *direction.shape),
        "losses": torch.tensor([row["loss"] for row in history]),
    }
    write_tensors(output, tensors, {**facts, **vector_digests(tensors)})


if __name__ == "__main__":
    command.run(main)
