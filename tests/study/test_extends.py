"""A study that is laid over another one by `extends`."""

from __future__ import annotations

import pytest
import yaml

from helpers.workflow import SMOKE
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.study.reading import gather, load, parse, resolved


@pytest.fixture
def write(tmp_path):
    (tmp_path / "smoke.yaml").write_text(SMOKE.read_text())

    def written(name, text):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        return file

    return written


def test_its_sections_are_laid_over_those_of_the_other_and_null_takes_out(write):
    write("more/far.yaml", "{extends: ../smoke.yaml, sampling: {samples: 3}, training_path: null}")
    file = write("near.yaml", "{extends: more/far.yaml, sampling: {seed: 4}, organisms: {medical_single: {rank: 1}}}")
    expected = yaml.safe_load(SMOKE.read_text())
    expected["sampling"] |= {"samples": 3, "seed": 4}
    del expected["training_path"]
    study = load(file)
    assert study == parse(expected, "study.yaml")
    assert "extends" not in resolved(study)
    assert list(resolved(study)["organisms"]) == list(expected["organisms"]), "their order is the other's"
    assert parse(gather([file], {"sampling": {"seed": "5"}}), "x").sampling.seed == 5


def test_null_takes_out_an_entry_and_is_a_value_elsewhere(write):
    file = write(
        "own.yaml",
        "{extends: smoke.yaml, questions: {medical: null}, adapters: null, dynamics: null, steering: {samples: null}}",
    )
    study = load(file)
    assert list(study.questions) == ["evaluation", "extraction"]
    assert study.steering.samples is None
    assert (
        load(write("two.yaml", "{extends: smoke.yaml, adapters: {log_significance: null}}")).adapters.log_significance
        is None
    )


def test_mistakes_of_the_whole_are_reported_under_the_file_that_was_given(write):
    file = write(
        "own.yaml", "{extends: smoke.yaml, ablation: {single_layer: 9}, organisms: {good_r1: null}, stering: null}"
    )
    with pytest.raises(UserError) as caught:
        load(file)
    assert set(str(caught.value).splitlines()) == {
        f"{file}: stering: is not a setting here; did you mean 'steering'?",
        f"{file}: ablation.single_layer: layer 9 does not exist; the base model has layers 0 to 3.",
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{extends: own.yaml}", "own.yaml: extends itself in the end; let one of these files stand alone."),
        (
            "{extends: ./../{folder}/circle.yaml}",
            "own.yaml: extends itself in the end; let one of these",
        ),
        ("{extends: none.yaml}", "none.yaml: cannot be read (No such file or directory)."),
        ("{extends: .}", ": cannot be read (it is not a plain file)."),
        ("{extends: " + "x" * 5000 + "}", ": cannot be read (File name too long)."),
        ("{extends: 7}", "extends: 7 is not the path of a study file."),
        ("{extends: [smoke.yaml]}", "extends: ['smoke.yaml'] is not the path of a study file."),
        ('{extends: "a\\tb"}', r"extends: 'a\tb' is not the path of a study file."),
        ("{extends: list.yaml}", "list.yaml is not a mapping of sections"),
        ("{extends: broken.yaml}", "broken.yaml: line 1: is not valid YAML"),
    ],
)
def test_a_study_that_cannot_be_extended_is_named_in_one_sentence(write, tmp_path, text, sentence):
    write("circle.yaml", "extends: own.yaml")
    write("list.yaml", "- a")
    write("broken.yaml", "{a: [")
    with pytest.raises(UserError) as caught:
        load(write("own.yaml", text.replace("{folder}", tmp_path.name)))
    assert sentence in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'own.yaml'}: extends: ")
    assert len(str(caught.value).splitlines()) == 1
