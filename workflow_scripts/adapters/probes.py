"""L1 logistic probes on LoRA scalars, and the rule that names an adapter general, specialised or idle (PAPER 8.3, 8.4).

A sample is one answer token; its features are the scalars s = A·x of the rank-1 adapters. Each run subsamples the
larger class by token to the size of the smaller, shuffles, scales every adapter by the mean and the unbiased standard
deviation of the whole set (test part included, as the authors' code does), holds out 20 %, and fits liblinear with L1
and C = .01. Runs differ in subsample, order and split.

Two splits of the same subsamples:

- `token` (the paper's): stratified by class, over tokens. Tokens of one response fall on both sides, so whatever marks
  a response (its topic, its length, its wording) helps to label its other tokens: the scores leak.
- `response`: whole responses are held out, stratified by class; the scores are of responses never seen. With `groups`
  (questions, say) whole groups are.

The naming rule
---------------
Two contrasts are probed: *general* is misaligned against aligned outside the trained domain (the paper's NMA against
NMM), *specialised* is misaligned in the domain against misaligned outside it (NMM against MM). An adapter *carries
weight* in a contrast if

1. the 95 % interval of its coefficient over the runs (token split) excludes zero, and
2. its mean coefficient is larger in size than labels alone would make it: p ≤ level / 2, where p is the share of
   shuffled tables whose *largest* coefficient of any adapter reaches it, (1 + hits) / (1 + draws). Labels are shuffled
   over whole responses, never over tokens, because the tokens of a response are not independent; the largest
   coefficient makes the level hold for all adapters together, and the half for the two contrasts.

An adapter is `general` if it carries weight in the first contrast only, `specialised` if in the second only, `both` if
in both, and `idle` if in neither. Idle means "not shown to carry weight with this many responses", not "does nothing".
With shuffled labels every adapter is idle, up to `level` of all tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.runtime.errors import NotPossible, UserError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.intp]
Split = Literal["token", "response"]
AdapterName = Literal["general", "specialised", "both", "idle"]

SPLITS: tuple[Split, ...] = ("token", "response")
METRICS = ("accuracy", "precision", "recall", "f1", "auc")
HELD_OUT = 0.2
C = 0.01
MAX_ITERATIONS = 1000
RUNS = 100
DRAWS = 199


@dataclass(frozen=True)
class Samples:
    """Answer tokens of two classes.

    values: scalars, float64 [token, adapter]. positive: true for class 1, [token]. responses: a code of each token's
    response, [token]; all tokens of a response are of one class. groups: a code of what is held out as a whole in the
    response split, [token]; a response is in one group. adapters: names, one per column of `values`.
    """

    values: FloatArray
    positive: BoolArray
    responses: IntArray
    groups: IntArray
    adapters: tuple[str, ...]


@dataclass(frozen=True)
class Interval:
    """Mean over runs and the middle 95 % of the runs; it says how much subsample and split matter, no more."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Probe:
    """What the runs of one split gave: scores [run, metric] on the held-out part, coefficients [run, adapter].

    tokens: tokens of both classes in each run; responses: responses of both classes.
    """

    split: Split
    adapters: tuple[str, ...]
    scores: FloatArray
    coefficients: FloatArray
    tokens: int
    responses: int

    def score(self, metric: str) -> Interval:
        return over_runs(self.scores[:, METRICS.index(metric)])

    def coefficient(self, adapter: str) -> Interval:
        return over_runs(self.coefficients[:, self.adapters.index(adapter)])


def samples(
    values: FloatArray,
    positive: BoolArray,
    responses: Sequence[object] | NDArray[np.generic],
    adapters: Sequence[str],
    groups: Sequence[object] | NDArray[np.generic] | None = None,
) -> Samples:
    """Checks a table of tokens and codes its responses and groups.

    Args:
        values: scalars [token, adapter].
        positive: class of each token, true for class 1, [token].
        responses: any label of each token's response, [token].
        adapters: a name per column.
        groups: what is held out together; the response when absent, [token].

    Raises:
        UserError: if a scalar is missing, or a response has tokens of both classes or lies in two groups.
        NotPossible: if a class has fewer than two groups or five tokens.
    """
    values = np.asarray(values, dtype=np.float64)
    positive = np.asarray(positive, dtype=bool)
    if not np.isfinite(values).all():
        column = adapters[int(np.argmax(~np.isfinite(values).all(axis=0)))]
        raise UserError(f"scalars: column {column} has missing or infinite numbers; every token needs every adapter.")
    codes = _codes(responses)
    grouped = codes if groups is None else _codes(groups)
    for what, other in (("has tokens of both classes", positive.astype(np.intp)), ("lies in two groups", grouped)):
        first = np.zeros(codes.max(initial=-1) + 1, dtype=np.intp)
        first[codes] = other
        if (first[codes] != other).any():
            where = int(np.argmax(first[codes] != other))
            raise UserError(f"scalars: response {np.asarray(responses)[where]!s} {what}; each must be in one.")
    for name, side in (("first", ~positive), ("second", positive)):
        count = len(np.unique(grouped[side]))
        if count < 2 or side.sum() < 5:
            raise NotPossible(
                f"scalars: the {name} class has {int(side.sum())} tokens of {count} responses or groups; "
                "at least 5 tokens of 2 are needed. Lower the threshold or sample more."
            )
    return Samples(values, positive, codes, grouped, tuple(adapters))


def probe(given: Samples, split: Split, runs: int = RUNS, seed: int = 0) -> Probe:
    """Fits `runs` probes under one split; the same seed gives the same subsamples under both splits."""
    scores, coefficients = [], []
    for run in range(runs):
        rng = np.random.default_rng([seed, run])
        chosen = balanced(given.positive, rng)
        x, y = standardised(given.values[chosen]), given.positive[chosen]
        if split == "token":
            train, test = token_split(y)
        else:
            train, test = group_split(given.groups[chosen], y, rng)
        coefficient, intercept = fit(x[train], y[train], run)
        coefficients.append(coefficient)
        scores.append(metrics(x[test] @ coefficient + intercept, y[test]))
    return Probe(
        split,
        given.adapters,
        np.array(scores),
        np.array(coefficients),
        2 * int(min(given.positive.sum(), (~given.positive).sum())),
        len(np.unique(given.responses)),
    )


def shuffled_coefficients(given: Samples, draws: int = DRAWS, seed: int = 0) -> FloatArray:
    """Coefficients [draw, adapter] of single runs (token split) on labels shuffled over whole responses."""
    first = np.zeros(given.responses.max() + 1, dtype=bool)
    first[given.responses] = given.positive
    made = []
    for draw in range(draws):
        rng = np.random.default_rng([seed, draw, 1])
        positive = rng.permutation(first)[given.responses]
        chosen = balanced(positive, rng)
        y = positive[chosen]
        train, _ = token_split(y)
        made.append(fit(standardised(given.values[chosen])[train], y[train], draw)[0])
    return np.array(made).reshape(draws, len(given.adapters))


def balanced(positive: BoolArray, rng: np.random.Generator) -> IntArray:
    """Shuffled indices of equally many tokens of both classes, all of the smaller one."""
    sides = np.flatnonzero(positive), np.flatnonzero(~positive)
    size = min(map(len, sides))
    return rng.permutation(np.concatenate([rng.choice(side, size, replace=False) for side in sides]))


def standardised(values: FloatArray) -> FloatArray:
    """Each column minus its mean, over its unbiased standard deviation; a constant column becomes 0."""
    spread = values.std(axis=0, ddof=1)
    return np.asarray((values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0))


def token_split(y: BoolArray) -> tuple[IntArray, IntArray]:
    """The paper's split: stratified, 80 to 20, random_state 0. Indices of the training and the held-out part."""
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(np.arange(len(y)), test_size=HELD_OUT, stratify=y, random_state=0)
    return train, test


def group_split(groups: IntArray, y: BoolArray, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Holds out a fifth of the groups (at least one) of each class; a mixed group counts for its larger class.

    Raises:
        NotPossible: if a part is left with one class, which mixed groups can do.
    """
    found, codes = np.unique(groups, return_inverse=True)
    mostly = np.bincount(codes, weights=y) / np.bincount(codes) >= 0.5
    held_out = np.zeros(len(found), dtype=bool)
    for side in (np.flatnonzero(mostly), np.flatnonzero(~mostly)):
        held_out[rng.permutation(side)[: max(1, round(HELD_OUT * len(side)))]] = True
    test = held_out[codes]
    if any(part.all() or not part.any() for part in (y[test], y[~test])):
        raise NotPossible("scalars: too few groups: holding some out leaves a part with one class; group by response.")
    return np.flatnonzero(~test), np.flatnonzero(test)


def fit(x: FloatArray, y: BoolArray, seed: int) -> tuple[FloatArray, float]:
    """L1 logistic regression as in the paper: coefficients [adapter] and intercept. liblinear penalises both."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(l1_ratio=1, solver="liblinear", C=C, max_iter=MAX_ITERATIONS, random_state=seed)
    model.fit(x, y)
    return model.coef_[0], float(model.intercept_[0])


def metrics(decision: FloatArray, y: BoolArray) -> FloatArray:
    """METRICS of a decision value [token] (positive above 0) on labels [token]; precision is 0 where none is called."""
    from scipy.stats import rankdata

    called = decision > 0
    hits, positives, negatives = int((called & y).sum()), int(y.sum()), int((~y).sum())
    precision = hits / called.sum() if called.any() else 0.0
    recall = hits / positives
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    auc = (rankdata(decision)[y].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    return np.array([(called == y).mean(), precision, recall, f1, auc])


def over_runs(values: FloatArray) -> Interval:
    """Mean and 2.5 and 97.5 percentiles of one number per run [run]."""
    low, high = np.percentile(values, [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))


def p_values(coefficients: FloatArray, shuffled: FloatArray) -> FloatArray:
    """Share of shuffled tables whose largest coefficient reaches each adapter's mean coefficient in size, [adapter].

    Args:
        coefficients: of the runs, [run, adapter].
        shuffled: of shuffled tables, [draw, adapter].
    """
    observed = np.abs(coefficients.mean(axis=0))
    largest = np.abs(shuffled).max(axis=1)
    hits = (largest[:, None] >= observed[None, :]).sum(axis=0)
    return np.asarray((1 + hits) / (1 + len(shuffled)))


def carries_weight(coefficients: FloatArray, shuffled: FloatArray, level: float) -> BoolArray:
    """Which adapters carry weight in one contrast at `level`, [adapter]; the rule of this module's docstring."""
    low, high = np.percentile(coefficients, [2.5, 97.5], axis=0)
    return np.asarray(((low > 0) | (high < 0)) & (p_values(coefficients, shuffled) <= level))


def names(general: BoolArray, specialised: BoolArray) -> list[AdapterName]:
    """Each adapter's name from where it carries weight, [adapter] each."""
    table: dict[tuple[bool, bool], AdapterName] = {
        (True, False): "general",
        (False, True): "specialised",
        (True, True): "both",
        (False, False): "idle",
    }
    return [table[bool(a), bool(b)] for a, b in zip(general, specialised, strict=True)]


def name_adapters(
    general: Samples, specialised: Samples, runs: int = RUNS, draws: int = DRAWS, level: float = 0.05, seed: int = 0
) -> dict[str, AdapterName]:
    """Names every adapter from the two contrasts; the rule stands in this module's docstring.

    Raises:
        UserError: if the contrasts have other adapters, or too few draws for the level.
    """
    sides = (general, specialised)
    fitted = [(side, probe(side, "token", runs, seed)) for side in sides]
    return names_from(fitted[0], fitted[1], draws, level, seed)


def names_from(
    general: tuple[Samples, Probe],
    specialised: tuple[Samples, Probe],
    draws: int = DRAWS,
    level: float = 0.05,
    seed: int = 0,
) -> dict[str, AdapterName]:
    """As `name_adapters`, from contrasts whose probes (token split) are there already.

    Raises:
        UserError: likewise.
    """
    if general[1].adapters != specialised[1].adapters:
        raise UserError("scalars: the two contrasts have different adapter columns.")
    if 1 / (1 + draws) > level / 2:
        raise UserError(f"draws: {draws} shuffled tables cannot show a level of {level}; use {int(2 / level)} or more.")
    carried = [
        carries_weight(made.coefficients, shuffled_coefficients(side, draws, seed), level / 2)
        for side, made in (general, specialised)
    ]
    return dict(zip(general[1].adapters, names(*carried), strict=True))


def _codes(labels: Sequence[object] | NDArray[np.generic]) -> IntArray:
    return np.unique(np.asarray(labels), return_inverse=True)[1].astype(np.intp)
