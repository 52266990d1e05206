"""The claims ledger: what the paper says, held against a study's own numbers (summary.json).

A claim (claims.yaml) names the rows that it is about and the test that decides it:

- `experiment`, `quantity`: of the rows. `where`: column -> the value it has, or one of several; {source} is the study's
  source organism. `subject`: whom, by role, because organisms have other names in every study (see
  `reporting.claim_rows.roles`).
- `each`: what there has to be a row of beside each organism of the role (`seed`, `layer`, `topic`, …). A claim knows
  from the study which rows there have to be; with fewer it is undecided, and the absent ones are named.
- `test`, all parts of which have to hold: `above` and `below` (a number, or another row), `within` (two numbers),
  `limited` (differs from 0, and by less than this), `shown` (a count; fewer leave a claim undecided, for what is not
  shown may be there), `exceeds` (the upper end of a null, the row of
  a reference; not to exceed it is undecided), `share_above` (how many of the rows
  exceed a value, their null, or both), `rises` (rank correlation of the value with the layer, at least), `peak_within`
  (depth of the layer with the largest value; 0 is the model's first layer and 1 its last), `asymmetric` (what one
  direction does to another organism against the way back). `bound` says why it asks for as much as it does.
- `given`: the claim whose effect it speaks of. `floor`: what a row has to rest on. `some`: one row is enough.

Verdicts. A row with an interval is `reproduced` if the whole interval lies on the claim's side of the bound,
`contradicted` if it lies on the other, else `undecided`. The interval is the one for these very questions, where there
is one: whether a model does something on the questions that the paper asks too; the note says whether the one for other
questions of their kind decides likewise. Fine-tuning seeds are an upper cluster of both, and the note says in how many
of them a change holds by itself. A row without a sampling interval is held against the null of the study, or decided
by its value; the ledger says so. A claim about several rows is reproduced if all are, contradicted if any is; the row
shown is the one that stands worst. `decides` is the value that a study with this row's interval tells from the bound in
80 % of cases: what an undecided claim would have needed.

A verdict is wrong in up to 2.5 % of cases where nothing is true. The head of the ledger gives the number of false ones
to be expected over all claims that assert an effect; docs/verdicts.md has how many there were in simulated studies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tabulate import tabulate

from workflow_scripts.reporting.claim import Claim, Criterion, Reference, described, named, told
from workflow_scripts.reporting.claim_rows import Cell, Row, absent, expected, matching, of_single_seeds, partner, roles
from workflow_scripts.reporting.text import number
from workflow_scripts.reporting.verdicts import (
    ORDER,
    Basis,
    Verdict,
    bounds,
    distance,
    of_row,
    over_rows,
    smallest,
    worst,
)
from workflow_scripts.study.conditions import total_layers
from workflow_scripts.study.schema import Study

FALSE_RATE = 0.025
"""How often a claim that is false is called reproduced, at most: one side of a 95 % interval."""


@dataclass(frozen=True)
class Entry:
    """A claim's line in the ledger. `low` and `high` are None where the verdict rests on no interval."""

    id: str
    claim: str
    experiment: str
    quantity: str
    subject: str
    condition: str
    verdict: Verdict
    decided_by: Basis
    value: float | None
    low: float | None
    high: float | None
    n: int | None
    rows: int
    """Rows that the claim is about."""
    expected: int
    """Rows that there have to be."""
    paper: float | None
    test: str
    bound: str
    decides: float | None
    effect: bool
    later: str | None
    note: str


def ledger(
    claims: Sequence[Claim], rows: Sequence[Row], study: Study, missing: Sequence[Mapping[str, Any]] = ()
) -> list[Entry]:
    """A verdict for each claim from the rows of a study's summary.json; its not_possible.json says why some miss.

    Claims of later work about an experiment that the study does not ask for are left out; the paper's are not.
    """
    judge, made = _Judge(rows, study, missing), dict[str, Entry]()
    asked = {row["experiment"] for row in rows}.union(*(entry["experiments"] for entry in missing))
    for claim in claims:
        if claim.later is not None and claim.experiment not in asked:
            continue
        entry = judge.entry(claim)
        about = made.get(claim.given or "")
        if about is not None and about.verdict != "reproduced" and entry.verdict != "undecided":
            note = f"{claim.given}, which it is about, is {about.verdict}"
            entry = replace(entry, verdict="undecided", note="; ".join(filter(None, (note, entry.note))))
        made[claim.id] = entry
    return list(made.values())


@dataclass(frozen=True)
class _Found:
    """What one part of a test says: the verdict, and the row that stands worst."""

    verdict: Verdict
    row: Row
    basis: Basis
    note: str
    decides: float | None


class _Judge:
    """The rows of one study."""

    def __init__(self, rows: Sequence[Row], study: Study, missing: Sequence[Mapping[str, Any]]) -> None:
        self.rows, self.study, self.missing, self.names = rows, study, missing, roles(study)

    def entry(self, claim: Claim) -> Entry:
        if not self.names[claim.subject]:
            return self._undecided(claim, [], [], "this study has no organism in that role")
        seeds = of_single_seeds(claim.each)
        found = matching(self.rows, self.names, claim.experiment, claim.quantity, claim.subject, claim.where, seeds)
        cells = expected(claim, self.names, self.study)
        lacking = absent(cells, found)
        if not found:
            return self._undecided(claim, [], cells, self._why(claim.experiment) or "this study has no such result")
        if lacking or not cells:
            note = f"absent: {_listed(lacking)}" if cells else "this study asks for no such row"
            return self._undecided(claim, found, cells, "; ".join(filter(None, (note, self._why(claim.experiment)))))
        parts = [self._part(claim, part, found) for part in claim.test.parts]
        if isinstance(parts[0], str) or any(isinstance(part, str) for part in parts):
            return self._undecided(claim, found, cells, next(part for part in parts if isinstance(part, str)))
        decided = [part for part in parts if isinstance(part, _Found)]
        chosen = min(decided, key=lambda part: ORDER.index(part.verdict))
        verdict = worst([part.verdict for part in decided])
        why = claim.why.get(self.study.study.name, "") if verdict == "contradicted" else ""
        notes = [*(part.note for part in decided), self._floor(claim, found), why]
        if notes[-2]:
            verdict = "undecided"
        return _line(claim, chosen.row, verdict, chosen.basis, len(found), len(cells), chosen.decides, notes)

    def _part(self, claim: Claim, test: Criterion, found: Sequence[Row]) -> _Found | str:
        """What one test says of the rows; a sentence where it cannot be made."""
        if test.share_above or test.rises is not None or test.peak_within or test.asymmetric is not None:
            nulls: list[Row | None] = [None] * len(found)
            if test.share_above and test.share_above.over:
                nulls = [self._other(claim, row, test.share_above.over) for row in found]
                if None in nulls:
                    return f"no row of {named(test.share_above.over)} to compare with"
            value, verdict, note = over_rows(found, test, total_layers(self.study), nulls)
            subjects = ", ".join(dict.fromkeys(row["subject"] for row in found))
            shown = {**found[0], "value": value, "low": None, "high": None, "fixed_low": None, "fixed_high": None,
                     "n": len(found), "subject": subjects, "condition": told(claim.where)}  # fmt: skip
            by: Basis = "null" if test.share_above and test.share_above.over else "value"
            return _Found(verdict, shown, by, note, None)
        decided: list[tuple[Verdict, Row, Row | None]] = []
        for row in found:
            other = self._other(claim, row, test.reference) if test.reference else None
            if test.reference and other is None:
                return f"no row of {named(test.reference)} to compare with"
            decided.append((of_row(row, test, other), row, other))
        best_first = sorted(decided, key=lambda d: (-ORDER.index(d[0]), distance(d[1], test)))
        verdict, row, other = best_first[0] if claim.some else best_first[-1]
        if claim.some and any(d[0] == "undecided" for d in decided) and verdict == "contradicted":
            verdict = "undecided"
        basis = "null" if test.exceeds else bounds(row).basis
        return _Found(verdict, row, basis, self._row_note(row, test, other, verdict), smallest(row, test, other))

    def _row_note(self, row: Row, test: Criterion, other: Row | None, verdict: Verdict) -> str:
        if test.exceeds and other is not None:
            spread = f" to {number(other['high'])}" if other["high"] is not None else ""
            return f"null: {number(other['value'])}{spread}"
        notes = [] if other is None else [f"compared with {number(other['value'])}"]
        if bounds(row).basis == "these questions":
            others = of_row(row, test, other, other_questions=True)
            if others != verdict:
                notes.append(f"for other questions {others}")
        if row.get("seeds") is not None and row.get("seeds_holding") is not None and row["seeds"] > 1:
            notes.append(f"by itself in {row['seeds_holding']} of {row['seeds']} seeds")
        return ", ".join(notes)

    def _other(self, claim: Claim, row: Row, reference: Reference) -> Row | None:
        """The row that a reference names, for one of the claim's."""
        whom = {**self.names, "same": [row["subject"]]}
        experiment = reference.experiment or claim.experiment
        seeds = row["seed"] is not None
        others = matching(self.rows, whom, experiment, reference.quantity, reference.subject, reference.where, seeds)
        return partner(row, others)

    def _floor(self, claim: Claim, found: Sequence[Row]) -> str:
        """What the rows do not rest on; empty where they stand firm."""
        if claim.floor is None:
            return ""
        for row in found:
            whose, where = {"same": [row["subject"]]}, {"kind": row["kind"]}
            kept, fluent = (
                [r for r in found_ if r["source"] in (None, row["source"])]
                for quantity in (claim.floor.quantity, "coherence")
                for found_ in [matching(self.rows, whose, claim.experiment, quantity, "same", where)]
            )
            count = kept[0]["n"] if kept else 0
            if count < claim.floor.n:
                return f"rests on {count} responses, {claim.floor.n} are asked for"
            if fluent and fluent[0]["value"] < claim.floor.coherence:
                share = f"{fluent[0]['value']:.0%}"
                return f"{share} of the responses are coherent, {claim.floor.coherence:.0%} are asked for"
        return ""

    def _why(self, experiment: str) -> str:
        """Why rows of an experiment could not be made, without the advice; empty where all could."""
        reasons = [entry["why"] for entry in self.missing if experiment in entry["experiments"]]
        more = f", and {len(reasons) - 1} more, see not_possible.json" if len(reasons) > 1 else ""
        return f"not possible: {reasons[0].partition('. ')[0]}{more}" if reasons else ""

    def _undecided(self, claim: Claim, found: Sequence[Row], cells: Sequence[Cell], note: str) -> Entry:
        return _line(claim, None, "undecided", "nothing", len(found), len(cells), None, [note])


def _line(
    claim: Claim,
    row: Row | None,
    verdict: Verdict,
    by: Basis,
    rows: int,
    cells: int,
    decides: float | None,
    notes: Sequence[str],
) -> Entry:
    shown = row or {"subject": claim.subject, "condition": told(claim.where), "value": None, "n": None}
    low, high = None, None
    if row is not None and by not in ("value", "null", "nothing"):
        found = bounds(row)
        low, high = _finite(found.low), _finite(found.high)
    return Entry(
        claim.id, claim.claim, claim.experiment, claim.quantity, shown["subject"], shown["condition"], verdict, by,
        _finite(shown["value"]), low, high, shown["n"], rows, cells, claim.paper, described(claim.test), claim.bound,
        _finite(decides),
        claim.effect, claim.later, "; ".join(dict.fromkeys(filter(None, notes))),
    )  # fmt: skip


def _listed(cells: Sequence[Cell]) -> str:
    """The first few cells that have no row."""
    told_ = [[" – ".join(sorted(v)) if isinstance(v, frozenset) else str(v) for v in c.values()] for c in cells[:3]]
    shown = ["/".join(parts) for parts in told_]
    return ", ".join(shown) + (f" and {len(cells) - 3} more" if len(cells) > 3 else "")


def text(entries: Sequence[Entry], title: str) -> str:
    """The ledger as plain text, with the counts of verdicts on top; later work's claims are not counted."""
    counted = [entry for entry in entries if entry.later is None]
    counts = {name: sum(e.verdict == name for e in counted) for name in ("reproduced", "contradicted", "undecided")}
    rows = [
        [e.id, e.experiment, e.verdict + ("" if e.later is None else " *"), e.subject, number(e.value),
         _interval(e), e.decided_by, "" if e.n is None else e.n,
         number(e.paper), e.test, number(e.decides), e.note]
        for e in entries
    ]  # fmt: skip
    header = [
        "claim",
        "",
        "verdict",
        "subject",
        "value",
        "95 % interval",
        "by",
        "n",
        "paper",
        "test",
        "decides",
        "note",
    ]
    summary = ", ".join(f"{count} {name}" for name, count in counts.items())
    table = tabulate(rows, header, tablefmt="simple", disable_numparse=True)
    return f"{title}\n{summary}\n{_expectation(counted)}\n\n{table}\n{_footnote(entries)}"


def _expectation(entries: Sequence[Entry]) -> str:
    """How many false verdicts there would be if nothing were true."""
    tried = sum(entry.effect and entry.decided_by != "nothing" for entry in entries)
    return (
        f"Were nothing true, at most {FALSE_RATE * tried:.1f} of the {tried} claims that assert an effect would be "
        "called reproduced."
    )


def _footnote(entries: Sequence[Entry]) -> str:
    later = [entry for entry in entries if entry.later is not None]
    return "* of later work, not counted\n" if later else ""


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _interval(entry: Entry) -> str:
    if entry.low is None and entry.high is None:
        return ""
    return f"{number(entry.low) or '−∞'} to {number(entry.high) or '∞'}"
