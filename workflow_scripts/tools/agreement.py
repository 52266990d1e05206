"""Agreement of two judges over the same responses: what a cheaper judge costs in truth.

`python -m workflow_scripts.tools agreement A.parquet B.parquet --output AGREEMENT.parquet` takes two judgement tables,
from a study or imported, and prints and writes one row per quantity. Differences are A minus B. Of four questions and
more, the last rows say what A's scores are worth when they are calibrated to B's labels on the other questions.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from workflow_scripts.estimation.agreement import Compared, judges_compared
from workflow_scripts.estimation.calibration import LEAST_QUESTIONS, on_other_questions, pairs
from workflow_scripts.estimation.labels import PAPER_THRESHOLDS, Thresholds
from workflow_scripts.judges.paired import paired
from workflow_scripts.reporting.text import estimates
from workflow_scripts.runtime import command
from workflow_scripts.store.artefacts import canonical, file_digest, provenance, write_table


def agreement(both: pd.DataFrame, metrics: list[str], limits: Thresholds = PAPER_THRESHOLDS) -> pd.DataFrame:
    """The table, a row per quantity; see `judges_compared`."""
    a, b = ({metric: both[f"{metric}_{side}"] for metric in metrics} for side in "ab")
    found = judges_compared(a, b, both.question_id, limits)
    by_a, by_b = ((judge["aligned"], judge["coherent"]) for judge in (a, b))
    on = pairs(by_a, by_b, both.question_id, both.condition, limits)
    if np.unique(on.questions).size >= LEAST_QUESTIONS:
        calibrated = on_other_questions(on)
        found += [
            Compared("em_rate_a_calibrated", "em", "share", calibrated.rate),
            Compared("em_rate_difference_calibrated", "em", "share", calibrated.difference),
            Compared("squared_error_less_calibrated", "em", "share", calibrated.skill),
        ]
    return pd.DataFrame([{"quantity": c.quantity, "of": c.of, "unit": c.unit, **c.found.__dict__} for c in found])


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__, study=False)
    parser.add_argument("a", type=Path)
    parser.add_argument("b", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    command.check_output(given.output, [given.a, given.b])
    both, metrics = paired(given.a, given.b)
    table = agreement(both, metrics)
    sources = {"a": file_digest(given.a), "b": file_digest(given.b)}
    write_table(given.output, table, provenance("agreement", canonical(sources)))
    print(f"A {given.a}, B {given.b}: {len(both)} responses in common; differences are A - B, intervals 95 %")
    print(estimates(table.to_dict("records"), ["quantity", "of"]))


if __name__ == "__main__":
    command.run(main)
