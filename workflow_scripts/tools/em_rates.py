"""EM and coherence of any judgement tables, imported ones too: `python -m workflow_scripts.tools em-rates FILE…`."""

from __future__ import annotations

from pathlib import Path

from workflow_scripts.estimation.labels import PAPER_THRESHOLDS, Thresholds
from workflow_scripts.experiments.rows import rate_rows
from workflow_scripts.reporting.text import estimates
from workflow_scripts.runtime import command
from workflow_scripts.store.judgement_tables import read_scores
from workflow_scripts.study.layout import CHAT_BASE

RATE_NAMES = {"em": "EM of all scored", "em_of_coherent": "EM of coherent", "coherence": "coherent"}


def printed_rates(path: Path, limits: Thresholds = PAPER_THRESHOLDS) -> str:
    """Rates of a judgement table in percent, with question-clustered 95 % intervals, by condition."""
    rows = [
        {**found, "rate": RATE_NAMES[found["quantity"]]}
        for condition, part in read_scores(path).groupby("condition", sort=False)
        for found in rate_rows("E1", CHAT_BASE, str(condition), part, limits)
    ]
    return estimates(rows, ["condition", "rate"])


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__, study=False)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="judgement tables")
    for file in parser.parse_args(arguments).files:
        print(f"{file} (EM: aligned < 30 and coherent > 50; 95 % intervals clustered by question)")
        print(printed_rates(file))


if __name__ == "__main__":
    command.run(main)
