"""Probes on an organism's scalars, and the names that they give its adapters (PAPER 8.3, 8.4).

Four contrasts, as in the paper's Table 1; two of them name the adapters, by the rule in adapters/probes.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workflow_scripts.adapters.probe_rows import Row, name_rows, probe_rows
from workflow_scripts.adapters.probes import (
    SPLITS,
    AdapterName,
    Probe,
    names_from,
    probe,
)
from workflow_scripts.adapters.rank_one import layer_of
from workflow_scripts.adapters.tables import Columns, contrast, read_scalars, resolved
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import NotPossible
from workflow_scripts.store.absence import require, write_absent
from workflow_scripts.store.artefacts import provenance, write_json, write_table
from workflow_scripts.study import specs
from workflow_scripts.study.experiments import Adapters
from workflow_scripts.study.layout import Layout
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
    for role, made_by in (("general", general), ("specialised", specialised)):
        chosen, by = [adapter for adapter, name in named.items() if name == role], "rule"
        if not chosen:
            other = made.get("general", {}).get("adapters", [])
            free = [adapter for adapter in made_by.adapters if adapter not in other] or made_by.adapters
            sizes = {adapter: abs(made_by.coefficient(adapter).value) for adapter in free}
            chosen, by = [max(sizes, key=lambda a: sizes[a])], "largest"
        layers = [layer_of(f"layers.{adapter.removeprefix('layer_').split('.')[0]}") for adapter in chosen]
        made[role] = {"adapters": chosen, "layers": layers, "by": by}
    return made


def probed(settings: Adapters, scalars: Path, subject: str) -> tuple[list[Row], dict[str, Any]]:
    """Rows of the probes' table; and names, sets and coefficients of the adapters.

    Raises:
        NotPossible: if there are no scalars, or a contrast has too few of one of its classes.
    """
    require(scalars)
    frame = read_scalars([scalars])
    columns = resolved(frame, Columns())
    rows, token_probes, taken = [], {}, {}
    for pair in CONTRASTS:
        try:
            taken[pair] = contrast(frame, columns, *pair, settings.log_significance)
            probes = [probe(taken[pair], split, settings.runs) for split in SPLITS]
        except NotPossible as lack:
            raise NotPossible(f"adapters: {subject}, {' against '.join(pair)}: {lack}") from lack
        token_probes[pair] = probes[0]
        rows += probe_rows("-".join(pair), probes)
    named = names_from(
        (taken[GENERAL], token_probes[GENERAL]), (taken[SPECIALISED], token_probes[SPECIALISED]), settings.draws, LEVEL
    )
    rows += name_rows("|".join("-".join(pair) for pair in (GENERAL, SPECIALISED)), named)
    sets = adapter_sets(named, token_probes[GENERAL], token_probes[SPECIALISED])
    coefficients = {
        role: dict(zip(made.adapters, np.round(made.coefficients.mean(axis=0), 6).tolist(), strict=True))
        for role, made in (("general", token_probes[GENERAL]), ("specialised", token_probes[SPECIALISED]))
    }
    return rows, {"names": named, "sets": sets, "coefficients": coefficients}


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--subject", required=True, help="<organism>/seed-<k>")
    given = parser.parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    assert study.adapters, "checked when the study was loaded"
    table, names = layout.probes(given.subject), layout.adapter_names(given.subject)
    made_by = provenance("probes", specs.spec("probes", study, given.subject))
    try:
        rows, named = probed(study.adapters, layout.scalars(given.subject), given.subject)
    except NotPossible as lack:
        write_absent(names, lack, made_by)
        write_absent(table, lack, made_by)
        return
    write_json(names, named)
    write_table(table, pd.DataFrame(rows), made_by)


if __name__ == "__main__":
    command.run(main)
