"""How the ablation's conditions are called in tables and figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from workflow_scripts.reporting.style import GREY, PALETTE
from workflow_scripts.study.conditions import Condition
from workflow_scripts.study.experiments import Ablation, called
from workflow_scripts.study.layout import organism_of

BARS = {
    "none": ("before", GREY, ""),
    "own": ("own direction, per layer", PALETTE[0], ""),
    "transferred": ("source's direction, per layer", PALETTE[1], ""),
    "single_layer": ("source's direction of one layer, everywhere", PALETTE[4], ""),
    "mean": ("source's direction, per layer, set to the aligned texts' mean", PALETTE[2], ""),
    "mean_single_layer": ("source's direction of one layer, set to their mean", PALETTE[5], ""),
    "random": ("random directions", "#DDDDDD", "////"),
    "shuffled": ("directions of shuffled labels", "#BBBBBB", "...."),
}
"""Kind -> label, colour and hatch."""


@dataclass(frozen=True)
class Place:
    """A group of rows of the table that conditions count for."""

    name: str
    facts: dict[str, Any] = field(compare=False)


def places(ablation: Ablation, condition: Condition) -> list[Place]:
    """Places of the table that a condition counts for: by kind, by organism of the direction, by random draw."""
    change = condition.intervention
    assert change
    organism, _ = organism_of(change.source)
    layer = change.layers[0] if condition.kind == "only_layer" else change.layer
    facts = {"kind": condition.kind, "source": organism, "layer": layer}
    cell = Place(f"from:{organism}", {"kind": "from", "source": organism})
    if condition.kind == "own":
        return [Place("own", facts), cell]
    if condition.kind == "transferred":
        return [Place("transferred", facts), cell] if organism == called(ablation.source) else [cell]
    if condition.kind == "only_layer":
        return [Place(f"only_layer:layer-{layer}", facts)]
    draws = ablation.shuffled_draws if change.shuffled else ablation.random_draws
    if draws < 2 or change.draw is None:
        return [Place(condition.kind, facts)]
    single = {**facts, "kind": f"{condition.kind}_draw", "draw": change.draw}
    return [Place(condition.kind, facts), Place(f"{condition.kind}:draw-{change.draw}", single)]
