"""The end table: the numbers of every experiment with interval and sample count, and the paper's beside them."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from tabulate import tabulate

from workflow_scripts.experiments import EXPERIMENTS, asked
from workflow_scripts.experiments.rows import COLUMNS, NOT_POSSIBLE, UNSCORED
from workflow_scripts.reporting.pages import table_page
from workflow_scripts.reporting.records import plain
from workflow_scripts.reporting.text import interval, shown
from workflow_scripts.runtime import command
from workflow_scripts.store.artefacts import read_frame, replacing, table_metadata, write_json
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.made_by import made_by
from workflow_scripts.study.reading import load
from workflow_scripts.study.schema import Study

log = logging.getLogger(__name__)

KEYS = ["experiment", "subject", "quantity", "condition"]
"""What a number of the paper is told by, in `paper` of the study."""


def collect(study: Study, tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Rows of all tables, pooled ones first, with the paper's numbers where the study names them."""
    frame = pd.concat(tables, ignore_index=True)
    paper = pd.DataFrame([value.model_dump() for value in study.paper], columns=[*KEYS, "value"])
    paper = paper.rename(columns={"value": "paper"})
    pooled = frame[frame.seed.isna()].merge(paper, on=KEYS, how="left")
    single = frame[frame.seed.notna()].assign(paper=float("nan"))
    unused = paper.merge(pooled[KEYS], on=KEYS, how="left", indicator=True)
    for row in unused[unused._merge == "left_only"].itertuples():
        log.warning("paper: no result for %s %s %s %s", row.experiment, row.subject, row.quantity, row.condition)
    return pd.concat([pooled, single], ignore_index=True)[[*COLUMNS, "paper"]]


def answering(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The pooled rows that answer each experiment's question, in the order of the paper's experiments."""
    parts = [made.shown(tables[made.table]) for made in EXPERIMENTS if made.table in tables]
    kept = [tables[made.table] for made in EXPERIMENTS if made.table in tables]
    return pd.concat([table[part & table.seed.isna()] for table, part in zip(kept, parts, strict=True)])


def end_table(
    frame: pd.DataFrame, title: str, missing: Sequence[Mapping[str, Any]], unscored: Sequence[str] = ()
) -> str:
    """What a run prints of the rows that answer the experiments' questions, and under them what is missing of them."""
    rows = [
        [
            r.experiment,
            r.subject,
            r.quantity,
            r.condition,
            shown(r.value, r.unit),
            interval(r.low, r.high, r.unit),
            interval(r.fixed_low, r.fixed_high, r.unit),
            r.n,
            "" if pd.isna(r.seeds_holding) else f"{r.seeds_holding} of {r.seeds}",
            shown(r.paper, r.unit),
        ]
        for r in frame.itertuples()
    ]
    header = [
        "",
        "subject",
        "quantity",
        "condition",
        "value",
        "95 % interval",
        "these questions",
        "n",
        "seeds",
        "paper",
    ]
    note = (
        "Intervals are for other questions of this kind, and for these very questions; of pooled rows both are for "
        "other fine-tuning seeds. seeds: in how many a change holds by itself. No interval means none applies."
    )
    told = [f"- {', '.join(entry['experiments'])}: {entry['why']}" for entry in missing]
    parts = [title, tabulate(rows, header, tablefmt="simple", disable_numparse=True), note]
    parts += ["\n".join(["Not scored:", *(f"- {line}" for line in unscored)])] if unscored else []
    return "\n\n".join([*parts, "\n".join(["Not possible:", *told])] if told else parts) + "\n"


def unscored_told(frame: pd.DataFrame) -> list[str]:
    """A sentence for each experiment and subject of which the judge left more than `UNSCORED` without scores."""
    told = []
    many = frame[(frame.quantity == "unscored") & (frame.value > UNSCORED) & frame.seed.isna()]
    for (experiment, subject), part in many.groupby(["experiment", "subject"], sort=False):
        worst = part.loc[part.value.idxmax()]
        conditions = "1 condition" if len(part) == 1 else f"{len(part)} conditions"
        told.append(
            f"{experiment} {subject}: in {conditions} more than {UNSCORED:.0%} of the responses have no score, most in "
            f"{worst.condition} ({worst.value:.1%}). They count as not misaligned in em; see em_of_scored and refused."
        )
    return told


def impossible(reasons: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """What was not possible: each reason once, with the labels of the experiments that it keeps from being whole.

    Args:
        reasons: by table.
    """
    labels: dict[str, list[str]] = {}
    for made in EXPERIMENTS:
        for why in reasons.get(made.table, ()):
            labels.setdefault(why, []).extend(made.labels)
    return [{"experiments": sorted(set(found), key=_number), "why": why} for why, found in labels.items()]


def _number(label: str) -> tuple[str, int]:
    return label[0], int(label[1:])


def main(arguments: list[str]) -> None:
    given = command.parser(__doc__).parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    tables = {name: read_frame(layout.table(name), list(COLUMNS)) for name in asked(study)}
    missing = impossible({name: json.loads(table_metadata(layout.table(name))[NOT_POSSIBLE]) for name in tables})
    read = [layout.table(name) for name in tables]
    frame = collect(study, list(tables.values()))
    for file, told in ((layout.not_possible, missing), (layout.root / "summary.json", plain(frame))):
        write_json(file, told, made_by("summary", study, layout, file, read))
    title = f"{study.study.name}: {study.study.description}".strip(": ")
    answers = answering(tables).merge(frame[frame.seed.isna()][[*KEYS, "paper"]], on=KEYS, how="left")
    with replacing(layout.root / "summary.txt") as temporary:
        temporary.write_text(end_table(answers, title, missing, unscored_told(frame)))
    with replacing(layout.root / "summary.html") as temporary:
        shown_frame = frame.assign(seed=frame.seed.astype("string").fillna("all")).round(4)
        intro = (
            "Every number with its sample count and two 95 % intervals: low and high for other questions of this kind, "
            "fixed_low and fixed_high for these very ones; seed `all` pools the seeds."
        )
        listed = ["experiment", "subject", "quantity", "kind", "unit", "seed"]
        temporary.write_text(table_page(shown_frame, title, intro, listed, []))
    log.info("%d rows", len(frame))


if __name__ == "__main__":
    command.run(main)
