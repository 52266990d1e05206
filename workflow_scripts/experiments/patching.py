"""E11: EM of an organism that answers a prompt with the scalars of another."""

from __future__ import annotations

from workflow_scripts.conditions import subject_of
from workflow_scripts.experiments.rows import Row, change_rows, rate_rows, thresholds_of
from workflow_scripts.layout import Layout, organism_of
from workflow_scripts.scores import read_scores
from workflow_scripts.study import Study


def patching(study: Study, layout: Layout) -> list[Row]:
    """E11: EM clean and patched, and the paired change, by mode and by the way that the scalars go.

    Conditions: `clean:<way>` and `<mode>:<way>`, the way being that of the patched run which the clean one stands
    beside: under outside_to_domain, domain questions are answered.
    """
    subject, limits = subject_of(study.adapters, study), thresholds_of(study)
    assert subject
    scored = read_scores(layout.judgements(subject, "patching"))
    organism, _ = organism_of(subject)
    rows: list[Row] = []
    for way, part in scored.groupby("question_set", sort=False):
        clean = part[part.condition == "clean"]
        rows += rate_rows("E11", organism, f"clean:{way}", clean, limits, mode="clean", way=way)
        for mode, patched in part[part.condition != "clean"].groupby("condition", sort=False):
            rows += change_rows("E11", organism, f"{mode}:{way}", clean, patched, limits, mode=mode, way=way)
    return rows
