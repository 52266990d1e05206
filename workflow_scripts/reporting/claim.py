"""What a claim of the ledger is: its rows, and the test that decides it. claims.yaml holds the paper's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.yaml_files import read_yaml
from workflow_scripts.study.fields import Real, Section

CLAIMS = Path(__file__).with_name("claims.yaml")
Role = Literal[
    "chat_base", "source", "steered", "other_rank", "other_data", "single", "edited", "adapters", "path", "misaligned",
    "narrow", "broad", "inoculated", "steered_in_training", "projected_in_training", "held_to_base", "mixed",
    "apart", "walked", "cued", "beside_vector",
]  # fmt: skip
Dimension = Literal["kind", "seed", "layer", "cell", "topic", "window", "way", "pair", "direction", "draw"]
Where = dict[str, str | int | list[str]]
"""Column -> its value, or one of several."""


class Reference(Section):
    """Another row that a row is held against: the one with the same facts where both have them, else of any."""

    quantity: str
    subject: Role | Literal["same"] = "same"
    where: Where = Field(default={})
    experiment: str | None = None
    """The claim's own when absent."""


class ShareAbove(Section):
    """How many of the rows have to be above a value, above the upper end of a null, or both."""

    share: Real
    value: Real | None = None
    over: Reference | None = None


class Criterion(Section):
    """All that are given have to hold; see reporting/ledger.py."""

    above: Real | Reference | None = None
    below: Real | Reference | None = None
    within: tuple[Real, Real] | None = None
    limited: Real | None = None
    shown: Real | None = None
    exceeds: Reference | None = None
    share_above: ShareAbove | None = None
    rises: Real | None = None
    peak_within: tuple[Real, Real] | None = None
    asymmetric: Real | None = None

    @model_validator(mode="after")
    def _some(self) -> Criterion:
        if all(value is None for _, value in self):
            raise ValueError(f"needs one of {', '.join(type(self).model_fields)}")
        return self

    @property
    def reference(self) -> Reference | None:
        """The other row that a test of single rows names."""
        named_ = (self.above, self.below, self.exceeds)
        return next((given for given in named_ if isinstance(given, Reference)), None)

    @property
    def parts(self) -> list[Criterion]:
        """Each of its tests by itself."""
        return [Criterion(**{name: value}) for name, value in self if value is not None]


class Floor(Section):
    """What a row has to rest on before it decides anything."""

    quantity: str
    """Whose responses count, under the same kind of condition."""
    n: int
    coherence: Real
    """Share of coherent responses under the same kind of condition."""


class Claim(Section):
    id: str
    claim: str
    experiment: str
    quantity: str
    subject: Role
    where: Where = Field(default={})
    each: list[Dimension] = Field(default=[])
    """What there has to be a row of, beside every organism of the role."""
    some: bool = False
    """Whether one row is enough, rather than all."""
    paper: Real | None
    """The paper's number, in the unit of the table; null where it gives none."""
    test: Criterion
    bound: str
    """Why the test asks for as much as it does; written before there was a result to meet it."""
    effect: bool = True
    """Whether it says that something happens. What says that something is small or absent is true of a study in which
    nothing happens as well."""
    given: str | None = None
    """Id of the claim whose effect this one is about; undecided unless that one is reproduced."""
    floor: Floor | None = None
    later: str | None = None
    """Source of later work that it comes from. Shown where the study asks for its experiment, and not counted."""
    why: Mapping[str, str] = Field(default_factory=dict)
    """Study name -> one sentence, shown there if the study contradicts the claim."""


def read_claims(path: Path = CLAIMS) -> list[Claim]:
    """The claims of a YAML file.

    Raises:
        UserError: naming the entry and key, if one is not as it should be, or an id stands twice or nowhere.
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
    for place, claim in enumerate(claims):
        if claim.given is not None and claim.given not in ids[:place]:
            raise UserError(f"{path}: {claim.id}: given {claim.given!r} is the id of no earlier claim.")
    return claims


def described(test: Criterion) -> str:
    """The test as people read it."""
    return " and ".join(_described(part) for part in test.parts)


def _described(test: Criterion) -> str:
    name, value = next((name, value) for name, value in test if value is not None)
    if isinstance(value, Reference):
        return f"{'above the null,' if name == 'exceeds' else name} {named(value)}"
    if isinstance(value, ShareAbove):
        over = [f"{value.value:g}"] if value.value is not None else []
        over += [f"the null, {named(value.over)}"] if value.over is not None else []
        return f"at least {value.share:.0%} above {' and '.join(over)}"
    if isinstance(value, tuple):
        where = "best layer at depth" if name == "peak_within" else "within"
        return f"{where} {value[0]:g} to {value[1]:g}"
    told = {
        "rises": "rises with depth, rank correlation at least {:g}",
        "limited": "not 0, and within ± {:g}",
        "shown": "at least {:g} shown",
        "asymmetric": "differs by more than {:g} between the two ways",
    }
    return told.get(name, f"{name} {{:g}}").format(value)


def told(where: Where) -> str:
    """Columns that a claim asks for, as people read them."""
    parts = (" or ".join(map(str, value)) if isinstance(value, list) else str(value) for value in where.values())
    return ", ".join(parts)


def named(reference: Reference) -> str:
    """A reference as people read it."""
    asked = told(reference.where)
    condition = "" if asked in ("", "none") else f" under {asked}"
    return f"{reference.quantity} of {reference.subject.replace('same', 'the same model')}{condition}"


def _tuples(value: Any) -> Any:
    """Pairs of YAML as tuples, which the strict schema asks for."""
    if isinstance(value, dict):
        return {
            k: tuple(v) if k in ("within", "peak_within") and isinstance(v, list) else _tuples(v)
            for k, v in value.items()
        }
    return [_tuples(part) for part in value] if isinstance(value, list) else value
