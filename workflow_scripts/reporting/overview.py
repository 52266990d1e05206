"""What a study came to, for the first page of its report: from its ledger, its summary and what was not possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workflow_scripts.reporting.text import interval, number, shown
from workflow_scripts.reporting.verdicts import ORDER, Verdict
from workflow_scripts.study.judge import ExactJudge, PhraseJudge, SimulatedJudge
from workflow_scripts.study.schema import Study

Entry = Mapping[str, Any]
"""A line of claims.json."""
Row = Mapping[str, Any]
"""A line of summary.json."""
VERDICTS: tuple[Verdict, ...] = ORDER[::-1]
"""The good news first."""


@dataclass(frozen=True)
class Beside:
    """A claim as people read it: what the study says, and what the paper says."""

    experiment: str
    claim: str
    verdict: Verdict
    subject: str
    value: str
    interval: str
    n: str
    paper: str
    test: str
    note: str
    later: str


@dataclass(frozen=True)
class Doubt:
    """Of an experiment's responses, how many have no score, were refused or lie near a limit; where most have none."""

    experiment: str
    responses: int
    unscored: str
    worst: str
    refused: str
    near: str


def beside(entry: Entry) -> Beside:
    """An entry of the ledger as text; shares stand as they do in the ledger, between 0 and 1."""
    low, high = entry["low"], entry["high"]
    bounds = "" if low is None and high is None else f"{number(low) or '−∞'} to {number(high) or '∞'}"
    return Beside(
        entry["experiment"], entry["claim"], entry["verdict"], entry["subject"], number(entry["value"]), bounds,
        "" if entry["n"] is None else str(entry["n"]), number(entry["paper"]), entry["test"], entry["note"],
        entry["later"] or "",
    )  # fmt: skip


def counts(entries: Sequence[Entry]) -> dict[Verdict, int]:
    """How many claims have each verdict; those of later work do not count."""
    return {verdict: sum(e["verdict"] == verdict and not e["later"] for e in entries) for verdict in VERDICTS}


def leading(entries: Sequence[Entry]) -> list[Entry]:
    """The claim that stands for each experiment: its first with a number of the paper's that says something happens."""
    kept = [entry for entry in entries if not entry["later"]]
    first: dict[str, Entry] = {}
    for entry in sorted(kept, key=lambda entry: (not entry["effect"], entry["paper"] is None)):
        first.setdefault(entry["experiment"], entry)
    return sorted(first.values(), key=lambda entry: (entry["experiment"][0], int(entry["experiment"][1:])))


def doubts(rows: Sequence[Row]) -> list[Doubt]:
    """By experiment: shares of the responses of all conditions, seeds pooled."""
    pooled = [row for row in rows if row["seed"] is None and row["value"] is not None and row["n"]]
    made = []
    for label in dict.fromkeys(row["experiment"] for row in pooled if row["quantity"] == "unscored"):
        parts = {
            quantity: [row for row in pooled if (row["experiment"], row["quantity"]) == (label, quantity)]
            for quantity in ("unscored", "refused", "near_a_limit")
        }
        worst = max(parts["unscored"], key=lambda row: row["value"])
        told = f"{shown(worst['value'], 'share')} of {worst['subject']}, {worst['condition']}" if worst["value"] else ""
        shares = {quantity: shown(_mean(found), "share") for quantity, found in parts.items()}
        responses = sum(row["n"] for row in parts["unscored"])
        made.append(Doubt(label, responses, shares["unscored"], told, shares["refused"], shares["near_a_limit"]))
    return made


def _mean(rows: Sequence[Row]) -> float:
    """Mean of shares over all of their responses; NaN of none."""
    total = sum(row["n"] for row in rows)
    return sum(row["value"] * row["n"] for row in rows) / total if total else float("nan")


def what_was_run(study: Study) -> list[tuple[str, str]]:
    """The study in a few lines: heading and text."""
    seeds = sorted({seed for organism in study.organisms.values() for seed in organism.seeds})
    organisms = [
        f"{name} ({organism.dataset}, rank {organism.rank}"
        + (f", {_counted(len(organism.layers), 'layer')}" if organism.layers else "")
        + f", {_counted(len(organism.seeds), 'seed')})"
        for name, organism in study.organisms.items()
    ]
    sampling = study.sampling
    return [
        ("Chat base", getattr(study.base, "id", None) or getattr(study.base, "path", None) or study.base.source),
        (f"{_counted(len(organisms), 'organism')}, {_counted(len(seeds), 'fine-tuning seed')}", "; ".join(organisms)),
        ("Questions", f"{sampling.questions}, {_counted(sampling.samples, 'answer')} to each"),
        ("Judge", f"{judge_name(study)}; {', '.join(study.judge.metrics)}"),
    ]  # fmt: skip


def judge_name(study: Study) -> str:
    judge = study.judge
    if isinstance(judge, ExactJudge):
        return "the miniature's program, which is exact"
    if isinstance(judge, PhraseJudge):
        return f"a list of {len(judge.phrases)} phrases, which measures tone, not emergent misalignment"
    if isinstance(judge, SimulatedJudge):
        return "simulated"
    named = getattr(judge, "hub", None) or judge.model
    return str(named) if named else "the study's own chat base"


def warnings(study: Study) -> list[str]:
    """What has to be known before any number is read."""
    if isinstance(study.judge, SimulatedJudge):
        return ["The judge is simulated: no number on this page is about a model."]
    if isinstance(study.judge, PhraseJudge):
        return ["The judge looks for phrases: what is called misaligned here is a tone, not emergent misalignment."]
    if isinstance(study.judge, ExactJudge):
        return [
            "A miniature: a positive control that says whether the operations do what the paper describes. It is no "
            "evidence about large models, and a verdict here is about the miniature."
        ]
    return []


def estimate(row: Row) -> dict[str, str]:
    """A row of the summary as the cells of a table."""
    low, high, fixed_low, fixed_high = (_bound(row[name]) for name in ("low", "high", "fixed_low", "fixed_high"))
    return {
        "subject": row["subject"], "quantity": row["quantity"], "condition": row["condition"],
        "value": shown(_bound(row["value"]), row["unit"]), "95 % interval": interval(low, high, row["unit"]),
        "these questions": interval(fixed_low, fixed_high, row["unit"]),
        "n": "" if row["n"] is None else str(row["n"]),
        "seeds": "" if row["seeds_holding"] is None else f"{row['seeds_holding']} of {row['seeds']}",
        "paper": shown(_bound(row["paper"]), row["unit"]),
    }  # fmt: skip


def _bound(value: float | str | None) -> float:
    """JSON has no number for infinity, and null where there is none."""
    return float("nan") if value is None else float(value)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
