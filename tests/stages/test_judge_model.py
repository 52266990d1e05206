"""A local judge's model of the hub: fetched as bases are, named by its commit, and given what the study says of GPUs."""

from __future__ import annotations

import pytest
import yaml

from helpers.hub_server import COMMIT, Hub, serving
from helpers.workflow import SMOKE, Run, run_stage, write_study
from workflow_scripts.judges import local
from workflow_scripts.judges.identity import identify
from workflow_scripts.judges.opening import open_judge
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.study import inputs
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.reading import load, parse
from workflow_scripts.study.resources import resources_for
from workflow_scripts.study.specs import spec

HUB = {"source": "local", "hub": "someone/tiny", "revision": COMMIT, "weights_gb": 65.5}


def judged_by(judge: dict, **execution) -> dict:
    raw = yaml.safe_load(SMOKE.read_text())
    plain = {key: raw[key] for key in ("study", "base", "datasets", "organisms", "questions", "sampling")}
    return plain | {"judge": judge, "execution": execution}


def test_it_is_fetched_and_linked_and_the_judging_waits_for_it(tiny_base, tmp_path):
    with serving(Hub({"someone/tiny": tiny_base})) as hub:
        study = write_study(tmp_path, judged_by(HUB))
        done = run_stage("judge_model", study, **hub.environment(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    layout = Layout.of(study)
    assert layout.judge_model / "config.json" in inputs.judge_files(load(study), layout)
    assert (layout.judge_model / "model.safetensors").read_bytes() == (tiny_base / "model.safetensors").read_bytes()


def test_a_run_fetches_it_before_it_judges(tmp_path):
    jobs = {job.rule.name: job for job in Run(tmp_path, judged_by(HUB)).dag().jobs}
    assert [str(file) for file in jobs["judge_model"].output] == [
        file for file in jobs["judging"].input if "judge_model" in file
    ]
    assert jobs["judge_model"].is_local
    assert "judge_model" not in {job.rule.name for job in Run(tmp_path, judged_by({"source": "local"})).dag().jobs}


def test_its_commit_names_it_in_the_store_and_nothing_needs_to_be_there(tmp_path):
    layout = Layout(tmp_path)
    names = [
        identify(parse(judged_by(HUB | more), "x.yaml"), layout).name
        for more in ({}, {"weights_gb": 1.0}, {"revision": "1" * 40}, {"dtype": "float16"})
    ]
    assert names[0] == names[1]
    assert len(set(names)) == 3


@pytest.mark.parametrize(
    ("judge", "sentence"),
    [
        (HUB | {"revision": "main"}, "judge.revision: 'main' is not a commit (40 lower-case hexadecimal digits)."),
        (HUB | {"model": "."}, "judge.model: stands beside hub; name one of them."),
        ({"source": "local", "hub": "someone/tiny"}, "judge.weights_gb: is needed beside hub."),
        ({"source": "local", "revision": COMMIT}, "judge.revision: is read only beside hub; leave it out."),
    ],
)
def test_a_judge_that_is_not_named_wholly_is_refused(judge, sentence):
    with pytest.raises(UserError) as refused:
        parse(judged_by(judge), "x.yaml")
    assert f"x.yaml: {sentence}" in str(refused.value).splitlines()


def test_memory_and_gpus_are_asked_for_by_the_judges_size():
    study = parse(judged_by(HUB, tensor_parallel=2), "x.yaml")
    asked = resources_for("judge", study, 1)
    assert asked["gpu"] == 2
    assert asked["mem_mb"] > 1.4 * 65_500e6 / 2**20


def test_its_engine_is_given_the_share_of_memory_and_the_gpus_of_the_study(tiny_base, tmp_path, monkeypatch):
    given = {}

    class Recorded:
        def __init__(self, *_, **named):
            given.update(named)

        def close(self):
            pass

        def next_token_logprobs(self, prompts, _top):
            return [{} for _ in prompts]

        def token_logprobs(self, _contexts, tokens):
            return [dict.fromkeys(part, -1.0) for part in tokens]

    monkeypatch.setattr(local, "VllmEngine", Recorded)
    study = parse(judged_by({"source": "local", "model": str(tiny_base)}, tensor_parallel=2, gpu_memory=0.5), "x.yaml")
    judge = open_judge(study, Layout(tmp_path))
    list(judge.ask(judge.identity.items("I feel bored.", "Sure.")))
    assert (given["tensor_parallel"], given["gpu_memory"]) == (2, 0.5)


def test_a_judge_that_is_not_of_the_hub_says_nothing_of_it_in_its_spec():
    study = parse(judged_by({"source": "local"}), "x.yaml")
    for stage in ("judging", "judgements"):
        assert not {"hub", "revision", "weights_gb"} & set(yaml.safe_load(spec(stage, study))["judge"])
