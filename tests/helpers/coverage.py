"""How often the intervals of `estimation.shares` hold the truth, by simulation: the tables of docs/statistics.md.

`python tests/helpers/coverage.py` writes them anew (some minutes); test_coverage.py runs a short version.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import optimize, special, stats

from workflow_scripts.estimation.shares import Cells, difference_of, relative_change_of, share_of

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "statistics.md"
PROFILE = special.logit(np.array([0.73, 0.45, 0.38, 0.08, 0.05, 0.05, 0.01, 0.002]))
"""EM by question of the rank-32 medical organism, a replicator's 800 answers (two zeros as .002)."""
KINDS = PROFILE[:, None] + 0.3 * stats.norm.ppf((np.arange(400) + 0.5) / 400)
"""Questions of that kind, in log-odds: what eight are drawn from."""
DESIGNS = ((8, 50), (16, 50), (48, 20), (160, 2))
MEANS = (0.005, 0.02, 0.05, 0.11, 0.21, 0.4)
SEEDS = stats.norm.ppf((np.arange(60) + 0.5) / 60)


@dataclass
class Tally:
    """Runs whose interval held the truth, and the widths."""

    held: int = 0
    width: float = 0.0
    runs: int = 0

    def add(self, low: float, high: float, truth: float) -> None:
        self.held += low <= truth <= high
        self.width += high - low
        self.runs += 1

    def told(self) -> str:
        return f"{100 * self.held / self.runs:.0f} ({100 * self.width / self.runs:.1f})"


def shifted(mean: float) -> float:
    """Log-odds to be added to `KINDS` for this mean share."""
    return float(optimize.brentq(lambda shift: special.expit(KINDS + shift).mean() - mean, -20, 20))


def counted(ones: np.ndarray, answers: int) -> Cells:
    ones = np.asarray(ones, dtype=float).reshape(len(ones), -1)
    return Cells(np.arange(len(ones)), np.arange(ones.shape[1]), ones, np.full(ones.shape, float(answers)))


def students_t(ones: np.ndarray, answers: int) -> tuple[float, float]:
    """The interval that this family took the place of: t of the questions' shares, exact where they do not differ."""
    shares = ones / answers
    mean, count = shares.mean(), len(shares)
    half = stats.t.ppf(0.975, count - 1) * shares.std(ddof=1) / np.sqrt(count)
    if half > 0:
        return max(mean - half, 0.0), min(mean + half, 1.0)
    exact = stats.binomtest(round(mean * count), count).proportion_ci(method="exact")
    return exact.low, exact.high


def coverage_of_shares(questions: int, answers: int, mean: float, runs: int) -> dict[str, Tally]:
    """Of a share, by interval; the fixed one is held against the mean of the questions that were drawn."""
    rng, found = np.random.default_rng(1), {name: Tally() for name in ("t", "questions", "fixed")}
    for _ in range(runs):
        truths = special.expit(rng.choice(KINDS.ravel(), questions) + shifted(mean))
        ones = rng.binomial(answers, truths)
        share = share_of(counted(ones, answers))
        found["t"].add(*students_t(ones, answers), mean)
        found["questions"].add(share.low, share.high, mean)
        found["fixed"].add(share.fixed_low, share.fixed_high, truths.mean())
    return found


def coverage_of_changes(questions: int, answers: int, left: float, runs: int) -> dict[str, Tally]:
    """Of the change from 21 % to `left` of it, question by question in like proportion but for noise in log-odds."""
    rng = np.random.default_rng(2)
    before = shifted(0.21)
    after = shifted(0.21 * left)
    noise = 0.3 * SEEDS
    truth = special.expit(KINDS[..., None] + after + noise).mean()
    found = {name: Tally() for name in ("difference", "difference, fixed", "relative", "relative, fixed")}
    for _ in range(runs):
        kinds = rng.choice(KINDS.ravel(), questions)
        old, new = special.expit(kinds + before), special.expit(kinds + after + rng.normal(0, 0.3, questions))
        sides = [counted(rng.binomial(answers, shares), answers) for shares in (old, new)]
        change, ratio = difference_of(*sides), relative_change_of(*sides)
        found["difference"].add(change.low, change.high, truth - 0.21)
        found["difference, fixed"].add(change.fixed_low, change.fixed_high, new.mean() - old.mean())
        if np.isfinite(ratio.high):
            found["relative"].add(ratio.low, ratio.high, truth / 0.21 - 1)
            found["relative, fixed"].add(ratio.fixed_low, ratio.fixed_high, new.mean() / old.mean() - 1)
    return found


def coverage_of_seeds(seeds: int, spread: float, runs: int) -> dict[str, Tally]:
    """Of 15 % over 8 questions of 50 answers under each of several seeds, whose log-odds differ by `spread`."""
    rng, shift = np.random.default_rng(3), shifted(0.15)
    truth = special.expit(KINDS[..., None] + shift + spread * SEEDS).mean()
    found = {name: Tally() for name in ("questions", "fixed")}
    for _ in range(runs):
        kinds = rng.choice(KINDS.ravel(), 8) + shift
        ones = rng.binomial(50, special.expit(kinds[:, None] + spread * rng.normal(size=seeds)))
        share = share_of(counted(ones, 50))
        found["questions"].add(share.low, share.high, truth)
        found["fixed"].add(share.fixed_low, share.fixed_high, special.expit(np.add.outer(kinds, spread * SEEDS)).mean())
    return found


def falls(questions: int, answers: int, runs: int) -> dict[str, tuple[float, float]]:
    """By interval: how often a bound falls when one more answer is misaligned, and by how much at most."""
    rng, steps = np.random.default_rng(4), {"t": [], "questions": [], "fixed": []}
    for _ in range(runs):
        ones = rng.binomial(
            answers, special.expit(rng.choice(KINDS.ravel(), questions) + shifted(rng.choice(MEANS[:4])))
        )
        more = ones.copy()
        more[rng.integers(questions)] += 1
        few, many = (share_of(counted(side, answers)) for side in (ones, more))
        steps["t"] += list(np.subtract(students_t(more, answers), students_t(ones, answers)))
        steps["questions"] += [many.low - few.low, many.high - few.high]
        steps["fixed"] += [many.fixed_low - few.fixed_low, many.fixed_high - few.fixed_high]
    return {name: (float(np.mean(np.array(s) < -1e-9)), max(0.0, *(-np.array(s)))) for name, s in steps.items()}


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def tables(runs: int) -> dict[str, str]:
    """The tables of the document, by their names there."""
    made = {}
    rows = []
    for questions, answers in DESIGNS:
        for mean in MEANS:
            found = coverage_of_shares(questions, answers, mean, runs)
            told = [found[name].told() for name in ("t", "questions", "fixed")]
            rows.append([f"{questions} × {answers}", f"{100 * mean:g} %", *told])
    made["shares"] = table(["questions × answers", "true share", "t by question (before)", "questions", "fixed"], rows)
    rows = []
    for questions, answers in ((8, 50), (8, 150), (48, 20)):
        for left in (0.5, 0.1, 0.02):
            found = coverage_of_changes(questions, answers, left, runs)
            rows.append(
                [f"{questions} × {answers}", f"{100 * (left - 1):.0f} %", *(tally.told() for tally in found.values())]
            )
    made["changes"] = table(
        ["questions × answers", "true change", "difference", "fixed", "relative change", "fixed"], rows
    )
    rows = []
    for seeds in (1, 2, 3, 5):
        for spread in (0.0, 0.2, 0.5):
            found = coverage_of_seeds(seeds, spread, runs)
            rows.append([str(seeds), f"{spread:g}", *(tally.told() for tally in found.values())])
    made["seeds"] = table(["seeds", "spread", "questions", "fixed"], rows)
    rows = []
    for questions, answers in DESIGNS:
        found = falls(questions, answers, runs)
        rows.append(
            [
                f"{questions} × {answers}",
                *(f"{100 * often:.0f} % (by up to {100 * most:.1f})" for often, most in found.values()),
            ]
        )
    made["falls"] = table(["questions × answers", "t by question (before)", "questions", "fixed"], rows)
    return made


def main() -> None:
    text = DOCUMENT.read_text()
    for name, made in tables(int(sys.argv[1]) if len(sys.argv) > 1 else 1000).items():
        text = re.sub(rf"(<!-- {name} -->\n).*?(\n<!-- end -->)", lambda m, t=made: m[1] + t + m[2], text, flags=re.S)
    DOCUMENT.write_text(text)


if __name__ == "__main__":
    main()
