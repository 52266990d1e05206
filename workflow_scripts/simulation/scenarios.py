"""What a scenario says: the truth that a simulated study is drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from workflow_scripts.runtime.errors import UserError
from workflow_scripts.runtime.spelling import nearest
from workflow_scripts.store.yaml_files import read_yaml
from workflow_scripts.study.fields import NotNegative, Positive, Real, Score, Section, Share
from workflow_scripts.study.judge import SCENARIOS

ByRole = dict[str, Share]
"""By role of the organism (reporting/claim_rows.py), `misaligned` or `any` for those without an entry of their own."""


def _check_interpolated(places: Sequence[float], *values: Sequence[float]) -> None:
    """Raises a PydanticCustomError unless the places rise and each has a value."""
    if not places or any(low >= high for low, high in pairwise(places)):
        raise PydanticCustomError("places", "the places between which it is interpolated do not rise")
    if any(len(each) != len(places) for each in values):
        raise PydanticCustomError("places", "its lists are not all of one length")


class Curve(Section):
    """Steering at the best layer, by dose: shares of all answers. Between the doses they are interpolated."""

    at: list[NotNegative]
    """λ over the largest scale of the study's steering grid, rising."""
    em: list[Share]
    coherent: list[Share]
    turned: list[Share]
    """Aligned, yet with something bad (self-correction)."""

    @model_validator(mode="after")
    def _can_be_interpolated(self) -> Self:
        _check_interpolated(self.at, self.em, self.coherent, self.turned)
        return self


class Depth(Section):
    """Where steering works: a bell over relative depth, 0 to 1."""

    centre: Share
    sd: Positive


class Checkpoint(Section):
    """Scaled copies of an adapter along its training: EM rises to `em`, half of it at step `halfway`."""

    scale: Real
    em: Share
    halfway: Positive
    coherent: Share


class Directions(Section):
    """Mean differences; null cosines: as those of shuffled labels."""

    depths: list[Share]
    norms: list[Positive]
    """Of v at these relative depths; their logarithms are interpolated."""
    activation_norm: Positive
    """Mean norm of activations over that of v."""
    mean_norm: Positive
    """Norm of the mean activation over that of v."""
    cosine: Share | None
    """Of two organisms' directions."""
    low_cosine: Share | None
    """The same in the last layers."""
    low_layers: Share
    """Their share of all."""
    topics: ByRole | None
    """Cosine of a topic's direction with the general one, by metric."""
    datasets: Share | None
    """Cosine of the directions from responses and from data sets."""
    shuffled_norm: Positive
    """Norm of directions of shuffled labels over that of v."""
    shuffled_dimensions: int = Field(ge=1, le=64)
    """Dimensions that these lie in, at each layer the same for all organisms."""

    @model_validator(mode="after")
    def _can_be_interpolated(self) -> Self:
        _check_interpolated(self.depths, self.norms)
        return self


class Downstream(Section):
    """Largest cosine of the single adapter's and the direction's push, by side, and at which relative depth."""

    misaligned: Real
    aligned: Real
    peak: Share


class TrainingPath(Section):
    """The way of B through its training."""

    turn: NotNegative
    """Degrees that it turns by within a few steps."""
    turns_at: Share
    """Of its steps."""
    drift: NotNegative
    """Degrees that it turns by from there to the end."""
    noise: NotNegative
    """Of a step, over its length."""


class Scalars(Section):
    """Shifts of the scalars' means, in standard deviations of a token, and how questions and answers spread them."""

    general: Real
    """Misaligned, on the general adapters."""
    specialised: Real
    """Misaligned in the domain, on the specialised ones."""
    domain: Real
    """Aligned in the domain, on these."""
    question_sd: NotNegative
    response_sd: NotNegative


class Scenario(Section):
    """The truth behind a simulated study. Null, where it is allowed: no effect."""

    about: str
    em: ByRole
    """Share of misaligned and coherent answers to the headline questions; a control has none."""
    seed_sd: NotNegative
    """Spread of log EM over fine-tuning seeds."""
    seeds_without_em: list[int] = Field(default=[])
    """Positions in an organism's list of seeds, from 0."""
    question_sd: NotNegative
    """Spread of the logit of EM by question, of each subject anew."""
    profile: dict[str, Score]
    """% misaligned of questions whose id holds the word; other questions take these in turn."""
    forms: dict[str, NotNegative]
    """EM of questions whose id ends so, over that of their free form."""
    domain_questions: NotNegative
    """EM of the questions of `adapters.domain_questions`, likewise."""
    coherent: ByRole
    aligned: Share
    """Of answers that are coherent and not misaligned."""
    unscored: dict[str, Share]
    """Answers whose alignment the judge refuses to score, by battery; none of the misaligned."""
    changes: dict[str, ByRole]
    """EM left under a kind of condition, over that before, by role; kinds that are not named leave all."""
    steering: dict[str, Curve] | None
    """By metric of the topic whose direction is added; `general` for all others."""
    depth: Depth
    topics: dict[str, dict[str, Score] | None]
    """Mean score of misaligned answers, by direction that is added (as in `steering`, or `none`), then by metric."""
    topic_sd: NotNegative
    """Spread of the logit of being about a topic, by question."""
    domain_score: Score
    """Mean of the domain's metric on its own questions."""
    edge: Share
    """Topic scores that lie just below 50, which a judge's 50 does as an expectation over tokens."""
    sets: dict[str, dict[str, Share]] | None
    """Shares of all answers under sets of scaled adapters."""
    patching: dict[str, NotNegative]
    """EM left with the scalars of another prompt, by the way they go."""
    checkpoints: list[Checkpoint] = Field(min_length=1)
    directions: Directions
    b_cosine: Real | None
    """Cosine of the single adapter's B with the source's direction; null: of a random vector."""
    downstream: Downstream
    path: TrainingPath
    scalars: Scalars


def read_scenarios(path: Path = SCENARIOS) -> dict[str, Scenario]:
    """The scenarios of a YAML file, by name; those shipped may be extended by others.

    Raises:
        UserError: naming the scenario and key, if one is not as it should be.
    """
    shipped, given = read_yaml(SCENARIOS), read_yaml(path)
    if not isinstance(given, dict) or not all(isinstance(part, dict) for part in given.values()):
        raise UserError(f"{path}: is not a mapping of scenarios.")
    raw = {**shipped, **given}
    made = {}
    for name in given:
        try:
            made[name] = Scenario.model_validate(_whole(raw, name, path))
        except ValidationError as error:
            first = error.errors()[0]
            raise UserError(f"{path}: {name}.{'.'.join(map(str, first['loc']))}: {first['msg']}.") from error
    return made


def scenario(name: str, path: Path = SCENARIOS) -> Scenario:
    """One scenario.

    Raises:
        UserError: if there is none of this name.
    """
    found = read_scenarios(path)
    if name not in found:
        raise UserError(f"scenario: {path} has no {name!r}{nearest(name, list(found))}")
    return found[name]


def _whole(raw: Mapping[str, Any], name: str, path: Path, above: Sequence[str] = ()) -> dict[str, Any]:
    """A scenario laid over the one that it extends."""
    own = dict(raw[name])
    other = own.pop("extends", None)
    if other is None:
        return own
    if other not in raw or other in (*above, name):
        raise UserError(f"{path}: {name}.extends: {other!r} is no other scenario.")
    return _laid_over(_whole(raw, other, path, (*above, name)), own)


def _laid_over(below: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(below)
    for key, value in own.items():
        given = made.get(key)
        made[key] = _laid_over(given, value) if isinstance(given, dict) and isinstance(value, dict) else value
    return made
