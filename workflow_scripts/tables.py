"""The paper's tables, one long form for all: a row per experiment, subject, quantity and condition.

`python -m workflow_scripts.tables em-rate FILE…` prints the rates of any judgement tables, imported ones too.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from workflow_scripts import command, specs
from workflow_scripts.artefacts import provenance, write_table
from workflow_scripts.experiments.ablation import ablation
from workflow_scripts.experiments.adapters import adapter_probes, adapter_steering
from workflow_scripts.experiments.directions import convergence, directions
from workflow_scripts.experiments.organisms import em_rates
from workflow_scripts.experiments.patching import patching
from workflow_scripts.experiments.rows import Row, point, rate_rows, row
from workflow_scripts.experiments.semantic import semantic
from workflow_scripts.experiments.single_adapter import adapter_alignment, single_adapter
from workflow_scripts.experiments.steering import steering
from workflow_scripts.experiments.training_path import training_path
from workflow_scripts.layout import CHAT_BASE, Layout
from workflow_scripts.printed import estimates
from workflow_scripts.scores import read_scores
from workflow_scripts.statistics import PAPER_THRESHOLDS, Thresholds
from workflow_scripts.study import Study, load

RATE_NAMES = {"em": "EM of all scored", "em_of_coherent": "EM of coherent", "coherence": "coherent"}

TABLES: dict[str, Callable[[Study, Layout], list[Row]]] = {
    made.__name__: made
    for made in (em_rates, directions, convergence, adapter_alignment, steering, semantic, ablation, single_adapter,
                 adapter_probes, adapter_steering, patching, training_path)
}  # fmt: skip


def printed_rates(path: Path, limits: Thresholds = PAPER_THRESHOLDS) -> str:
    """Rates of a judgement table in percent, with question-clustered 95 % intervals, by condition."""
    rows = [
        {**found, "rate": RATE_NAMES[found["quantity"]]}
        for condition, part in read_scores(path).groupby("condition", sort=False)
        for found in rate_rows("E1", CHAT_BASE, str(condition), part, limits)
    ]
    return estimates(rows, ["condition", "rate"])


def em_rate_main(arguments: list[str]) -> None:
    parser = command.parser(__doc__, study=False)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="judgement tables")
    for file in parser.parse_args(arguments).files:
        print(f"{file} (EM: aligned < 30 and coherent > 50; 95 % intervals clustered by question)")
        print(printed_rates(file))


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["em-rate"]:
        em_rate_main(arguments[1:])
        return
    parser = command.parser(__doc__)
    parser.add_argument("--table", choices=list(TABLES), required=True)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    rows = TABLES[given.table](study, layout)
    columns = list(row("", CHAT_BASE, "", "", point(0.0, 0), ""))
    frame = pd.DataFrame(rows) if rows else pd.DataFrame(columns=columns)
    frame["seed"] = frame["seed"].astype("Int64")
    spec = specs.spec(given.table, study)
    write_table(given.output, frame, provenance("tables", spec))


if __name__ == "__main__":
    command.run(main)
