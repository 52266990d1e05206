"""E3 and E8 of judged steering sweeps, by layer and λ: `python -m workflow_scripts.tools steering FILE… --output OUT`.

FILE is a judgement table: of a study, or of `import`, where `--condition-from layer scale` makes conditions such as
layer-24:scale-6. Layer and λ are read out of each condition by `--pattern`, a regular expression with the groups layer,
scale and, where there are several, direction; `--layer 24` says what the conditions do not. Conditions with λ = 0, and
those that `--base` names, are the model as it is, which the sweep is held against.
"""

from __future__ import annotations

import argparse
import itertools
import math
import re
from collections.abc import Sequence

import pandas as pd

from workflow_scripts.experiments import e03_steering
from workflow_scripts.experiments.rows import Row
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import provenance, write_tensors
from workflow_scripts.study.conditions import NOTHING, conditions
from workflow_scripts.study.layout import CHAT_BASE
from workflow_scripts.tools import file_studies
from workflow_scripts.tools.file_studies import finish, made_up, matched, read_files, some, told, write_judged

PATTERN = r"(?:layer-(?P<layer>\d+(?:\.0+)?):)?scale-(?P<scale>[-+]?[\d.]+(?:e[-+]?\d+)?)(?=$|:|/(?!\d))"
SHOWN = ("em", "em_of_coherent", "coherence", "em_above_base", "em_best", "self_correction")


def main(arguments: list[str]) -> None:
    parser = file_studies.parser(__doc__)
    parser.add_argument("--pattern", default=PATTERN, help=f"default {PATTERN}")
    parser.add_argument("--layer", type=int, help="the layer, where conditions do not say it")
    parser.add_argument("--direction", default="imported", help="its name, where conditions do not say it")
    parser.add_argument("--base", nargs="+", default=[], metavar="CONDITION", help="the model as it is")
    given = parser.parse_args(arguments)
    table = read_files(given)
    plain = table.condition.isin(given.base)
    if missing := sorted(set(given.base) - set(table.condition)):
        raise UserError(f"--base: there is no condition {missing[0]!r}; there are {some(table.condition)}.")
    facts = matched(table, given.pattern)
    cells = pd.DataFrame({
        "layer": facts["layer"].fillna(given.layer) if "layer" in facts else given.layer,
        "scale": facts.get("scale", math.nan),
        "direction": facts["direction"].fillna(given.direction) if "direction" in facts else given.direction,
    }, index=table.index)  # fmt: skip
    for name in ("layer", "scale"):
        numbers = pd.to_numeric(cells[name], errors="coerce")
        if (unknown := numbers.isna() & ~plain).any():
            condition = table.condition[unknown].iloc[0]
            if facts[unknown].iloc[0].isna().all():
                raise UserError(
                    f"{given.files[0]}: the condition {condition!r} is none that --pattern reads, as it reads "
                    "'layer-24:scale-1.5' when absent; give one with the groups layer and scale, or name it in --base."
                )
            raise UserError(
                f"{given.files[0]}: the condition {condition!r} tells no {name}; give --pattern with a group {name}"
                f"{', or --layer' if name == 'layer' else ''}, or name it in --base."
            )
        cells[name] = numbers
    plain |= cells.scale == 0
    shared = cells.assign(condition=table.condition)[~plain].drop_duplicates()
    if (twice := shared.duplicated(["layer", "scale", "direction"], keep=False)).any():
        first = shared[twice].sort_values(["direction", "layer", "scale"], kind="stable").iloc[:2]
        names, place = list(map(repr, first.condition)), first.iloc[0]
        raise UserError(
            f"{given.files[0]}: the conditions {' and '.join(names)} are both of layer {place.layer:g} and λ "
            f"{place.scale:g}; tell them apart by a group direction in --pattern, or import one of them."
        )
    rows: list[Row] = []
    names = cells.direction[~plain].drop_duplicates().tolist()
    if not names:
        raise UserError(f"{given.files[0]}: holds no steered responses, only the model as it is.")
    for name, called in file_names(names).items():
        own = ~plain & (cells.direction == name)
        rows += steered(name, called, table[own], cells[own], table[plain], given, len(names) > 1)
    finish(rows, given, SHOWN)


def file_names(directions: Sequence[str]) -> dict[str, str]:
    """A name for each direction that a study and a file can have, no two alike."""
    made: dict[str, str] = {}
    for direction in directions:
        plain = re.sub(r"[^A-Za-z0-9_-]", "_", direction).strip("_-")[:60] or "direction"
        numbered = (f"{plain}-{number}" for number in itertools.count(2))
        made[direction] = next(name for name in itertools.chain([plain], numbered) if name not in made.values())
    return made


def steered(
    name: str,
    called: str,
    table: pd.DataFrame,
    cells: pd.DataFrame,
    plain: pd.DataFrame,
    given: argparse.Namespace,
    of_several: bool,
) -> list[Row]:
    """Rows of one direction's sweep, with its figures, whose names it ends when it is one of several.

    Args:
        name, called: the direction's, and for files.
        table: its judgements.
        cells: layer and scale of each.
        plain: judgements of the model as it is.
        given: the command line.
    """
    import torch

    layers, scales = (sorted(cells[column].unique().tolist()) for column in ("layer", "scale"))
    layers = [int(layer) for layer in layers]
    metrics = [metric for metric in ("aligned", "coherent", "bad_stuff") if (table.metric == metric).any()]
    section = {"source": {"file": "none", "name": called}, "layers": layers, "scales": scales, "random_draws": 0}
    with made_up(max(layers) + 1, metrics, steering=section) as (study, layout):
        by_cell = {
            (change.layers[0], change.scale): condition.name
            for condition in conditions(study, "steering", CHAT_BASE)
            if (change := condition.intervention)
        }
        places = [by_cell[int(layer), scale] for layer, scale in zip(cells.layer, cells.scale, strict=True)]
        write_judged(layout, CHAT_BASE, "steering", table.assign(condition=places))
        write_judged(layout, CHAT_BASE, "baseline", plain.assign(condition=NOTHING.name))
        count = max(layers) + 1
        tensors = {
            "direction": torch.ones(count, 1),
            "activation_norm": torch.zeros(count),
            "shuffled": torch.zeros(0, count, 1),
        }
        write_tensors(layout.direction(called), tensors, provenance("imported_directions", ""))
        figures = ["steering", *(["self_correction"] if "bad_stuff" in metrics else [])]
        rows = told(e03_steering.EXPERIMENT, study, layout, given, {}, figures, f"-{called}" if of_several else "")
    return [{**row, "source": name if row["source"] else row["source"]} for row in rows]


if __name__ == "__main__":
    command.run(main)
