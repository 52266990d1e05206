"""The model that reads a subject's texts: checked, on a GPU of its own where there is one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from workflow_scripts.models.files import checked_base
from workflow_scripts.models.loading import load_adapter, load_model
from workflow_scripts.runtime import gpu_lease
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


class Reader:
    """The study's base, loaded once, as the model of one subject after another: each adapter is taken off before the
    next is put on."""

    def __init__(self, study: Study, layout: Layout) -> None:
        self._study, self._layout = study, layout
        self._base: Any = None
        self._model: Any = None

    def model(self, subject: str) -> Any:
        """As `load_organism`; the model of the subject before is no more."""
        if self._base is None:
            self._base = _load_base(self._study, self._layout)
        elif self._model is not self._base:
            self._base = self._model.unload()
        self._model = self._base
        self._model = _with_adapter(self._base, self._study, self._layout, subject)
        return self._model


def each_model(study: Study, layout: Layout, subjects: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """As `load_organism`, of one subject after another, the chat base too."""
    reader = Reader(study, layout)
    for subject in subjects:
        yield subject, reader.model(subject)


def _load_base(study: Study, layout: Layout) -> Any:
    gpu_lease.hold(1)
    return load_model(checked_base(layout), study.base.dtype)


def _with_adapter(base: Any, study: Study, layout: Layout, subject: str) -> Any:
    if subject == CHAT_BASE or is_given(study, subject):
        return base
    adapter_digest(layout.adapter(subject), layout.gate(subject))
    return load_adapter(base, layout.organism(subject))
