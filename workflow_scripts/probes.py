"""Probes on an organism's scalars, and the names that they give its adapters (PAPER 8.3, 8.4).

Four contrasts, as in the paper's Table 1; two of them name the adapters, by the rule in adapters/probes.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workflow_scripts.adapters.layer_names import layer_of
from workflow_scripts.adapters.probe_rows import Row, name_rows, probe_rows, shuffle_rows
from workflow_scripts.adapters.probes import (
    AdapterName,
    Contrast,
    Probe,
    Samples,
    name_adapters,
    probe,
    shuffled_probe,
)
from workflow_scripts.adapters.tables import Columns, contrast, read_scalars, resolved
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import NotPossible
from workflow_scripts.store.absence import Absence, recorded, require, write_absent
from workflow_scripts.store.artefacts import canonical, write_json, write_table
from workflow_scripts.study.experiments import Adapters
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.made_by import made_by
from workflow_scripts.study.reading import load

GENERAL = ("outside_aligned", "outside_misaligned")
SPECIALISED = ("outside_misaligned", "domain_misaligned")
CONTRASTS = (("outside_aligned", "domain_aligned"), SPECIALISED, GENERAL, ("domain_aligned", "domain_misaligned"))
"""In the order of the paper's Table 1: NMA-MA, NMM-MM, NMA-NMM, MA-MM."""
LEVEL = 0.05


def adapter_sets(named: Mapping[str, AdapterName], general: Probe, specialised: Probe) -> dict[str, dict[str, Any]]:
    """The adapters that E10 scales, by role: those that the rule names, else the one with the largest coefficient.

    Returns:
        role -> adapters, their decoder layers, and what chose them (`rule` or `largest`).
    """
    made: dict[str, dict[str, Any]] = {}
    for role, naming in (("general", general), ("specialised", specialised)):
        chosen, by = [adapter for adapter, name in named.items() if name == role], "rule"
        if not chosen:
            other = made.get("general", {}).get("adapters", [])
            free = [adapter for adapter in naming.adapters if adapter not in other] or naming.adapters
            sizes = {adapter: abs(naming.coefficient(adapter).value) for adapter in free}
            chosen, by = [max(sizes, key=lambda a: sizes[a])], "largest"
        layers = [layer_of(f"layers.{adapter.removeprefix('layer_').split('.')[0]}") for adapter in chosen]
        made[role] = {"adapters": chosen, "layers": layers, "by": by}
    return made


def probed(settings: Adapters, scalars: Path, subject: str) -> tuple[list[Row], dict[str, Any], list[Absence]]:
    """Rows of the probes' table; names, sets and coefficients of the adapters; and splits that were not possible.

    Raises:
        NotPossible: if there are no scalars, or a contrast has too few of one of its classes.
    """
    require(scalars)
    frame = read_scalars([scalars])
    columns = resolved(frame, Columns())
    rows: list[Row] = []
    found: dict[tuple[str, str], Contrast] = {}
    lacks = []
    for pair in CONTRASTS:
        who, contrast_name = f"adapters: {subject}, {' against '.join(pair)}", "-".join(pair)
        try:
            taken = contrast(frame, columns, *pair, settings.log_significance)
            observed = probe(taken, "token", settings.runs)
            found[pair] = Contrast(taken, observed, shuffled_probe(taken, "token", settings.draws))
            rows += probe_rows(contrast_name, observed, found[pair].shuffled)
            rows += probe_rows(contrast_name, probe(taken, "response", settings.runs), None)
        except NotPossible as lack:
            raise NotPossible(f"{who}: {lack}") from lack
        rows += shuffle_rows(contrast_name, taken)
        try:
            rows += _unseen_questions(contrast_name, taken, settings)
        except NotPossible as lack:
            lacks.append(Absence(f"{who}, split by question: {lack}", "question"))
    named = name_adapters(found[GENERAL], found[SPECIALISED], LEVEL)
    rows += name_rows("|".join("-".join(pair) for pair in (GENERAL, SPECIALISED)), named)
    general, specialised = (found[pair].observed for pair in (GENERAL, SPECIALISED))
    coefficients = {
        role: dict(zip(made.adapters, np.round(made.coefficients.mean(axis=0), 6).tolist(), strict=True))
        for role, made in (("general", general), ("specialised", specialised))
    }
    names = {"names": named, "sets": adapter_sets(named, general, specialised), "coefficients": coefficients}
    return rows, names, lacks


def _unseen_questions(contrast_name: str, taken: Samples, settings: Adapters) -> list[Row]:
    if "question" not in taken.splits:
        return []
    observed = probe(taken, "question", settings.runs)
    return probe_rows(contrast_name, observed, shuffled_probe(taken, "question", settings.draws))


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--subject", required=True, help="<organism>/seed-<k>")
    given = parser.parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    assert study.adapters, "checked when the study was loaded"
    table, names = layout.probes(given.subject), layout.adapter_names(given.subject)
    of_table, of_names = (
        made_by("probes", study, layout, file, [layout.scalars(given.subject)], given.subject)
        for file in (table, names)
    )
    try:
        rows, named, lacks = probed(study.adapters, layout.scalars(given.subject), given.subject)
    except NotPossible as lack:
        write_absent(names, lack, of_names)
        write_absent(table, lack, of_table)
        return
    write_json(names, named, of_names)
    told = {name: canonical(value) for name, value in recorded(lacks).items()}
    write_table(table, pd.DataFrame(rows), of_table | told)


if __name__ == "__main__":
    command.run(main)
