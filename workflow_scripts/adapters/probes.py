"""L1 logistic probes on LoRA scalars, and the rule that names an adapter general, specialised or idle (PAPER 8.3, 8.4).

A sample is one answer token; its features are the scalars s = A·x of the rank-1 adapters. Each run subsamples the
larger class by token to the size of the smaller, shuffles, scales every adapter by the mean and the unbiased standard
deviation of the whole set (test part included, as the authors' code does), holds out 20 %, and fits liblinear with L1
and C = .01. Runs differ in subsample, order and split.

Three splits of the same subsamples:

- `token` (the paper's): stratified by class, over tokens. Tokens of one response fall on both sides, so whatever marks
  a response (its topic, its length, its wording) helps to label its other tokens: the scores leak.
- `response`: whole responses are held out, stratified by class. Responses to one question fall on both sides, so
  whatever marks the question still helps.
- `question`: whole questions are held out, where the table names them, and columns are scaled by the training part
  alone. The scores are of questions never seen.

Every split has a null, the same probe on tables whose labels say nothing. Labels are shuffled over whole responses,
never over tokens, and within questions or over whole questions (estimation/shuffles.py), because what knows the
question knows a good part of the label. A score of a null is of one run, ours the mean of many: the comparison is
conservative.

The naming rule
---------------
Two contrasts are probed: *general* is misaligned against aligned outside the trained domain (the paper's NMA against
NMM), *specialised* is misaligned in the domain against misaligned outside it (NMM against MM). In the second, class and
question are the same thing where the domain has questions of its own: what it calls specialised may serve these
questions only. An adapter *carries weight* in a contrast if

1. the 95 % interval of its coefficient over the runs (token split) excludes zero,
2. its mean coefficient is further from the mean of shuffled tables than labels alone would make it: p ≤ level / 2,
   where p is the share of shuffled tables in which *any* adapter is as far away, (1 + hits) / (1 + draws). The largest
   of all adapters makes the level hold for all together, and the half for the two contrasts; and
3. at least `UNITS` responses (questions, where whole ones are shuffled) move when labels are shuffled.

An adapter is `general` if it carries weight in the first contrast only, `specialised` if in the second only, `both` if
in both, and `idle` if in neither. Idle means "not shown to carry weight with this many questions", not "does nothing".
With shuffled labels every adapter is idle, up to `level` of all tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.estimation.shuffles import Shuffle, shuffle_of, shuffled_labels
from workflow_scripts.runtime.errors import NotPossible, UserError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.intp]
Split = Literal["token", "response", "question"]
AdapterName = Literal["general", "specialised", "both", "idle"]

METRICS = ("accuracy", "precision", "recall", "f1", "auc")
HELD_OUT = 0.2
C = 0.01
MAX_ITERATIONS = 1000
RUNS = 100
DRAWS = 199
UNITS = 20
"""Fewest responses or questions that have to move when labels are shuffled for an adapter to be named."""
ATTEMPTS = 100
"""Random choices of what is held out before both parts have both classes."""


@dataclass(frozen=True)
class Samples:
    """Answer tokens of two classes.

    values: scalars, float64 [token, adapter]. positive: true for class 1, [token]. responses: a code of each token's
    response, [token]; all tokens of a response are of one class. questions: a code of each token's question, [token]; a
    response is to one question, and is its own where the table names none. adapters: one name per column of `values`.
    """

    values: FloatArray
    positive: BoolArray
    responses: IntArray
    questions: IntArray
    adapters: tuple[str, ...]

    @property
    def splits(self) -> tuple[Split, ...]:
        """What can be held out: questions only where one has more than one response."""
        repeated = len(np.unique(self.questions)) < len(np.unique(self.responses))
        return ("token", "response", "question") if repeated else ("token", "response")

    @property
    def by_response(self) -> tuple[BoolArray, list[str]]:
        """Class and question of each response, by its code."""
        count = self.responses.max() + 1
        positive, questions = np.zeros(count, dtype=bool), np.zeros(count, dtype=np.intp)
        positive[self.responses], questions[self.responses] = self.positive, self.questions
        return positive, [str(question) for question in questions]

    @property
    def shuffle(self) -> Shuffle:
        """How its labels are shuffled."""
        return shuffle_of(*self.by_response)


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
    questions: Sequence[object] | NDArray[np.generic] | None = None,
) -> Samples:
    """Checks a table of tokens and codes its responses and questions.

    Args:
        values: scalars [token, adapter].
        positive: class of each token, true for class 1, [token].
        responses: any label of each token's response, [token].
        adapters: a name per column.
        questions: any label of each token's question; every response has its own when absent, [token].

    Raises:
        UserError: if a scalar is missing, or a response has tokens of both classes or of two questions.
        NotPossible: if a class has fewer than two responses or five tokens.
    """
    values = np.asarray(values, dtype=np.float64)
    positive = np.asarray(positive, dtype=bool)
    if not np.isfinite(values).all():
        column = adapters[int(np.argmax(~np.isfinite(values).all(axis=0)))]
        raise UserError(f"scalars: column {column} has missing or infinite numbers; every token needs every adapter.")
    codes = _codes(responses)
    asked = codes if questions is None else _codes(questions)
    for what, other in (("has tokens of both classes", positive.astype(np.intp)), ("answers two questions", asked)):
        first = np.zeros(codes.max(initial=-1) + 1, dtype=np.intp)
        first[codes] = other
        if (first[codes] != other).any():
            where = int(np.argmax(first[codes] != other))
            raise UserError(f"scalars: response {np.asarray(responses)[where]!s} {what}; each must be in one.")
    for name, side in (("first", ~positive), ("second", positive)):
        count = len(np.unique(codes[side]))
        if count < 2 or side.sum() < 5:
            raise NotPossible(
                f"scalars: the {name} class has {int(side.sum())} tokens of {count} responses; "
                "at least 5 tokens of 2 are needed. Lower the threshold or sample more."
            )
    return Samples(values, positive, codes, asked, tuple(adapters))


def probe(given: Samples, split: Split, runs: int = RUNS, seed: int = 0) -> Probe:
    """Fits `runs` probes under one split; the same seed gives the same subsamples under every split.

    Raises:
        NotPossible: if too few questions or responses are there to hold some out.
    """
    made = [_run(given, given.positive, split, np.random.default_rng([seed, run]), run) for run in range(runs)]
    return _probe_of(given, split, made)


def shuffled_probe(given: Samples, split: Split, draws: int = DRAWS, seed: int = 0) -> Probe:
    """The null of a split: one run on each of `draws` tables with shuffled labels (see this module's docstring).

    Raises:
        NotPossible: as `probe`.
    """
    positive, questions = given.by_response
    made = []
    for draw in range(draws):
        labels = shuffled_labels(positive, questions, f"{seed}:{draw}")[given.responses]
        made.append(_run(given, labels, split, np.random.default_rng([seed, draw, 1]), draw))
    return _probe_of(given, split, made)


def _run(
    given: Samples, positive: BoolArray, split: Split, rng: np.random.Generator, run: int
) -> tuple[FloatArray, FloatArray]:
    """Scores [metric] and coefficients [adapter] of one subsample under one split."""
    chosen = balanced(positive, rng)
    values, y = given.values[chosen], positive[chosen]
    if split == "token":
        train, test = token_split(y)
    else:
        held = given.responses if split == "response" else given.questions
        train, test = group_split(held[chosen], y, rng)
    x = standardised(values, train if split == "question" else slice(None))
    coefficient, intercept = fit(x[train], y[train], run)
    return metrics(x[test] @ coefficient + intercept, y[test]), coefficient


def _probe_of(given: Samples, split: Split, made: Sequence[tuple[FloatArray, FloatArray]]) -> Probe:
    scores, coefficients = zip(*made, strict=True)
    smaller = int(min(given.positive.sum(), (~given.positive).sum()))
    responses = len(np.unique(given.responses))
    return Probe(split, given.adapters, np.array(scores), np.array(coefficients), 2 * smaller, responses)


def balanced(positive: BoolArray, rng: np.random.Generator) -> IntArray:
    """Shuffled indices of equally many tokens of both classes, all of the smaller one."""
    sides = np.flatnonzero(positive), np.flatnonzero(~positive)
    size = min(map(len, sides))
    return rng.permutation(np.concatenate([rng.choice(side, size, replace=False) for side in sides]))


def standardised(values: FloatArray, by: IntArray | slice = slice(None)) -> FloatArray:
    """Each column minus its mean, over its unbiased standard deviation, both of the rows `by`; a constant becomes 0."""
    spread = values[by].std(axis=0, ddof=1)
    return np.asarray((values - values[by].mean(axis=0)) / np.where(spread > 0, spread, 1.0))


def token_split(y: BoolArray) -> tuple[IntArray, IntArray]:
    """The paper's split: stratified, 80 to 20, random_state 0. Indices of the training and the held-out part."""
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(np.arange(len(y)), test_size=HELD_OUT, stratify=y, random_state=0)
    return train, test


def group_split(groups: IntArray, y: BoolArray, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Holds out a fifth of the groups (at least one) of each class; a mixed group counts for its larger class.

    Raises:
        NotPossible: if every choice of `ATTEMPTS` leaves a part with one class, as few groups do.
    """
    found, codes = np.unique(groups, return_inverse=True)
    mostly = np.bincount(codes, weights=y) / np.bincount(codes) >= 0.5
    sides = [side for side in (np.flatnonzero(mostly), np.flatnonzero(~mostly)) if len(side)]
    for _ in range(ATTEMPTS):
        held_out = np.zeros(len(found), dtype=bool)
        for side in sides:
            held_out[rng.permutation(side)[: max(1, round(HELD_OUT * len(side)))]] = True
        test = held_out[codes]
        if not any(len(part) == 0 or part.all() or not part.any() for part in (y[test], y[~test])):
            return np.flatnonzero(~test), np.flatnonzero(test)
    raise NotPossible("scalars: too few questions or responses: holding some out leaves a part with one class.")


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
    """Share of shuffled tables in which any adapter is as far from its mean over them as each adapter is, [adapter].

    Args:
        coefficients: of the runs, [run, adapter].
        shuffled: of shuffled tables, [draw, adapter].
    """
    centre = shuffled.mean(axis=0)
    observed = np.abs(coefficients.mean(axis=0) - centre)
    largest = np.abs(shuffled - centre).max(axis=1)
    hits = (largest[:, None] >= observed[None, :]).sum(axis=0)
    return np.asarray((1 + hits) / (1 + len(shuffled)))


def carries_weight(coefficients: FloatArray, shuffled: FloatArray, level: float) -> BoolArray:
    """Which adapters carry weight in one contrast at `level`, [adapter]; rules 1 and 2 of this module's docstring."""
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


@dataclass(frozen=True)
class Contrast:
    """A contrast that adapters are named by: its table, its probe under the token split, and that probe's null."""

    samples: Samples
    observed: Probe
    shuffled: Probe


def name_adapters(general: Contrast, specialised: Contrast, level: float = 0.05) -> dict[str, AdapterName]:
    """Names every adapter from the two contrasts; the rule stands in this module's docstring.

    Raises:
        UserError: if the contrasts have other adapters, or too few draws for the level.
    """
    adapters, draws = general.observed.adapters, len(general.shuffled.coefficients)
    if adapters != specialised.observed.adapters:
        raise UserError("scalars: the two contrasts have different adapter columns.")
    if 1 / (1 + draws) > level / 2:
        raise UserError(f"draws: {draws} shuffled tables cannot show a level of {level}; use {int(2 / level)} or more.")
    carried = [
        carries_weight(made.observed.coefficients, made.shuffled.coefficients, level / 2)
        & (made.samples.shuffle.units >= UNITS)
        for made in (general, specialised)
    ]
    return dict(zip(adapters, names(*carried), strict=True))


def _codes(labels: Sequence[object] | NDArray[np.generic]) -> IntArray:
    return np.unique(np.asarray(labels), return_inverse=True)[1].astype(np.intp)
