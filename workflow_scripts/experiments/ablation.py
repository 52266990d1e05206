"""E5: directions projected out, and the transfer matrix from every organism to every other."""

from __future__ import annotations

import pandas as pd

from workflow_scripts.conditions import NOTHING, Condition, battery_subjects, conditions
from workflow_scripts.errors import UserError
from workflow_scripts.experiments.rows import Row, change_rows, rate_rows, thresholds_of
from workflow_scripts.layout import Layout, organism_of
from workflow_scripts.scores import read_scores
from workflow_scripts.statistics import Thresholds
from workflow_scripts.study import Study


def ablation(study: Study, layout: Layout) -> list[Row]:
    """E5: EM and coherence with directions projected out, and the paired change from before, seeds pooled and single.

    Random draws are pooled under `random` and shown one by one as `random:draw-k`. `from:<organism>` is the transfer
    matrix: that organism's directions, layer by layer, whether it is the subject itself, the study's source or another.
    """
    limits, rows = thresholds_of(study), []
    subjects = battery_subjects(study, "ablation")
    groups: dict[str, list[str]] = {}
    for subject in subjects:
        groups.setdefault(organism_of(subject)[0], []).append(subject)
    after = {subject: _ablated(study, layout, subject).assign(member=subject) for subject in subjects}
    before = {subject: headline_for_ablation(study, layout, subject).assign(member=subject) for subject in subjects}
    for organism, members in groups.items():
        rows += _changes(
            organism, pd.concat([before[m] for m in members]), pd.concat([after[m] for m in members]), limits
        )
        if len(members) > 1:
            for member in members:
                rows += _changes(member, before[member], after[member], limits, matrix=False)
    return rows


def headline_for_ablation(study: Study, layout: Layout, subject: str) -> pd.DataFrame:
    """Responses before ablation, to the questions that the ablation asks.

    Raises:
        UserError: if the baseline does not ask them.
    """
    assert study.ablation
    chosen = study.ablation.questions or study.sampling.questions
    scored = read_scores(layout.judgements(subject, "baseline"))
    kept = scored[(scored.condition == NOTHING.name) & (scored.question_set == chosen)]
    if kept.empty:
        raise UserError(
            f"ablation.questions: the baseline of {subject} does not ask questions.{chosen}; ask sampling.questions."
        )
    return kept


def _ablated(study: Study, layout: Layout, subject: str) -> pd.DataFrame:
    """Responses after ablation, with the rows of the table that each counts for."""
    scored = read_scores(layout.judgements(subject, "ablation"))
    names = {c.name: places(study, c) for c in conditions(study, "ablation", subject)}
    return scored.assign(place=scored.condition.map(names))


def places(study: Study, condition: Condition) -> list[str]:
    """Rows of the table that a condition counts for: by kind, by organism of the direction, by random draw."""
    change = condition.intervention
    assert study.ablation
    assert change
    organism, _ = organism_of(change.source)
    if condition.kind == "own":
        return ["own", f"from:{organism}"]
    if condition.kind == "transferred":
        return ([] if organism != study.ablation.source else ["transferred"]) + [f"from:{organism}"]
    if condition.kind == "only_layer":
        return [f"only_layer:layer-{change.layers[0]}"]
    draws = [] if study.ablation.random_draws < 2 or change.draw is None else [f"random:draw-{change.draw}"]
    return [condition.kind, *draws]


def _changes(
    subject: str, before: pd.DataFrame, after: pd.DataFrame, limits: Thresholds, matrix: bool = True
) -> list[Row]:
    """Rows of one organism. Where not all of its seeds were ablated so, only the same ones count before."""
    rows = rate_rows("E5", subject, NOTHING.name, before, limits, kind=NOTHING.name)
    for name, part in after.explode("place").groupby("place", sort=False):
        kind = str(name).split(":")[0]
        if matrix or kind != "from":
            same = before[before.member.isin(part.member.unique())]
            rows += change_rows("E5", subject, str(name), same, part, limits, kind=kind)
    return rows
