"""The list of all settings that `python -m workflow_scripts.study defaults` prints."""

from __future__ import annotations

import yaml
from pydantic import BaseModel

from workflow_scripts.study.defaults import defaults
from workflow_scripts.study.kinds import inside, sections_of
from workflow_scripts.study.schema import Study


def sections(model: type[BaseModel], shown: dict) -> list[tuple[type[BaseModel], dict]]:
    """Every kind of section, with what is shown of it."""
    found = [(model, shown)]
    for name, field in model.model_fields.items():
        kind, value = field.rebuild_annotation(), shown[name]
        if isinstance(value, dict) and list(value) == ["<name>"]:
            kind, value = inside(kind, name), value["<name>"]
        kinds = sections_of(kind) or sections_of(inside(kind, 0))
        for one, part in zip(kinds, value if isinstance(value, list) else [value], strict=True) if kinds else ():
            found += sections(one, part)
    return found


def test_every_setting_is_shown_with_its_default_and_its_docstring():
    text = defaults()
    words = " ".join(text.replace("#", " ").split())
    found = sections(Study, yaml.safe_load(text))
    assert len({model for model, _ in found}) > 25
    for model, shown in found:
        assert list(shown) == list(model.model_fields)
        for name, field in model.model_fields.items():
            assert " ".join((field.description or "").split()) in words
            below = sections_of(field.rebuild_annotation()) or sections_of(inside(field.rebuild_annotation(), 0))
            if not below and not field.is_required():
                assert shown[name] == field.default, (model, name)
    assert all(len(line) <= 120 for line in text.splitlines())
