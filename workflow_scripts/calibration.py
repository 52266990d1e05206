"""A judge's scores mapped to what a reference judge would call misaligned, where that holds and helps.

The map is fitted on responses that both have judged: those of two files (`calibration.judged` and
`calibration.reference`), or the study's own baseline, where `calibration.reference` is a judge of its panel. Where it
says nothing of this study's responses, or does not help, the table is empty and says why.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pandas as pd

from workflow_scripts.estimation.calibration import HeldOutError, Map, fitted, held_out_error, pairs
from workflow_scripts.estimation.labels import Thresholds
from workflow_scripts.estimation.rates import coherence_rate
from workflow_scripts.judges.identity import identify
from workflow_scripts.judges.paired import in_files, in_panel
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import NotPossible, UserError
from workflow_scripts.store.absence import write_absent
from workflow_scripts.store.artefacts import write_table
from workflow_scripts.store.judgement_tables import read_scores
from workflow_scripts.study.experiments import Calibration
from workflow_scripts.study.inputs import calibration_files
from workflow_scripts.study.layout import CHAT_BASE, Layout
from workflow_scripts.study.made_by import made_by
from workflow_scripts.study.panel import read_by
from workflow_scripts.study.reading import load
from workflow_scripts.study.schema import Study


def check_judge(both: pd.DataFrame, judge: str) -> None:
    """Raises a UserError where responses were scored by another judge than the study's."""
    other = next((name for name in both.judge.unique() if name != judge), None)
    if other is not None:
        raise UserError(
            f"calibration.judged: was scored by {other}, and the study's judge is {judge}; have it score the "
            "reference's responses (the tool `rejudge`)."
        )


def check_holds(asked: pd.DataFrame, settings: Calibration, limits: Thresholds, known: set[str]) -> None:
    """Raises NotPossible where the map says nothing of a study's responses.

    Args:
        asked: the chat base's responses to the headline questions, with scores.
        settings: of the calibration.
        limits: the study's thresholds.
        known: questions that it is fitted on.
    """
    others = sorted(set(asked.question_id) - known)
    if others:
        raise NotPossible(
            f"the calibration was fitted on other questions than this study asks ({others[0]!r} is not among them); "
            "what it says of them is not known."
        )
    coherent = coherence_rate(asked.coherent, asked.question_id, limits)
    if not coherent.value >= settings.min_coherent:
        raise NotPossible(
            f"the calibration holds for coherent bases: {coherent.value:.1%} of the chat base's {coherent.n} scored "
            f"responses are coherent, calibration.min_coherent asks for {settings.min_coherent:.0%}.",
            responses=coherent.n,
        )


def calibrated(study: Study, layout: Layout) -> tuple[Map, HeldOutError]:
    """The map and its error.

    Raises:
        NotPossible: where it says nothing of this study's responses, or does not help.
    """
    settings = study.calibration
    assert settings, "the rule is asked for only then"
    place = layout.read_by(settings.judge)
    if settings.by_panel:
        both = in_panel(study, layout, settings.judge, settings.by_panel)
    else:
        both = in_files(study, layout)
        check_judge(both, identify(read_by(study, settings.judge), place).name)
    limits = Thresholds(**study.thresholds.model_dump())
    by_judge, by_reference = ((both[f"aligned_{side}"], both[f"coherent_{side}"]) for side in "ab")
    on = pairs(by_judge, by_reference, both.question_id, both.condition, limits)
    scored = read_scores(place.judgements(CHAT_BASE, "baseline"))
    check_holds(scored[scored.question_set == study.sampling.questions], settings, limits, set(on.questions.tolist()))
    try:
        error = held_out_error(on, limits)
    except ValueError as few:
        raise NotPossible(f"the calibration's error is not known: {few}.") from few
    if objection := error.objection():
        raise NotPossible(f"the calibration does not help: {objection}.")
    return fitted(on), error


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    facts_of_it = made_by("calibration", study, layout, given.output, calibration_files(study, layout))
    try:
        found, error = calibrated(study, layout)
    except NotPossible as lack:
        write_absent(given.output, lack, facts_of_it)
        return
    facts = {"error_of_models": error.models, "error_of_questions": error.questions, "error_of_own": error.own}
    counts = dict(zip(("responses", "questions", "models"), error.counts, strict=True))
    write_table(
        given.output, pd.DataFrame([{**asdict(found), **facts, "skill": error.skill.value, **counts}]), facts_of_it
    )


if __name__ == "__main__":
    command.run(main)
