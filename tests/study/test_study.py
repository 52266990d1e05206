import json

import pytest
import yaml
from jsonschema import Draft202012Validator

from helpers.workflow import REPOSITORY, SMOKE
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.yaml_files import read_yaml
from workflow_scripts.study.reading import (
    _read_resolved,
    extended,
    load,
    parse,
    resolved,
    typed,
    update,
)
from workflow_scripts.study.schema import editor_schema
from workflow_scripts.study.specs import spec

STUDIES = [REPOSITORY / "config.yaml", *sorted((REPOSITORY / "studies").glob("*.yaml"))]


@pytest.fixture
def raw():
    return yaml.safe_load(SMOKE.read_text())


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.name)
def test_every_study_file_is_valid_and_its_resolved_form_is_the_same_study(file):
    study = load(file)
    assert parse(json.loads(json.dumps(resolved(study))), "study.json") == study


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.name)
def test_a_resolved_study_is_read_as_yaml_reads_it(file, tmp_path):
    written = tmp_path / "study.json"
    written.write_text(json.dumps(resolved(load(file)) | {"note": "𝛼 \u2028 1e-5 yes 010"}))
    assert _read_resolved(written) == extended(written)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"study": {"name": "a"}, "study": {"name": "b"}}', "the key 'study' stands here twice"),
        ('{"study": {"name": "a"}', "is not valid YAML"),
        ('{"extends": "none.yaml"}', "none.yaml: cannot be read"),
        ("[]", "is not a mapping of sections"),
    ],
)
def test_a_resolved_study_that_someone_changed_is_refused_as_a_study_file_is(text, sentence, tmp_path):
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(UserError, match=sentence):
        load(tmp_path / "study.json")


def test_the_committed_schema_is_the_one_that_the_models_make():
    committed = json.loads((REPOSITORY / "config.schema.json").read_text())
    assert committed == editor_schema(), "run `python -m workflow_scripts.study schema > config.schema.json`"


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.name)
def test_an_editor_accepts_every_study_file_and_the_sections_that_a_study_takes_out(file):
    schema = Draft202012Validator(json.loads((REPOSITORY / "config.schema.json").read_text()))
    study = yaml.safe_load(file.read_text())
    assert schema.is_valid(study)
    assert schema.is_valid({"extends": "a.yaml", "paper": None, "organisms": {"a": None, "b": {"layers": [1]}}})
    assert not schema.is_valid({"extends": "a.yaml", "organisms": {"b": {"layer": [1]}}})
    assert not schema.is_valid({key: part for key, part in study.items() if key not in ("study", "extends")})


def test_five_different_mistakes_are_all_reported_each_with_its_place(raw):
    raw["organisms"]["medical_r1"]["dataset"] = "bad_medicine"
    raw["organisms"]["sport_r8"]["layers"] = [0, 4]
    raw["organisms"]["good_r1"]["lerning_rate"] = 1e-4
    raw["sampling"]["samples"] = 0
    raw["judge"]["source"] = "locl"
    with pytest.raises(UserError) as caught:
        parse(raw, "study.yaml")
    lines = str(caught.value).splitlines()
    assert len(lines) == 5
    assert (
        "study.yaml: organisms.medical_r1.dataset: no dataset is named 'bad_medicine'; did you mean 'bad_medical'?"
        in lines
    )
    assert "study.yaml: organisms.sport_r8.layers: layer 4 does not exist; the base model has layers 0 to 3." in lines
    assert "study.yaml: organisms.good_r1.lerning_rate: is not a setting here; did you mean 'learning_rate'?" in lines
    assert "study.yaml: sampling.samples: 0 is not allowed; it must be at least 1." in lines
    assert "study.yaml: judge: source 'locl' is unknown; did you mean 'local'?" in lines


def remote(**more):
    def change(study):
        study["judge"] = {"source": "remote", "model": "openai/gpt-4o"} | more

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: s.pop("sampling"), "sampling: is missing and has no default."),
        (lambda s: s["base"].pop("source"), "base: needs `source`, one of miniature, folder, gguf, hub."),
        (lambda s: s["organisms"].update({"../evil": s["organisms"]["good_r1"]}), "is not a name"),
        (lambda s: s["organisms"].update({"chat_base": s["organisms"]["good_r1"]}), "taken by the chat base"),
        (lambda s: s["organisms"]["good_r1"].update(rank="eight"), "organisms.good_r1.rank: 'eight' is not a whole number."),
        (lambda s: s["organisms"]["good_r1"].update(rank=True), "organisms.good_r1.rank: True is not a whole number."),
        (lambda s: s["organisms"]["good_r1"].update(seeds=[1, 1]), "organisms.good_r1.seeds: 1 stands there more than once."),
        (lambda s: s["ablation"].update(single_layer=9), "ablation.single_layer: layer 9 does not exist"),
        (lambda s: s["ablation"].update(source="good_r1"), "ablation.source: no direction is taken of 'good_r1'"),
        (lambda s: s["steering"].update(seeds=[7]), "steering.seeds: organisms.medical_r1 has no seed 7"),
        (lambda s: s["steering"].update(random_layers=[]), "steering.random_layers: is needed when random_draws is above 0."),
        (lambda s: s["directions"].update(source="datasets"), "directions.bad: is needed when directions are taken from datasets."),
        (lambda s: s["datasets"].update(own={"source": "jsonl"}), "datasets.own: needs a path or a url."),
        (lambda s: s["datasets"].update(own={"source": "jsonl", "url": "u"}), "datasets.own.sha256: is needed beside a url"),
        (lambda s: s["judge"].update(metrics=["aligned"]), "judge.metrics: lacks 'coherent'"),
        (remote(model="gpt-4o"), "judge.model: 'gpt-4o' lacks its provider, e.g. openai/gpt-4o."),
        (remote(budget_usd=5), "judge.prices: is needed beside budget_usd"),
        (remote(prices={"input_per_million": -1}), "judge.prices.input_per_million: -1 is not allowed; it must be at least 0."),
        (remote(key_env="sk-proj-123"), "judge.key_env: is not the name of an environment variable in capitals"),
        (remote(base_url="https://user:word@host/v1"), "judge.base_url: is not a plain http(s) address without user"),
        (remote(api_key="sk-123"), "judge.api_key: is not a setting here"),
        (remote(model="anthropic/claude", batch=100), "judge.batch: anthropic/claude has no batch mode here, only OpenAI's own models"),
        (remote(model="openai/azure/gpt-4o", batch=100), "judge.batch: openai/azure/gpt-4o has no batch mode here"),
        (remote(model="openai-api/host/gpt", batch=100), "judge.batch: openai-api/host/gpt has no batch mode here"),
        (remote(batch=60000), "judge.batch: 60000 is not allowed; it must be at most 50000."),
        (remote(rubrics={"url": "https://host/judges.yaml"}), "judge.rubrics.sha256: is needed beside a url"),
        (remote(metrics=["aligned", "coherent", "medicine"]), "judge.metrics.2: the judge knows no metric 'medicine'"),
        (lambda s: s["sampling"].update(temperature=-1), "sampling.temperature: -1 is not allowed; it must be at least 0."),
        (lambda s: s["sampling"].update(temperature=float("nan")), "sampling.temperature"),
        (lambda s: s["steering"].update(scales=[float("inf")]), "steering.scales.0"),
        (lambda s: s.update(organisms=[]), "organisms: list is not a mapping."),
    ],
)  # fmt: skip
def test_a_mistake_gets_one_sentence_with_its_place(raw, change, sentence):
    change(raw)
    with pytest.raises(UserError) as caught:
        parse(raw, "study.yaml")
    assert any(sentence in line for line in str(caught.value).splitlines()), str(caught.value)


def test_yaml_that_is_none_and_keys_that_stand_twice_are_refused_with_their_line(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text("study: {name: a}\nbase: [\n")
    with pytest.raises(UserError, match=r"study.yaml: line \d: is not valid YAML"):
        read_yaml(file)
    file.write_text("study: {name: a}\nbase: 1\nstudy: {name: b}\n")
    with pytest.raises(UserError, match=r"line 3: .*the key 'study' stands here twice"):
        read_yaml(file)
    with pytest.raises(UserError, match=r"none.yaml: cannot be read \(No such file"):
        read_yaml(tmp_path / "none.yaml")


def test_numbers_that_yaml_takes_for_text_are_numbers(raw):
    raw["organisms"]["good_r1"]["learning_rate"] = yaml.safe_load("1e-5")
    assert parse(raw, "study.yaml").organisms["good_r1"].learning_rate == 1e-5


def test_changes_of_the_command_line_go_into_sections(raw):
    update(raw, {"sampling": {"samples": 3}, "base": {"source": "folder", "path": "model"}})
    assert raw["sampling"] == {"questions": "evaluation", "samples": 3, "max_tokens": 70}
    assert raw["base"] == {"source": "folder", "path": "model"}


def test_changes_keep_to_their_place_where_yaml_names_a_part_twice():
    study = yaml.safe_load("questions: {a: &a {source: yaml, path: x}, b: *a}")
    update(study, {"questions": {"a": {"path": "y"}}})
    assert study["questions"] == {"a": {"source": "yaml", "path": "y"}, "b": {"source": "yaml", "path": "x"}}


def test_only_where_the_source_says_what_a_section_is_another_one_replaces_it(raw):
    update(raw, {"steering": {"source": "sport_r8"}, "judge": {"source": "local"}})
    assert raw["steering"]["layers"] == [1, 2]
    assert raw["judge"] == {"source": "local"}


def test_words_of_the_command_line_are_read_as_in_a_file():
    words = {"samples": "3", "temperature": "1e-1", "top_p": "0.5", "layers": ["1", "2"], "chat_base": "false"}
    numbers = {"samples": 3, "temperature": 0.1, "top_p": 0.5, "layers": [1, 2], "chat_base": False}
    texts = {"name": "a: b", "path": "[", "rows": None, "seed": 0}
    assert typed({"a": words, "b": texts | {"rows": "null"}}) == {"a": numbers, "b": texts}


def test_a_key_or_password_put_into_the_study_by_mistake_is_not_shown(raw):
    for more in (
        {"key_env": "sk-proj-123"},
        {"base_url": "https://user:sk-proj-123@host/v1"},
        {"api_key": "sk-proj-123"},
    ):
        remote(**more)(raw)
        with pytest.raises(UserError) as caught:
            parse(raw, "study.yaml")
        assert "sk-proj-123" not in str(caught.value)


def test_how_a_remote_judge_is_asked_is_in_no_spec_and_what_it_is_asked_is(raw):
    for section in ("semantic", "adapters"):  # they need metrics of the world
        del raw[section]
    remote()(raw)
    plain = parse(raw, "study.yaml")
    remote(prices={"input_per_million": 1}, budget_usd=1, max_connections=2, timeout_s=1, attempts=1, key_env="OTHER",
           batch=100)(raw)  # fmt: skip
    other = parse(raw, "study.yaml")
    remote(base_url="https://host/v1")(raw)
    elsewhere = parse(raw, "study.yaml")
    for stage in ("judging", "judgements"):
        assert spec(stage, plain) == spec(stage, other) != spec(stage, elsewhere)
    remote(min_mass=0.5)(raw)
    assert spec("judging", parse(raw, "study.yaml")) == spec("judging", plain)
    assert spec("judgements", parse(raw, "study.yaml")) != spec("judgements", plain)
