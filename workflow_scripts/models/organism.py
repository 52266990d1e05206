"""An organism's model as the stages that read with it need it: checked, on a GPU of its own where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workflow_scripts.models.files import checked_base
from workflow_scripts.models.loading import load_adapter, load_model
from workflow_scripts.runtime import gpu_lease
from workflow_scripts.store.adapter_files import adapter_digest
from workflow_scripts.study.layout import CHAT_BASE, Layout
from workflow_scripts.study.schema import Study

if TYPE_CHECKING:
    from peft import PeftModel


def load_organism(study: Study, layout: Layout, subject: str) -> PeftModel:
    """The study's base with a subject's adapter on top, in evaluation mode; a GPU is leased for the process's life.

    Raises:
        UserError: if the base is not what its fingerprint says, or the adapter not what its gate was made with.
    """
    gpu_lease.hold(1)
    model: PeftModel = load_subject(study, layout, subject)
    return model


def load_subject(study: Study, layout: Layout, subject: str) -> Any:
    """As `load_organism`, of the chat base too, for whoever holds a GPU already."""
    if subject == CHAT_BASE:
        return load_model(checked_base(layout), study.base.dtype)
    adapter_digest(layout.adapter(subject), layout.gate(subject))
    return load_adapter(load_model(checked_base(layout), study.base.dtype), layout.organism(subject))
