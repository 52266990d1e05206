"""The claims ledger: what the paper says, held against a study's own numbers (summary.json).

A claim (claims.yaml) names the rows that it is about and the test that decides it:

- `experiment`, `quantity`: of the rows. `where`: column -> the value it has, or one of several; {source} is the study's
  source organism. `seeds`: whether rows of single fine-tuning seeds are meant rather than pooled ones.
- `subject`: whom, by role, because organisms have other names in every study: `chat_base`; `source`, the organism whose
  direction is used (ablation.source or steering.source); `other_rank`, trained on the source's data set with another
  rank; `other_data`, trained on another data set; `single`, one rank-1 adapter at one layer; `misaligned`, every
  organism that is expected to be.
- `test`, one of `above` and `below` (a number, or another row), `within` (two numbers), `share_above` (how many of the
  rows exceed a value), `rises` (rank correlation of the value with the layer, at least) and `peak_within` (depth of the
  layer with the largest value; 0 is the first and 1 the last of the layers that there are).

Verdicts. A row with an interval is `reproduced` if the whole interval lies on the claim's side of the bound,
`contradicted` if it lies on the other, else `undecided`; against another row, the two intervals have to be apart. A row
without an interval is decided by its value, and the ledger says so. A claim about several rows is reproduced if all
are, contradicted if any is; the row shown is the one that stands worst. Without rows a claim is undecided, and says why
where the study could not make them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, model_validator
from scipy.stats import spearmanr
from tabulate import tabulate

from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.yaml_files import read_yaml
from workflow_scripts.study.conditions import direction_organisms
from workflow_scripts.study.fields import Real, Section
from workflow_scripts.study.layout import CHAT_BASE
from workflow_scripts.study.schema import Study

CLAIMS = Path(__file__).with_name("claims.yaml")
Role = Literal["chat_base", "source", "other_rank", "other_data", "single", "misaligned"]
Verdict = Literal["reproduced", "contradicted", "undecided"]
Row = Mapping[str, Any]
Where = dict[str, str | int | list[str]]
"""Column -> its value, or one of several."""


class Reference(Section):
    """Another row to be compared with."""

    quantity: str
    subject: Role | Literal["same"]
    where: Where = Field(default={})
    experiment: str | None = None
    """The claim's own when absent."""


class ShareAbove(Section):
    value: Real
    share: Real


class Criterion(Section):
    """Exactly one of these; see the module's docstring."""

    above: Real | Reference | None = None
    below: Real | Reference | None = None
    within: tuple[Real, Real] | None = None
    share_above: ShareAbove | None = None
    rises: Real | None = None
    peak_within: tuple[Real, Real] | None = None

    @model_validator(mode="after")
    def _one(self) -> Criterion:
        given = [name for name, value in self if value is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of {', '.join(type(self).model_fields)}")
        return self


class Claim(Section):
    id: str
    claim: str
    experiment: str
    quantity: str
    subject: Role
    where: Where = Field(default={})
    seeds: bool = False
    paper: Real | None
    """The paper's number, in the unit of the table; null where it gives none."""
    test: Criterion
    why: Mapping[str, str] = Field(default_factory=dict)
    """Study name -> one sentence, shown there if the study contradicts the claim."""


@dataclass(frozen=True)
class Entry:
    """A claim's line in the ledger. `low` and `high` are None where the verdict rests on the value alone."""

    id: str
    claim: str
    experiment: str
    quantity: str
    subject: str
    condition: str
    verdict: Verdict
    decided_by: Literal["interval", "value", "nothing"]
    value: float | None
    low: float | None
    high: float | None
    n: int | None
    rows: int
    """Rows that the claim is about."""
    paper: float | None
    test: str
    note: str


def read_claims(path: Path = CLAIMS) -> list[Claim]:
    """The claims of a YAML file.

    Raises:
        UserError: naming the entry and key, if one is not as it should be, or an id stands twice.
    """
    try:
        claims = TypeAdapter(list[Claim]).validate_python(_tuples(read_yaml(path)))
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from error
    ids = [claim.id for claim in claims]
    for name in ids:
        if ids.count(name) > 1:
            raise UserError(f"{path}: the id {name!r} stands there more than once.")
    return claims


def roles(study: Study) -> dict[str, list[str]]:
    """Organisms of a study by role; see the module's docstring."""
    misaligned = direction_organisms(study)
    part = study.ablation or study.steering
    source = part.source if part else misaligned[0]
    settings = study.organisms
    others = [name for name in misaligned if name != source]
    single = [name for name in misaligned if settings[name].rank == 1 and len(settings[name].layers or ()) == 1]
    return {
        "chat_base": [CHAT_BASE],
        "source": [source],
        "other_rank": [
            name
            for name in others
            if settings[name].dataset == settings[source].dataset and settings[name].rank != settings[source].rank
        ],
        "other_data": [name for name in others if settings[name].dataset != settings[source].dataset],
        "single": single,
        "misaligned": misaligned,
    }


def ledger(
    claims: Sequence[Claim], rows: Sequence[Row], study: Study, missing: Sequence[Mapping[str, Any]] = ()
) -> list[Entry]:
    """A verdict for each claim from the rows of a study's summary.json; its not_possible.json says why some miss."""
    return [_entry(claim, rows, roles(study), study.study.name, missing) for claim in claims]


def matching(
    rows: Sequence[Row], names: Mapping[str, Sequence[str]], experiment: str, quantity: str, role: str, where: Where,
    seeds: bool = False,
) -> list[Row]:  # fmt: skip
    """Rows of an experiment, quantity and role that have a value, and the columns that `where` asks for."""
    asked = {column: value if isinstance(value, list) else [value] for column, value in where.items()}
    asked = {column: [names["source"][0] if v == "{source}" else v for v in values] for column, values in asked.items()}
    return [
        row
        for row in rows
        if (row["experiment"], row["quantity"]) == (experiment, quantity)
        and row["subject"] in names[role]
        and row["value"] is not None
        and (row["seed"] is not None) == seeds
        and all(row[column] in values for column, values in asked.items())
    ]


def against(row: Row, test: Criterion, other: Row | None = None) -> Verdict:
    """Verdict on one row under `above`, `below` or `within`; `other` is the row that a reference names."""
    low, high = _bounds(row)
    if test.within is not None:
        if test.within[0] <= low and high <= test.within[1]:
            return "reproduced"
        return "contradicted" if high < test.within[0] or low > test.within[1] else "undecided"
    limit = test.above if test.above is not None else test.below
    other_low, other_high = _bounds(other if other is not None else {"value": limit})
    if test.above is not None:
        return "reproduced" if low > other_high else "contradicted" if high <= other_low else "undecided"
    return "reproduced" if high < other_low else "contradicted" if low >= other_high else "undecided"


def _entry(
    claim: Claim,
    rows: Sequence[Row],
    names: Mapping[str, Sequence[str]],
    study: str,
    missing: Sequence[Mapping[str, Any]],
) -> Entry:
    found = matching(rows, names, claim.experiment, claim.quantity, claim.subject, claim.where, claim.seeds)
    if not found:
        who = ", ".join(names[claim.subject])
        nothing = _not_possible(claim.experiment, missing) or "this study has no such result"
        nothing = nothing if who else "this study has no organism in that role"
        return _line(claim, None, "undecided", "nothing", 0, nothing)
    test = claim.test
    if test.share_above or test.rises is not None or test.peak_within:
        value, verdict, note = _over_rows(found, test)
        return _line(claim, {**found[0], "value": value, "low": None, "high": None, "n": len(found),
                             "subject": ", ".join(dict.fromkeys(r["subject"] for r in found)),
                             "condition": _told(claim.where)}, verdict, "value", len(found),
                     _note(claim, verdict, study, note))  # fmt: skip
    decided: list[tuple[Verdict, Row, Row | None]] = []
    reference = next((b for b in (test.above, test.below) if isinstance(b, Reference)), None)
    for row in found:
        other = None
        if reference is not None:
            whom = {**names, "same": [row["subject"]]}
            experiment = reference.experiment or claim.experiment
            others = matching(rows, whom, experiment, reference.quantity, reference.subject, reference.where)
            if not others:
                nothing = f"no row of {_named(reference)} to compare with"
                why = _not_possible(experiment, missing)
                return _line(claim, row, "undecided", "nothing", len(found), "; ".join(filter(None, (nothing, why))))
            other = others[0]
        decided.append((against(row, test, other), row, other))
    order = {"contradicted": 0, "undecided": 1, "reproduced": 2}
    verdict, row, other = min(decided, key=lambda d: (order[d[0]], -_distance(d[1], test)))
    by: Literal["interval", "value"] = (
        "interval" if all(_has_interval(r) for r in (row, other) if r is not None) else "value"
    )
    note = f"compared with {_number(other['value'])} of {_named(reference)}" if other is not None and reference else ""
    return _line(claim, row, verdict, by, len(found), _note(claim, verdict, study, note))


def _not_possible(experiment: str, missing: Sequence[Mapping[str, Any]]) -> str:
    """Why rows of an experiment could not be made, without the advice; empty where all could."""
    reasons = [entry["why"] for entry in missing if experiment in entry["experiments"]]
    more = f", and {len(reasons) - 1} more, see not_possible.json" if len(reasons) > 1 else ""
    return f"not possible: {reasons[0].partition('. ')[0]}{more}" if reasons else ""


def _over_rows(found: Sequence[Row], test: Criterion) -> tuple[float, Verdict, str]:
    values = [float(row["value"]) for row in found]
    if test.share_above:
        share = sum(value > test.share_above.value for value in values) / len(values)
        met = share >= test.share_above.share
        return share, "reproduced" if met else "contradicted", f"lowest {min(values):.2f}"
    layers = [_layer(row) for row in found]
    if test.rises is not None:
        correlation = float(spearmanr(layers, values).statistic) if len(set(layers)) > 2 else float("nan")
        verdict: Verdict = (
            "reproduced" if correlation >= test.rises else "contradicted" if correlation <= 0 else "undecided"
        )
        return correlation, verdict, "rank correlation of value and layer"
    assert test.peak_within
    best = layers[max(range(len(values)), key=values.__getitem__)]
    depth = (best - min(layers)) / max(1, max(layers) - min(layers))
    inside = test.peak_within[0] <= depth <= test.peak_within[1]
    return (
        depth,
        "reproduced" if inside else "contradicted",
        f"depth of the best layer, {best}; {max(values):.2f} there",
    )


def _layer(row: Row) -> int:
    if row["layer"] is None:
        raise UserError(f"claims: the row {row['condition']!r} has no layer; the claim's test needs one.")
    return int(row["layer"])


def _told(where: Where) -> str:
    """Columns that a claim asks for, as people read them."""
    parts = (" or ".join(map(str, value)) if isinstance(value, list) else str(value) for value in where.values())
    return ", ".join(parts)


def _distance(row: Row, test: Criterion) -> float:
    """How far a row is on the wrong side, larger is worse."""
    if test.within is not None:
        return abs(float(row["value"]) - sum(test.within) / 2)
    return float(row["value"]) * (1 if test.below is not None else -1)


def _has_interval(row: Row) -> bool:
    return row.get("low") is not None and row.get("high") is not None


def _bounds(row: Row) -> tuple[float, float]:
    if _has_interval(row):
        return float(row["low"]), float(row["high"])
    return float(row["value"]), float(row["value"])


def _line(
    claim: Claim, row: Row | None, verdict: Verdict, by: Literal["interval", "value", "nothing"], rows: int, note: str
) -> Entry:
    shown = row or {"subject": claim.subject, "condition": _told(claim.where), "value": None, "n": None}
    return Entry(
        claim.id, claim.claim, claim.experiment, claim.quantity, shown["subject"], shown["condition"], verdict, by,
        shown["value"], shown.get("low"), shown.get("high"), shown["n"], rows, claim.paper, described(claim.test), note,
    )  # fmt: skip


def _note(claim: Claim, verdict: Verdict, study: str, note: str) -> str:
    why = claim.why.get(study, "") if verdict == "contradicted" else ""
    return "; ".join(part for part in (note, why) if part)


def described(test: Criterion) -> str:
    """The test as people read it."""
    name, value = next((name, value) for name, value in test if value is not None)
    if isinstance(value, Reference):
        return f"{name} {_named(value)}"
    if isinstance(value, ShareAbove):
        return f"at least {value.share:.0%} above {value.value:g}"
    if isinstance(value, tuple):
        where = "best layer at depth" if name == "peak_within" else "within"
        return f"{where} {value[0]:g} to {value[1]:g}"
    return f"rises with depth, rank correlation at least {value:g}" if name == "rises" else f"{name} {value:g}"


def _named(reference: Reference) -> str:
    told = _told(reference.where)
    condition = "" if told in ("", "none") else f" under {told}"
    return f"{reference.quantity} of {reference.subject.replace('same', 'the same model')}{condition}"


def text(entries: Sequence[Entry], title: str) -> str:
    """The ledger as plain text, with the counts of verdicts on top."""
    counts = {name: sum(e.verdict == name for e in entries) for name in ("reproduced", "contradicted", "undecided")}
    rows = [
        [e.id, e.experiment, e.verdict, e.subject, _number(e.value),
         "" if e.low is None else f"{_number(e.low)} to {_number(e.high)}", "" if e.n is None else e.n,
         _number(e.paper), e.test, e.note]
        for e in entries
    ]  # fmt: skip
    header = ["claim", "", "verdict", "subject", "value", "95 % interval", "n", "paper", "test", "note"]
    summary = ", ".join(f"{count} {name}" for name, count in counts.items())
    table = tabulate(rows, header, tablefmt="simple", disable_numparse=True)
    return f"{title}\n{summary}\n\n{table}\n"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _tuples(value: Any) -> Any:
    """Pairs of YAML as tuples, which the strict schema asks for."""
    if isinstance(value, dict):
        return {
            k: tuple(v) if k in ("within", "peak_within") and isinstance(v, list) else _tuples(v)
            for k, v in value.items()
        }
    return [_tuples(part) for part in value] if isinstance(value, list) else value
