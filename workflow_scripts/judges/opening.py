"""Which judge a study asks."""

from __future__ import annotations

from pathlib import Path

from workflow_scripts.judges.interface import Judge
from workflow_scripts.judges.rubrics import read_rubrics, rubric_file
from workflow_scripts.judges.store import JudgementStore
from workflow_scripts.models.files import base_id, checked_base, remembered_digest
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import canonical
from workflow_scripts.study.judge import ExactJudge, RemoteJudge
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.schema import Study


def open_judge(study: Study, layout: Layout) -> Judge:
    """The study's judge. A local judge is named by the weights that answer, a remote one by model and endpoint."""
    settings, execution = study.judge, study.execution
    if isinstance(settings, ExactJudge):
        from workflow_scripts.judges.exact import ExactJudge as Exact

        return Exact(settings.metrics)
    rubrics = read_rubrics(rubric_file(settings.rubrics, layout.downloads, execution.download_mirror), settings.metrics)
    if isinstance(settings, RemoteJudge) and settings.batch:
        from workflow_scripts.judges.batches import BatchJudge

        return BatchJudge(settings, rubrics, JudgementStore(layout.judgement_store))
    if isinstance(settings, RemoteJudge):
        from workflow_scripts.judges.remote import RemoteJudge as Remote

        return Remote(settings, rubrics)
    from workflow_scripts.judges.local import LocalJudge

    if settings.model is None:
        model, identity = checked_base(layout), base_id(layout)
    else:
        model = Path(settings.model)
        weights = sorted(model.glob("*.safetensors"))
        if not weights:
            raise UserError(f"judge.model: {model} has no *.safetensors weights.")
        identity = canonical([remembered_digest(file, layout.digests) for file in weights])
    return LocalJudge(model, identity, rubrics, settings.dtype, execution.max_sequences, execution.cpu_cache_gb)
