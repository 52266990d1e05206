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
    """Adds what a reader asks of a table by layer: lowest and mean cosine, best cell of the steering sweep."""
    added = []
    if "kind" in table and (table.experiment == "E6").any():
        pairs = table[(table.quantity == "cosine") & (table.kind == "organisms")]
        pairs = pairs.assign(other=pairs.other.str.split("/").str[0])
        for (subject, other), part in pairs.groupby(["subject", "other"], sort=False):
            for quantity, value in (("cosine_min", part.value.min()), ("cosine_mean", part.value.mean())):
                added.append({"experiment": "E6", "subject": subject, "quantity": quantity, "condition": other,
                              "value": value, "n": len(part), "unit": "cosine"})  # fmt: skip
    if (table.experiment == "E7").any():
        grouped = table.assign(condition=table.condition.str.replace(r"/seed-\d+", "", regex=True))
        for (subject, condition), part in grouped.groupby(["subject", "condition"], sort=False):
            added.append({"experiment": "E7", "subject": subject, "quantity": "b_cosine", "condition": condition,
                          "value": part.value.mean(), "n": len(part), "unit": "cosine"})  # fmt: skip
    if "layer" in table and (table.experiment == "E3").any():
        cells = table[table.quantity == "em"]
        coherent = table[table.quantity == "coherence"].set_index("condition").value
        for kind, part in cells.groupby("kind"):
            fluent = part[part.condition.map(coherent) >= 0.8]
            if len(fluent):
                best = fluent.loc[fluent.value.idxmax()]
                cell = best.to_dict() | {"condition": f"{kind}:coherence-above-80"}
                nowhere = {"low": float("nan"), "high": float("nan")}
                added.append(cell | {"quantity": "em_best"})
                added.append(cell | {"quantity": "coherence_at_best", "value": coherent[best.condition]} | nowhere)
    extra = pd.DataFrame(added)
    if extra.empty:
        return table
    extra["seed"] = pd.array([None] * len(extra), dtype="Int64")
    return pd.concat([table, extra], ignore_index=True)


def end_table(frame: pd.DataFrame, title: str) -> str:
    """What a run prints: the pooled rows that answer each experiment's question."""
    wanted = frame.seed.isna() & (
        ((frame.experiment == "E1") & frame.quantity.isin(["em", "coherence"]))
        | ((frame.experiment == "E3") & frame.quantity.isin(["em_best", "coherence_at_best"]))
        | (
            (frame.experiment == "E5")
            & frame.quantity.isin(["em", "em_relative_change"])
            & ~frame.condition.str.contains("draw-")
        )
        | frame.quantity.isin(["cosine_min"])
        | (frame.experiment == "E7")
    )
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
        for r in frame[wanted].itertuples()
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
