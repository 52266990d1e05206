"""Which rows a claim is about in a study: who stands for whom in the paper, and how many rows there have to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, permutations, product
from typing import Any

from workflow_scripts.reporting.claim import Claim, Dimension, Where
from workflow_scripts.study.conditions import direction_organisms, total_layers
from workflow_scripts.study.layout import CHAT_BASE, seed_subject
from workflow_scripts.study.organisms import BY_ITS_DATA
from workflow_scripts.study.schema import Study

Row = Mapping[str, Any]
Names = Mapping[str, Sequence[str]]
"""Role -> organisms."""
Cell = dict[str, Any]
"""Column -> value, of a row that there has to be."""
WAYS = ("domain_to_outside", "outside_to_domain")


def roles(study: Study) -> dict[str, list[str]]:
    """Organisms of a study by role.

    `source`: whose direction is ablated (or else steered), or the first that is sampled where it is a file's;
    `steered`: whose is added to the chat base; `other_rank`: on the source's data set with another rank; `other_data`:
    on another data set; `single`: one rank-1 adapter at one layer; `edited`: whose B the direction is taken out of;
    `adapters`: whose scalars are read; `path`: whose training is walked; `apart`: whose directions are taken apart;
    `walked`: who is sampled along the training; `misaligned`: every organism that has a direction; `narrow` and
    `broad`: those of X2;
    `inoculated`, `steered_in_training`, `projected_in_training`, `held_to_base` (KL) and `mixed` (with other data than
    the plain organism's): those of X6; `cued`: those of X10; `beside_vector`: those that X11's vectors
    stand beside.
    """
    misaligned = direction_organisms(study)
    part = study.ablation or study.steering
    settings, steered = study.organisms, study.steering and study.steering.source
    sampled = [name for name in misaligned if settings[name].responses is None]
    named = part.source if part and isinstance(part.source, str) else None
    source = named if named in settings else [*sampled, *misaligned][0]
    others = [name for name in misaligned if name != source]
    comparable = [name for name in others if settings[name].dataset and settings[source].dataset]
    of_section = {
        "steered": steered if isinstance(steered, str) and steered in settings else None,
        "edited": study.single_adapter and study.single_adapter.organism,
        "adapters": study.adapters and study.adapters.source,
        "path": study.training_path and study.training_path.organism,
    }
    return {
        "chat_base": [CHAT_BASE],
        "source": [source],
        "other_rank": [
            name
            for name in comparable
            if settings[name].dataset == settings[source].dataset and settings[name].rank != settings[source].rank
        ],
        "other_data": [name for name in comparable if settings[name].dataset != settings[source].dataset],
        "single": [name for name in misaligned if settings[name].rank == 1 and len(settings[name].layers or ()) == 1],
        "misaligned": misaligned,
        **_trained_otherwise(study),
        "narrow": list(study.narrow.twins) if study.narrow else [],
        "broad": list(dict.fromkeys(study.narrow.twins.values())) if study.narrow else [],
        "beside_vector": study.vectors.likes if study.vectors else [],
        "cued": study.conditional.organisms if study.conditional else [],
        "walked": list(study.dynamics.organisms) if study.dynamics else [],
        "apart": study.specificity.organisms if study.specificity else [],
        **{role: [name] if name else [] for role, name in of_section.items()},
    }


def _trained_otherwise(study: Study) -> dict[str, list[str]]:
    """Organisms of X6 by how they were trained; one that is trained in two ways has no role."""
    by = {
        "inoculated": "inoculation",
        "steered_in_training": "add in training",
        "projected_in_training": "project in training",
        "held_to_base": "kl",
        "mixed": BY_ITS_DATA,
    }
    names = study.prevention.otherwise if study.prevention else []
    return {role: [name for name in names if study.organisms[name].trained_by == way] for role, way in by.items()}


def matching(
    rows: Sequence[Row], names: Names, experiment: str, quantity: str, role: str, where: Where, seeds: bool = False
) -> list[Row]:
    """Rows of an experiment, quantity and role that have a value, and the columns that `where` asks for.

    `{source}` in `where` is the study's source. `seeds`: rows of single fine-tuning seeds rather than pooled ones.
    """
    asked = {column: value if isinstance(value, list) else [value] for column, value in where.items()}
    asked = {column: [names["source"][0] if v == "{source}" else v for v in values] for column, values in asked.items()}
    return [
        row
        for row in rows
        if (row["experiment"], row["quantity"]) == (experiment, quantity)
        and row["subject"] in names[role]
        and row["value"] is not None
        and (row["seed"] is not None) == seeds
        and all(row[column] in values for column, values in asked.items())
    ]


def of_single_seeds(each: Sequence[Dimension]) -> bool:
    """Whether a claim is about rows of single seeds."""
    return "seed" in each or "pair" in each


def expected(claim: Claim, names: Names, study: Study) -> list[Cell]:
    """The rows that a study has of a claim, if everything it asks for was possible: each has one at least."""
    cells: list[Cell]
    if "pair" in claim.each:
        cells = [
            {"pair": frozenset((seed_subject(a, seed), seed_subject(b, seed)))}
            for a, b in combinations(names[claim.subject], 2)
            for seed in study.organisms[a].seeds
            if seed in study.organisms[b].seeds
        ]
    elif "direction" in claim.each:
        cells = [{"source": a, "subject": b} for a, b in permutations(_matrix(study, claim, names), 2)]
    else:
        cells = [{"subject": name} for name in names[claim.subject]]
    for dimension in claim.each:
        cells = [{**cell, **more} for cell in cells for more in _along(dimension, cell, claim, study)]
    return cells


def absent(cells: Sequence[Cell], rows: Sequence[Row]) -> list[Cell]:
    """Cells that no row fills."""
    if not cells:
        return []
    columns = list(cells[0])
    there = {tuple(_fact(row, column) for column in columns) for row in rows}
    return [cell for cell in cells if tuple(cell.values()) not in there]


def _fact(row: Row, column: str) -> Any:
    """A column of a row; `pair`: the two subjects that it is about, in either order."""
    if column == "pair":
        return frozenset((seed_subject(row["subject"], row["seed"]), row["source"]))
    return row[column]


def partner(row: Row, others: Sequence[Row]) -> Row | None:
    """The row to hold a row against: of those that agree in every fact that both have, the first."""
    facts = ("seed", "source", "layer", "scale", "window", "question_set", "split")
    for other in others:
        if all(row[fact] is None or other[fact] is None or row[fact] == other[fact] for fact in facts):
            return other
    return None


def _matrix(study: Study, claim: Claim, names: Names) -> Sequence[str]:
    """Organisms that both give a direction to the transfer matrix and are ablated with all of it."""
    organisms = names[claim.subject]
    if claim.subject == "apart":
        return organisms
    if study.ablation is None:
        return []
    return [name for name in organisms if name == study.ablation.source or name in study.ablation.matrix]


def _along(dimension: Dimension, cell: Cell, claim: Claim, study: Study) -> list[Cell]:
    """What a cell is multiplied by along a dimension."""
    if dimension == "kind":
        kinds = claim.where["kind"]
        return [{"kind": kind} for kind in (kinds if isinstance(kinds, list) else [kinds])]
    if dimension == "seed":
        return [{"seed": seed} for seed in study.organisms[cell["subject"]].seeds]
    if dimension == "layer":
        return [{"layer": layer} for layer in range(total_layers(study))]
    if dimension == "cell":
        swept = study.steering
        return [{"layer": at, "scale": by} for at, by in product(swept.layers, swept.scales)] if swept else []
    if dimension == "topic":
        return [{"source": topic} for topic in study.semantic.topics] if study.semantic else []
    if dimension == "window":
        return [{"window": window} for window in study.training_path.windows] if study.training_path else []
    if dimension == "draw":
        return [{"draw": draw} for draw in range(study.steering.random_draws)] if study.steering else []
    if dimension == "way":
        return [{"question_set": way} for way in WAYS]
    return [{}]
