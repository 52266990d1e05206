"""What the stages read of a study: every setting is in some stage's spec, or is known to move no result."""

from __future__ import annotations

import pytest
import yaml

from helpers.studies import changed, leaves, others, specs_of_all_jobs, valid
from helpers.workflow import REPOSITORY
from workflow_scripts.study.reading import parse, resolved

UNREAD = {
    "smoke": set(),
    "real-cpu": {"directions.questions"},  # it has one question set, which is the headline one
}
"""Settings of a study that move no result of it."""


@pytest.mark.parametrize("name", UNREAD)
def test_every_setting_moves_some_stages_spec(name):
    raw = resolved(parse(yaml.safe_load((REPOSITORY / "studies" / f"{name}.yaml").read_text()), name))
    before = specs_of_all_jobs(parse(raw, name))
    tried, unmoved = 0, []
    for place, value in leaves(raw):
        if place[0] == "execution":
            continue
        for other in others(value, raw):
            if (study := valid(changed(raw, place, other))) is None:
                continue
            tried += 1
            path = ".".join(map(str, place))
            if specs_of_all_jobs(study) == before and path not in UNREAD[name]:
                unmoved.append(f"{path}: {value!r} -> {other!r}")
            break
    assert not unmoved
    print(f"{name}: {tried} settings")
    assert tried > 50


@pytest.mark.parametrize("name", UNREAD)
def test_execution_moves_no_spec(name):
    raw = resolved(parse(yaml.safe_load((REPOSITORY / "studies" / f"{name}.yaml").read_text()), name))
    before = specs_of_all_jobs(parse(raw, name))
    for place, value in leaves(raw["execution"], ("execution",)):
        for other in others(value, raw):
            if (study := valid(changed(raw, place, other))) is None:
                continue
            assert specs_of_all_jobs(study) == before
            break
