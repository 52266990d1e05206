"""A judging run: one judge for a battery's responses, filling the judgement store with what is missing.

With --dry it says how many calls that takes, and with a remote judge what they cost, and makes none.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from workflow_scripts.judges.cost import estimate
from workflow_scripts.judges.identity import JudgeIdentity, identify, place_of
from workflow_scripts.judges.interface import Item
from workflow_scripts.judges.opening import open_judge
from workflow_scripts.judges.run import ask_missing, unpaid
from workflow_scripts.judges.store import JudgementStore
from workflow_scripts.runtime import command
from workflow_scripts.runtime.locks import exclusive
from workflow_scripts.store.artefacts import read_table, write_table
from workflow_scripts.store.judgement_tables import ROW
from workflow_scripts.study.conditions import asked_metrics, battery_subjects, keeps_scores
from workflow_scripts.study.judge import RemoteJudge
from workflow_scripts.study.layout import PRIMARY, Layout
from workflow_scripts.study.made_by import made_by
from workflow_scripts.study.panel import loaded
from workflow_scripts.study.sampling import Battery
from workflow_scripts.study.schema import Study


def wanted(study: Study, layout: Layout, battery: Battery, judge: JudgeIdentity) -> list[Item]:
    """Every call that a battery's judgements rest on, each once: equal responses to a question are judged together."""
    told: dict[tuple[str, str, str], None] = {}
    columns = [*(ROW[1:] if judge.by_place else ()), "question", "response"]
    for subject in battery_subjects(study, battery):
        if keeps_scores(study, subject):
            continue
        table = read_table(layout.responses(subject, battery), columns, only=True)
        for row in table.to_pylist():
            place = place_of(subject, battery, row) if judge.by_place else ""
            told[row["question"], row["response"], place] = None
    metrics = asked_metrics(study, battery)
    return list(dict.fromkeys(item for response in told for item in judge.items(*response) if item.metric in metrics))


def fill(study: Study, layout: Layout, battery: Battery, output: Path) -> None:
    """Asks the judge for what a battery's responses lack in the store, and writes the run's manifest.

    Raises:
        UserError: if it would cost more than the budget, or judgements failed; the others are kept.
    """
    judge, store = open_judge(study, layout), JudgementStore(layout.judgement_store)
    items = wanted(study, layout, battery, judge.identity)
    asked = ask_missing(study, judge, store, items, battery, layout.spender)
    store.close()
    row = {"judge": judge.identity.name, "judgements": len(items), "asked": asked}
    write_table(output, pa.Table.from_pylist([row]), made_by("judging", study, layout, output, ()))


def count(study: Study, layout: Layout, battery: Battery) -> str:
    """How many judgements a run would make, and with a remote judge what they cost; makes none."""
    judge = identify(study, layout)
    items = wanted(study, layout, battery, judge)
    store = JudgementStore(layout.judgement_store)
    missing = store.missing(judge.name, items)
    told = f"{battery}: {len(missing):,} of {len(items):,} judgements are missing"
    if not isinstance(study.judge, RemoteJudge):
        return told
    new = unpaid(study.judge, judge.name, store, missing)
    spent = store.spent(layout.spender)
    so_far = f"; {spent.usd:.2f} USD spent so far, for {spent.calls:,} calls" if spent.calls else ""
    waiting = f", {len(missing) - len(new):,} of them ordered already" if len(new) < len(missing) else ""
    return f"{told}{waiting}: {estimate(study.judge, new)}{so_far}"


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--battery", required=True)
    parser.add_argument("--judge", default=PRIMARY, help="one of the study's panel; its first judge when absent")
    goal = parser.add_mutually_exclusive_group(required=True)
    goal.add_argument("--output", type=Path, help="table of what was asked")
    goal.add_argument("--dry", action="store_true", help="print the number of calls and their cost, and make none")
    given = parser.parse_args(arguments)
    study, layout = loaded(given.study, given.judge)
    if given.dry:
        print(count(study, layout, given.battery))
        return
    with exclusive(given.output.with_name(f".{given.output.stem}.lock")):
        fill(study, layout, given.battery, given.output)


if __name__ == "__main__":
    command.run(main)
