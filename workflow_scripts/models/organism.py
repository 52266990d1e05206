"""The model that reads a subject's texts: checked, on a GPU of its own where there is one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from workflow_scripts.models.files import checked_base
from workflow_scripts.models.loading import load_adapter, load_model
from workflow_scripts.runtime import gpu_lease
from workflow_scripts.store.absence import Absence, recorded
from workflow_scripts.store.adapter_files import adapter_digest
from workflow_scripts.study.conditions import is_given
from workflow_scripts.study.layout import CHAT_BASE, Layout
from workflow_scripts.study.schema import Study


def load_organism(study: Study, layout: Layout, subject: str) -> Any:
    """The study's base with a subject's adapter on top, in evaluation mode; a GPU is leased for the process's life.

    An organism of given responses has no adapter: the base itself reads them (`reader_facts` says so).

    Raises:
        UserError: if the base is not what its fingerprint says, or the adapter not what its gate was made with.
    """
    return _with_adapter(_load_base(study, layout), study, layout, subject)


def each_model(study: Study, layout: Layout, subjects: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """As `load_organism`, of one subject after another, the chat base too: the base is loaded once, and each adapter
    taken off before the next is put on."""
    base: Any = None
    for subject in subjects:
        base = _load_base(study, layout) if base is None else base
        model = _with_adapter(base, study, layout, subject)
        yield subject, model
        if model is not base:
            base = model.unload()


def _load_base(study: Study, layout: Layout) -> Any:
    gpu_lease.hold(1)
    return load_model(checked_base(layout), study.base.dtype)


def _with_adapter(base: Any, study: Study, layout: Layout, subject: str) -> Any:
    if subject == CHAT_BASE or is_given(study, subject):
        return base
    adapter_digest(layout.adapter(subject), layout.gate(subject))
    return load_adapter(base, layout.organism(subject))


def reader_facts(study: Study, subject: str) -> dict[str, Any]:
    """For a direction's provenance: what it lacks where the base has read a subject's texts in the subject's place."""
    if not is_given(study, subject):
        return {}
    why = (
        f"{subject} is known by its responses only: its direction is taken of the chat base that reads them, not of "
        "the organism's own activations."
    )
    return recorded([Absence(why, "read_by_base")])
