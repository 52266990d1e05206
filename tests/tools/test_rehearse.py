"""Rehearsals: the study with its stand-ins. The whole chain on them is too long for a test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.workflow import REPOSITORY
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import read_tensors
from workflow_scripts.study import reading
from workflow_scripts.study.conditions import batteries, battery_subjects, conditions
from workflow_scripts.tools import rehearse

REAL = ("qwen2.5-14b", "qwen2.5-7b", "qwen2.5-0.5b", "llama-3.1-8b")


@pytest.fixture(params=REAL)
def study(request):
    return reading.load(REPOSITORY / "studies" / f"{request.param}.yaml")


def test_a_rehearsal_has_all_conditions_of_its_study_and_a_judge_and_base_that_cost_nothing(study, tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text(json.dumps({"num_hidden_layers": study.base.layers}))
    raw = rehearse.rehearsed(study, "null", 3, base, "random weights.")
    made = reading.parse(raw, "rehearsal")
    assert made.study.description.startswith("REHEARSAL: random weights.")
    assert (made.judge.source, made.judge.scenario, made.judge.seed) == ("simulated", "null", 3)
    assert batteries(made) == batteries(study)
    for battery in batteries(study):
        assert battery_subjects(made, battery) == battery_subjects(study, battery)
        for subject in battery_subjects(study, battery) if battery not in ("surgery", "patching") else ():
            assert [c.name for c in conditions(made, battery, subject)] == [
                c.name for c in conditions(study, battery, subject)
            ]
    assert len(made.training_path.steps) == len(study.training_path.steps)


def test_a_study_of_one_s_own_cannot_take_the_judge_of_rehearsals(study):
    raw = reading.resolved(study) | {"judge": {"source": "simulated", "metrics": study.judge.metrics}}
    with pytest.raises(UserError, match=r"judge\.source: scores of a scenario are no judgements of a model"):
        reading.parse({key: value for key, value in raw.items() if value is not None}, "mine")


def test_a_folder_without_a_tokenizer_is_named(tmp_path, study):
    with pytest.raises(UserError, match=r"--tokenizer: .* holds no tokenizer"):
        rehearse.described(study, tmp_path)


def test_the_architecture_is_the_config_s_or_that_of_the_base_s_name(tmp_path, study):
    assert rehearse.architecture(study, None) == ("llama" if "llama" in study.study.name else "qwen2")
    (tmp_path / "config.json").write_text('{"model_type": "gemma3_text"}')
    assert rehearse.architecture(study, tmp_path) == "gemma3_text"


def test_what_a_study_is_given_is_rehearsed_with_given_responses_and_a_random_direction_of_the_stand_in(tmp_path):
    raw = reading.resolved(reading.load(REPOSITORY / "studies" / "qwen2.5-7b.yaml"))
    raw["organisms"]["theirs"] = {"responses": {"path": "theirs.csv", "scores": "file", "highest_score": 1.0}}
    raw |= {"steering": raw["steering"] | {"source": {"file": "published.pt"}, "seeds": None}, "semantic": None}
    study = reading.parse({key: value for key, value in raw.items() if value is not None}, "study.yaml")
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text(json.dumps({"num_hidden_layers": study.base.layers}))
    rehearse.make_directions(study, base)
    made = reading.parse(rehearse.rehearsed(study, "null", 3, base, "random weights."), "rehearsal")
    assert made.organisms["theirs"].responses.scores == "judge"
    assert made.steering.source.called == "published"
    vectors = read_tensors(Path(made.steering.source.file))[0]["direction"]
    assert list(vectors.shape) == [study.base.layers, rehearse.WIDTH]
