"""A judging run: one judge for a battery's responses, filling the judgement store with what is missing."""

from __future__ import annotations

import logging
from itertools import islice
from pathlib import Path

import pyarrow as pa
from tqdm import tqdm

from workflow_scripts import command, gpu_lease, specs
from workflow_scripts.artefacts import provenance, read_table, write_table
from workflow_scripts.conditions import Battery, battery_subjects
from workflow_scripts.errors import UserError
from workflow_scripts.exclusion import exclusive
from workflow_scripts.judgement_store import JudgementStore
from workflow_scripts.judges.choice import open_judge
from workflow_scripts.layout import Layout
from workflow_scripts.study import LocalJudge, Study, load

log = logging.getLogger(__name__)

COMMIT = 256
"""Answers committed together at most; a slow judge's answers are committed as they come in its own batches."""


def fill(study: Study, layout: Layout, battery: Battery, output: Path) -> None:
    """Asks the judge for what a battery's responses lack in the store, and writes the run's manifest.

    Raises:
        UserError: if judgements failed; the others are kept.
    """
    if isinstance(study.judge, LocalJudge):
        gpu_lease.hold(1)
    judge, store = open_judge(study, layout), JudgementStore(layout.judgement_store)
    pairs = dict.fromkeys(
        pair
        for subject in battery_subjects(study, battery)
        for pair in zip(
            *read_table(layout.responses(subject, battery), ["question", "response"], only=True).to_pydict().values(),
            strict=True,
        )
    )
    items = list(dict.fromkeys(item for pair in pairs for item in judge.items(*pair)))
    present = store.get(judge.name, items)
    missing = [item for item in items if item not in present]
    answered = 0
    try:
        replies = iter(tqdm(judge.ask(missing), total=len(missing), unit="judgement", mininterval=2) if missing else ())
        while batch := list(islice(replies, COMMIT if judge.name == "miniature" else 1)):
            answered += store.add(judge.name, batch)
    finally:
        judge.close()
    log.info(
        "%s: %d of %d judgements were missing, %d were answered",
        battery,
        len(missing),
        len(items),
        answered,
    )
    if answered < len(missing):
        raise UserError(
            f"{battery}: {len(missing) - answered} of {len(missing)} judgements failed; run again, the rest is kept."
        )
    row = {"judge": judge.name, "judgements": len(items), "asked": len(missing)}
    write_table(output, pa.Table.from_pylist([row]), provenance("judging", specs.spec("judge", study)))


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--battery", required=True)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    with exclusive(given.output.with_name(f".{given.output.stem}.lock")):
        fill(load(given.study), Layout.of(given.study), given.battery, given.output)


if __name__ == "__main__":
    command.run(main)
