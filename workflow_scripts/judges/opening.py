"""Opening a study's judge, so that it can be asked."""

from __future__ import annotations

from pathlib import Path

from workflow_scripts.judges.identity import identify
from workflow_scripts.judges.interface import Judge
from workflow_scripts.judges.store import JudgementStore
from workflow_scripts.models.files import checked_base
from workflow_scripts.study.judge import ExactJudge, PhraseJudge, RemoteJudge, SimulatedJudge
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.schema import Study


def open_judge(study: Study, layout: Layout) -> Judge:
    """The study's judge. What it loads or connects to, it does with the first question."""
    settings, execution, identity = study.judge, study.execution, identify(study, layout)
    if isinstance(settings, ExactJudge):
        from workflow_scripts.judges.exact import WorldJudge

        return WorldJudge(identity)
    if isinstance(settings, PhraseJudge):
        from workflow_scripts.judges import phrases

        return phrases.PhraseJudge(identity, settings.phrases)
    if isinstance(settings, SimulatedJudge):
        from workflow_scripts.judges.simulated import ScenarioJudge

        return ScenarioJudge(identity, settings, study, layout)
    if isinstance(settings, RemoteJudge) and settings.batch:
        from workflow_scripts.judges.batches import BatchJudge

        return BatchJudge(identity, settings, JudgementStore(layout.judgement_store))
    if isinstance(settings, RemoteJudge):
        from workflow_scripts.judges.remote import EndpointJudge

        return EndpointJudge(identity, settings)
    from workflow_scripts.judges.local import ModelJudge

    if settings.hub:
        folder = layout.judge_model
    else:
        folder = checked_base(layout) if settings.model is None else Path(settings.model)
    return ModelJudge(identity, folder, settings.dtype, execution)
