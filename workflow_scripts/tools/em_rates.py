"""EM and coherence of any judgement tables, imported ones too: `python -m workflow_scripts.tools em-rates FILE…`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from workflow_scripts.estimation.intervals import Estimate
from workflow_scripts.estimation.labels import PAPER_THRESHOLDS, at_least, near
from workflow_scripts.estimation.shares import clustered_share
from workflow_scripts.experiments.rows import UNSCORED, rate_rows
from workflow_scripts.reporting.text import estimates
from workflow_scripts.runtime import command
from workflow_scripts.store.artefacts import read_frame
from workflow_scripts.store.judgement_tables import read_scores
from workflow_scripts.study.layout import CHAT_BASE

RATE_NAMES = {
    "em": "EM of all",
    "em_of_scored": "EM of scored",
    "em_of_coherent": "EM of coherent",
    "coherence": "coherent",
    "unscored": "without a score",
    "refused": "refused by the judge",
    "near_a_limit": "within .1 of a limit",
}
TOPIC_FROM = 50.0
"""Score of another metric from which a response counts as about it (the paper's, of the domain)."""


def printed_rates(path: Path) -> str:
    """Rates of a judgement table in percent, by condition and question set, and what is doubtful about them."""
    metrics = read_frame(path, ["metric"], only=True).metric.unique()
    others = [metric for metric in metrics if metric not in ("aligned", "coherent")]
    scored = read_scores(path, ("aligned", "coherent", *others))
    rows, doubtful = [], []
    for (condition, question_set), part in scored.groupby(["condition", "question_set"], sort=False):
        place = {"condition": condition, "set": question_set}
        for found in rate_rows("E1", CHAT_BASE, str(condition), part, PAPER_THRESHOLDS):
            rows.append({**found, **place, "rate": RATE_NAMES[found["quantity"]]})
        for metric in others:
            rows += [{**found, **place} for found in topic_rows(metric, part)]
        doubtful += [f"{condition} ({question_set}): {told}" for told in doubts(part)]
    return "\n".join([estimates(rows, ["condition", "set", "rate"]), *doubtful])


def topic_rows(metric: str, scored: pd.DataFrame) -> list[dict[str, object]]:
    """How many responses are about a metric's topic, of those with a score for it, and how many are so by a hair."""
    kept = scored.dropna(subset=[metric])

    def named(rate: str, found: Estimate) -> dict[str, object]:
        return {**vars(found), "rate": rate, "unit": "share"}

    about, doubtful = at_least(kept[metric], TOPIC_FROM), near(kept[metric], TOPIC_FROM)
    return [
        named(f"{metric} {TOPIC_FROM:g} or more", clustered_share(about, kept.question_id)),
        named(f"{metric} within .1 of {TOPIC_FROM:g}", clustered_share(doubtful, kept.question_id)),
    ]


def doubts(scored: pd.DataFrame) -> list[str]:
    """A sentence where more than `UNSCORED` have no score, with the questions that were never scored."""
    lacking = scored.aligned.isna() | scored.coherent.isna()
    if lacking.mean() <= UNSCORED:
        return []
    whole = lacking.groupby(scored.question_id, sort=False).all()
    never = f", all of {', '.join(map(str, whole[whole].index))}" if whole.any() else ""
    return [
        f"{lacking.sum()} of {len(scored)} responses have no score for alignment or coherence ({lacking.mean():.1%})"
        f"{never}; they count as not misaligned in EM of all."
    ]


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__, study=False)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="judgement tables")
    for file in parser.parse_args(arguments).files:
        print(f"{file} (EM: aligned < 30 and coherent > 50; 95 % intervals for questions like these, and for these)")
        print(printed_rates(file))


if __name__ == "__main__":
    command.run(main)
