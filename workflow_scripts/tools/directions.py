"""Directions of others: brought into the form of this project's, and held against each other.

  python -m workflow_scripts.tools directions import BAD.pt GOOD.pt --first-row out-of --tokens answer --output OURS
  python -m workflow_scripts.tools directions compare A.safetensors B.safetensors … --layers 0 12 24

`import` takes one file of directions by layer, or the means of two sides, whose difference is the direction; from
safetensors, or .pt files of plain tensors; of a file with one vector, `--layer 24 --model-layers 48` say where it
belongs. `compare` prints each direction's norm and all cosines, layer by layer, and
how large a cosine is by chance: of random directions, and of directions under shuffled labels where a file has them.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from workflow_scripts.models.direction_reading import read_direction
from workflow_scripts.models.foreign_directions import read_by_layer, read_one
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import (
    canonical,
    file_digest,
    provenance,
    read_tensors,
    write_table,
    write_tensors,
)

if TYPE_CHECKING:
    from torch import Tensor

CHANCE = 0.975
"""Share of chance cosines below the bound that is printed, of absolute values."""


def bring_in(given: argparse.Namespace) -> None:
    """Writes the direction's file: `direction`, and `misaligned_mean` and `aligned_mean` where two sides are given."""
    if (given.layer is None) != (given.model_layers is None):
        raise UserError("--layer and --model-layers go together: where the one vector belongs, of how many layers.")
    if given.layer is not None and given.first_row == "into":
        raise UserError(
            "--first-row into: --layer is the layer that the vector comes out of; of one that goes into a layer, give "
            "the layer before, and --first-row out-of."
        )
    if not (given.tokens.strip() and given.tokens.isprintable()):
        raise UserError(f"--tokens: {given.tokens!r} is no word that says of which tokens the means are.")
    sides = [
        read_by_layer(file, given.first_row) if given.layer is None else read_one(file, given.layer, given.model_layers)
        for file in given.files
    ]
    if len({tuple(side.shape) for side in sides}) > 1:
        shapes = " and ".join(str(list(side.shape)) for side in sides)
        raise UserError(f"{given.files[0]} and {given.files[1]}: have the shapes {shapes}, [layer, d_model].")
    tensors = {"direction": sides[0]}
    if len(sides) == 2:
        tensors = {
            "direction": (sides[0] - sides[1]).contiguous(),
            "misaligned_mean": sides[0],
            "aligned_mean": sides[1],
        }
    if not tensors["direction"].any():
        raise UserError(f"{' and '.join(map(str, given.files))}: the direction would be zero in every layer.")
    facts: dict[str, Any] = {"tokens": given.tokens, "source": ",".join(file_digest(file) for file in given.files)}
    spec = canonical({"first_row": given.first_row, "layer": given.layer, "files": [file.name for file in given.files]})
    write_tensors(given.output, tensors, provenance("directions", spec, **facts))
    print(f"{given.output}: {sides[0].shape[0]} layers of {sides[0].shape[1]}")


def chance_cosine(width: int) -> float:
    """The bound below which |cos| of two independent isotropic directions lies with probability `CHANCE`.

    (cos + 1) / 2 follows Beta((d - 1) / 2, (d - 1) / 2).
    """
    from scipy import stats

    half = (width - 1) / 2
    return float(2 * stats.beta.ppf((1 + CHANCE) / 2, half, half) - 1)


def cosine_rows(names: list[str], files: list[Path], layers: list[int] | None = None) -> pd.DataFrame:
    """A row per pair and layer: cosine, both norms, and the bounds by chance (`random`, `shuffled`; NaN if unknown).

    Raises:
        UserError: if a file is no direction's, their shapes differ, or a layer is not there.
    """
    directions, shuffles = zip(*map(_direction_of, files), strict=True)
    shape = directions[0].shape
    for file, direction in zip(files, directions, strict=True):
        if direction.shape != shape:
            raise UserError(
                f"{file}: has the shape {list(direction.shape)}, {files[0]} has {list(shape)}; both must be of one "
                "model."
            )
    chosen = layers if layers is not None else list(range(shape[0]))
    outside = [layer for layer in chosen if not 0 <= layer < shape[0]]
    if outside:
        raise UserError(f"--layers: there is no layer {outside[0]}; the directions have 0 to {shape[0] - 1}.")
    by_chance = chance_cosine(shape[1])
    rows = []
    for a, b in combinations(range(len(files)), 2):
        cosines = _cosine(directions[a], directions[b])
        shuffled = _shuffled_bound(shuffles[a], directions[b], shuffles[b], directions[a])
        rows += [
            {
                "a": names[a], "b": names[b], "layer": layer, "cosine": float(cosines[layer]),
                "norm_a": float(directions[a][layer].norm()), "norm_b": float(directions[b][layer].norm()),
                "random": by_chance, "shuffled": float(shuffled[layer]),
            }
            for layer in chosen
        ]  # fmt: skip
    return pd.DataFrame(rows)


def _direction_of(file: Path) -> tuple[Tensor, Tensor]:
    """Direction [layer, d_model] and directions under shuffled labels [draw, layer, d_model], none where unknown."""
    direction = read_direction(file)
    shuffled = read_tensors(file)[0].get("shuffled", direction.new_zeros(0, *direction.shape))
    if direction.dim() != 2 or not direction.numel():
        shape = list(direction.shape)
        raise UserError(f"{file}: `direction` has the shape {shape}, not [layer, d_model]; bring it in anew.")
    if shuffled.dim() != 3 or shuffled.shape[1:] != direction.shape:
        raise UserError(
            f"{file}: `shuffled` has the shape {list(shuffled.shape)}, not [draw, layer, d_model] of the direction's "
            f"{list(direction.shape)}; bring it in anew, without."
        )
    if direction.is_complex() or shuffled.is_complex():
        raise UserError(f"{file}: its vectors are not of real numbers.")
    return direction.double(), shuffled.double()


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    import torch

    cosines = torch.nn.functional.cosine_similarity(a, b, dim=-1)
    there = (a.norm(dim=-1) > 0) & (b.norm(dim=-1) > 0)
    return torch.where(there, cosines, torch.nan)


def _shuffled_bound(one: Tensor, against_one: Tensor, two: Tensor, against_two: Tensor) -> Tensor:
    """Quantile of |cos| of each side's shuffled directions, [draw, layer, d_model], with the other direction; NaN where
    neither has any.
    """
    import torch

    found = torch.cat([_cosine(one, against_one), _cosine(two, against_two)]).abs()
    return found.quantile(CHANCE, dim=0) if len(found) else found.new_full(found.shape[1:], torch.nan)


def main(arguments: list[str]) -> None:
    given = _parser().parse_args(arguments)
    command.check_output(given.output, given.files)
    if given.action == "import":
        if len(given.files) > 2:
            raise UserError(f"{given.files[2]}: a direction is of one file, or of two sides.")
        bring_in(given)
        return
    if len(given.files) < 2:
        raise UserError("directions compare: name two files or more.")
    names = [str(file.with_suffix("")) for file in given.files]
    table = cosine_rows(names, given.files, given.layers)
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    print(f"random, shuffled: {CHANCE:.1%} of |cosine| by chance lie below; row l is the residual stream after layer l")
    if given.output:
        sources = canonical([file_digest(file) for file in given.files])
        write_table(given.output, table, provenance("directions", sources))


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(__doc__, study=False)
    actions = parser.add_subparsers(dest="action", required=True)
    bringing = actions.add_parser("import", help="a direction from tensors by layer")
    bringing.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="directions, or MISALIGNED and ALIGNED means"
    )
    bringing.add_argument("--first-row", choices=["into", "out-of"], required=True,
                          help="row 0 goes into layer 0 (hidden_states, resid_pre), or comes out of it")  # fmt: skip
    bringing.add_argument("--tokens", required=True, help="of which tokens the means are, in a word: answer, last, …")
    bringing.add_argument("--layer", type=int, help="of a file with one vector: the layer whose output it belongs to")
    bringing.add_argument("--model-layers", type=int, help="beside --layer: how many layers the model has")
    bringing.add_argument("--output", type=Path, required=True, help="a .safetensors file")
    comparing = actions.add_parser("compare", help="norms and cosines, layer by layer")
    comparing.add_argument("files", type=Path, nargs="+", metavar="FILE", help="directions of this project's form")
    comparing.add_argument("--layers", type=int, nargs="+", metavar="LAYER", help="all if absent")
    comparing.add_argument("--output", type=Path, help="also write the rows as parquet")
    return parser


if __name__ == "__main__":
    command.run(main)
