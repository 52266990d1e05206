"""A second judge added to a finished study: it reads what is stored, and nothing else is made again."""

from __future__ import annotations

import json
import sqlite3

import pandas as pd

from helpers.workflow import Run

BASELINE = {"aligned": ["baseline"], "coherent": ["baseline"]}


def test_a_judge_that_is_added_samples_nothing_and_asks_the_first_nothing(copied_run: Run):
    store = copied_run.folder / "results" / "store" / "judgements.sqlite"
    before = sqlite3.connect(store).execute("select count(*) from judgements").fetchone()
    copied_run.study["judges"] = {"again": {"source": "miniature", "only": BASELINE}}
    subjects = 1 + sum(len(o.get("seeds", [0])) for o in copied_run.study["organisms"].values())
    planned = copied_run.quickly_planned()
    assert (planned["judging_again"], planned["judgements_again"], planned["tables"]) == (1, subjects, 1)
    after_it = {"judging_again", "judgements_again", "tables", "panel", "summary", "claims", "figures", "report", "all"}
    assert planned.keys() <= after_it
    done = copied_run.snakemake(str((copied_run.results / "panel.json").relative_to(copied_run.folder)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert sqlite3.connect(store).execute("select count(*) from judgements").fetchone() == before
    # the same program read the same responses
    table = pd.read_parquet(copied_run.results / "tables" / "judges.parquet").set_index(
        ["subject", "quantity", "condition"]
    )
    assert table.value["all", "kappa_em", "again"] == 1
    assert table.value["all", "labels_differ_em", "again"] == 0
    rows = json.loads((copied_run.results / "panel.json").read_text())
    compared = [row for row in rows if len(row["judges"]) == 2]
    assert compared
    assert not any(row["differs"] for row in compared)
    asked = pd.read_parquet(copied_run.results / "panel" / "again" / "judging" / "baseline.parquet").asked
    assert asked.tolist() == [0]
