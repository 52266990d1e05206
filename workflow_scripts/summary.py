"""The end table: the numbers of every experiment with interval and sample count, and the paper's beside them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from workflow_scripts import command
from workflow_scripts.artefacts import read_frame, replacing, write_json
from workflow_scripts.layout import Layout
from workflow_scripts.pages import table_page
from workflow_scripts.printed import interval, shown
from workflow_scripts.study import Study, load

log = logging.getLogger(__name__)

COLUMNS = [
    "experiment",
    "subject",
    "quantity",
    "condition",
    "value",
    "low",
    "high",
    "n",
    "paper",
    "unit",
    "seed",
]


def collect(study: Study, tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Rows of all tables in one form, with the paper's numbers where the study names them."""
    frame = pd.concat([_with_extremes(table) for table in tables], ignore_index=True)
    paper = pd.DataFrame(
        [value.model_dump() for value in study.paper],
        columns=["experiment", "subject", "quantity", "condition", "value"],
    ).rename(columns={"value": "paper"})
    keys = ["experiment", "subject", "quantity", "condition"]
    pooled = frame[frame.seed.isna()].merge(paper, on=keys, how="left")
    single = frame[frame.seed.notna()].assign(paper=float("nan"))
    unused = paper.merge(pooled[keys], on=keys, how="left", indicator=True)
    for row in unused[unused._merge == "left_only"].itertuples():
        log.warning("paper: no result for %s %s %s %s", row.experiment, row.subject, row.quantity, row.condition)
    return pd.concat([pooled, single], ignore_index=True)[COLUMNS]


def _with_extremes(table: pd.DataFrame) -> pd.DataFrame:
    """Adds what a reader asks of a table by layer or step: its extremes, and means over seeds."""
    experiments = set(table.experiment)
    added: list[dict[str, Any]] = []
    if "E6" in experiments:
        added += _cosine_extremes(table)
    if "E7" in experiments:
        added += _mean_over_seeds(table[table.quantity == "b_cosine"])
    if "E3" in experiments:
        added += _best_cells(table)
    if "E8" in experiments:
        added += _largest(table[(table.quantity == "self_correction") & (table.kind == "add")], "self_correction_max")
    if "X1" in experiments:
        cosines = table[table.quantity == "local_cosine_b"]
        for _, part in cosines.groupby("window"):
            added += _largest(part, "local_cosine_b_max")
    if not added:
        return table
    extra = pd.DataFrame(added).assign(seed=pd.array([None] * len(added), dtype="Int64"))
    return pd.concat([table, extra], ignore_index=True)


def _cosine_extremes(table: pd.DataFrame) -> list[dict[str, Any]]:
    pairs = table[(table.quantity == "cosine") & table.kind.isin(["organisms", "source"])]
    pairs = pairs.assign(other=pairs.other.str.split("/").str[0])
    return [
        {"experiment": "E6", "subject": subject, "quantity": quantity, "condition": other, "value": value,
         "n": len(part), "unit": "cosine"}
        for (subject, other), part in pairs.groupby(["subject", "other"], sort=False)
        for quantity, value in (("cosine_min", part.value.min()), ("cosine_mean", part.value.mean()))
    ]  # fmt: skip


def _mean_over_seeds(rows: pd.DataFrame) -> list[dict[str, Any]]:
    grouped = rows.assign(condition=rows.condition.str.replace(r"/seed-\d+", "", regex=True))
    return [
        {"experiment": "E7", "subject": subject, "quantity": "b_cosine", "condition": condition,
         "value": part.value.mean(), "n": len(part), "unit": "cosine"}
        for (subject, condition), part in grouped.groupby(["subject", "condition"], sort=False)
    ]  # fmt: skip


def _best_cells(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The cell of the steering sweep with most EM among the coherent ones, by kind."""
    cells = table[table.quantity == "em"]
    coherent = table[table.quantity == "coherence"].set_index("condition").value
    added = []
    for kind, part in cells.groupby("kind"):
        fluent = part[part.condition.map(coherent) >= 0.8]
        if len(fluent):
            best = fluent.loc[fluent.value.idxmax()]
            cell = best.to_dict() | {"condition": f"{kind}:coherence-above-80"}
            nowhere = {"low": float("nan"), "high": float("nan")}
            added.append(cell | {"quantity": "em_best"})
            added.append(cell | {"quantity": "coherence_at_best", "value": coherent[best.condition]} | nowhere)
    return added


def _largest(rows: pd.DataFrame, quantity: str) -> list[dict[str, Any]]:
    return [rows.loc[rows.value.idxmax()].to_dict() | {"quantity": quantity}] if rows.value.notna().any() else []


def answering(frame: pd.DataFrame) -> pd.Series:
    """Which pooled rows answer each experiment's question."""
    e, q, c = frame.experiment, frame.quantity, frame.condition
    return frame.seed.isna() & (
        ((e == "E1") & q.isin(["em", "coherence"]))
        | ((e == "E3") & q.isin(["em_best", "coherence_at_best"]))
        | ((e == "E4") & (q.str.endswith("_score") | (q == "em")) & ((c == "none") | c.str.endswith(":best")))
        | ((e == "E4") & (q == "cosine_max"))
        | ((e == "E5") & q.isin(["em", "em_relative_change"]) & ~c.str.contains("draw-|from:"))
        | ((e == "E6") & (q == "cosine_min"))
        | ((e == "E7") & q.isin(["em", "em_relative_change", "b_cosine", "downstream_cosine_max"]))
        | ((e == "E8") & ((q == "self_correction_max") | (c == "none")))
        | ((e == "E9") & ((q == "accuracy") | q.isin(["general_adapters", "specialised_adapters"])))
        | ((e == "E10") & q.isin(["misaligned", "misaligned_domain", "aligned", "domain_of_aligned", "coherence"]))
        | ((e == "E11") & q.isin(["em", "em_relative_change"]))
        | ((e == "X1") & q.isin(["local_cosine_b_max", "pca_share", "em"]))
    )


def end_table(frame: pd.DataFrame, title: str) -> str:
    """What a run prints: the pooled rows that answer each experiment's question."""
    rows = [
        [
            r.experiment,
            r.subject,
            r.quantity,
            r.condition,
            shown(r.value, r.unit),
            interval(r.low, r.high, r.unit),
            r.n,
            shown(r.paper, r.unit),
        ]
        for r in frame[answering(frame)].itertuples()
    ]
    header = ["", "subject", "quantity", "condition", "value", "95 % interval", "n", "paper"]
    note = "Intervals are clustered by question and hold for these fine-tuning seeds; no interval means none applies."
    return f"{title}\n\n{tabulate(rows, header, tablefmt='simple', disable_numparse=True)}\n\n{note}\n"


def plain(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON data, without NaN."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [
        {key: None if value is None else getattr(value, "item", lambda v=value: v)() for key, value in row.items()}
        for row in rows
    ]


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--tables", type=Path, nargs="+", required=True)
    given = parser.parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    frame = collect(study, [read_frame(path) for path in given.tables])
    write_json(layout.root / "summary.json", plain(frame))
    title = f"{study.study.name}: {study.study.description}".strip(": ")
    with replacing(layout.root / "summary.txt") as temporary:
        temporary.write_text(end_table(frame, title))
    with replacing(layout.root / "summary.html") as temporary:
        shown_frame = frame.assign(seed=frame.seed.astype("string").fillna("all")).round(4)
        intro = "Every number with its question-clustered 95 % interval and sample count; seed `all` pools the seeds."
        listed = ["experiment", "subject", "quantity", "unit", "seed"]
        temporary.write_text(table_page(shown_frame, title, intro, listed, []))
    log.info("%d rows", len(frame))


if __name__ == "__main__":
    command.run(main)
