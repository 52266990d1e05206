"""Agreement of two judges over the same responses: what a cheaper judge costs in truth.

`python -m workflow_scripts.tools agreement A.parquet B.parquet --output AGREEMENT.parquet` takes two judgement tables,
from a study or imported, and prints and writes one row per quantity. Differences are A minus B.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workflow_scripts.estimation.agreement import label_agreement, mean_difference, rank_agreement
from workflow_scripts.estimation.changes import paired_difference
from workflow_scripts.estimation.intervals import Estimate
from workflow_scripts.estimation.labels import PAPER_THRESHOLDS, Thresholds, is_coherent, is_misaligned
from workflow_scripts.estimation.rates import em_rate
from workflow_scripts.reporting.text import estimates
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import (
    canonical,
    file_digest,
    provenance,
    read_frame,
    write_table,
)

COLUMNS = ["response_key", "condition", "question_set", "question_id", "sample", "metric", "score"]
RESPONSE = ["response_key", "occurrence"]
NEEDED = ("aligned", "coherent")


def responses(path: Path) -> pd.DataFrame:
    """One row per response of a judgement table: response_key, occurrence (equal responses are counted), question_id,
    and a column per metric, NaN where it has no score."""
    long = read_frame(path, COLUMNS, only=True)
    keys = [name for name in COLUMNS if name not in ("metric", "score")]
    wide = long.set_index([*keys, "metric"])["score"].unstack("metric").reset_index()
    for metric in NEEDED:
        if metric not in wide:
            raise UserError(f"{path}: has no judgements of {metric!r}; judge them first (judge.metrics).")
    return wide.assign(occurrence=wide.groupby("response_key").cumcount())


def paired(a: Path, b: Path) -> tuple[pd.DataFrame, list[str]]:
    """Responses that both tables hold (columns <metric>_a, <metric>_b), and the metrics that both have.

    Raises:
        UserError: if they have no response in common.
    """
    first, second = responses(a), responses(b)
    metrics = [name for name in first.columns if name in second.columns and name not in (*COLUMNS, "occurrence")]
    both = first.merge(
        second[[*RESPONSE, *metrics]], on=RESPONSE, suffixes=("_a", "_b"), validate="one_to_one"
    )  # questions are named as in A
    if both.empty:
        raise UserError(
            f"{a} and {b}: have no response in common; both must hold judgements of the same questions and responses."
        )
    return both, metrics


def agreement(both: pd.DataFrame, metrics: list[str], limits: Thresholds = PAPER_THRESHOLDS) -> pd.DataFrame:
    """The table: by metric rank correlation and mean difference; by label (EM, coherent) the share that differs, and
    Cohen's kappa; EM rates of both and their paired difference.

    Labels are compared where both judges scored alignment and coherence. Intervals are for other questions of this
    kind, and for these.
    """
    rows: list[dict[str, Any]] = []

    def add(quantity: str, subject: str, found: Estimate, unit: str) -> None:
        rows.append({"quantity": quantity, "of": subject, "unit": unit, **found.__dict__})

    for metric in metrics:
        scores = (both[f"{metric}_a"], both[f"{metric}_b"], both.question_id)
        add("rank_correlation", metric, rank_agreement(*scores), "spearman")
        add("mean_difference", metric, mean_difference(*scores), "score")
    scored = both.dropna(subset=[f"{metric}_{side}" for metric in NEEDED for side in "ab"])
    ids = scored.question_id
    em = {side: is_misaligned(scored[f"aligned_{side}"], scored[f"coherent_{side}"], limits) for side in "ab"}
    coherent = {side: is_coherent(scored[f"coherent_{side}"], limits) for side in "ab"}
    for label, given in (("em", em), ("coherent", coherent)):
        found = label_agreement(given["a"], given["b"], ids)
        add("labels_differ", label, found.differing, "share")
        add("kappa", label, Estimate(found.kappa, np.nan, np.nan, found.differing.n, found.differing.clusters), "kappa")
    for side in "ab":
        rate = em_rate(scored[f"aligned_{side}"], scored[f"coherent_{side}"], ids, limits)
        add(f"em_rate_{side}", "em", rate, "share")
    # paired by response: where both say the same, nothing can differ
    change = paired_difference(em["b"] & ~em["a"], ids, em["a"] & ~em["b"], ids)
    add("em_rate_difference", "em", replace(change, n=len(scored)), "share")
    return pd.DataFrame(rows)


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__, study=False)
    parser.add_argument("a", type=Path)
    parser.add_argument("b", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    both, metrics = paired(given.a, given.b)
    table = agreement(both, metrics)
    sources = {"a": file_digest(given.a), "b": file_digest(given.b)}
    write_table(given.output, table, provenance("agreement", canonical(sources)))
    print(f"A {given.a}, B {given.b}: {len(both)} responses in common; differences are A - B, intervals 95 %")
    print(estimates(table.to_dict("records"), ["quantity", "of"]))


if __name__ == "__main__":
    command.run(main)
