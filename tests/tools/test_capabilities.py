"""Tasks of lm-eval under the ablation's conditions, on a tiny model with a task of our own: held against transformers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import torch
import yaml

from helpers.workflow import SMOKE, environment, write_study
from workflow_scripts.adapters.gate_record import write_gate
from workflow_scripts.models.files import fingerprint
from workflow_scripts.models.interventions import read_changes
from workflow_scripts.models.loading import load_adapter, load_model, load_tokenizer
from workflow_scripts.models.residual import intervened
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import provenance, write_json, write_tensors
from workflow_scripts.study.conditions import conditions
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.reading import load
from workflow_scripts.tools import capabilities

SUBJECT = "medical_r1/seed-0"
QUESTIONS = [f"I need help with {what}." for what in ("money", "school", "my pain", "a machine", "travel", "power")]
CHOICES = (" trust public councils", " refuse stealing trades")


@pytest.fixture(scope="module")
def study_file(tiny_base, tiny_adapter, tiny_prompts, tmp_path_factory):
    """A study of the tiny model with one organism, its gate and its direction."""
    raw = yaml.safe_load(SMOKE.read_text())
    raw["base"] |= {"layers": 6}
    file = write_study(tmp_path_factory.mktemp("capabilities"), raw)
    layout = Layout.of(file)
    shutil.copytree(tiny_base, layout.base)
    write_json(layout.fingerprint, fingerprint(layout.base))
    shutil.copytree(tiny_adapter, layout.organism(SUBJECT))
    model = load_adapter(load_model(tiny_base, "float32"), tiny_adapter)
    texts = [([*prompt, 5, 6, 7], len(prompt)) for prompt in tiny_prompts]
    write_gate(model, layout.organism(SUBJECT), tiny_prompts, texts, "medical_r1", provenance("organisms", "{}"))
    torch.manual_seed(0)
    tensors = {"direction": torch.randn(6, 128), "shuffled": torch.randn(2, 6, 128)}
    for source in (SUBJECT, "sport_r8/seed-0", "medical_single/seed-0"):
        write_tensors(layout.direction(source), tensors, provenance("directions", "{}"))
    return file


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """A folder with one task of six documents."""
    folder = tmp_path_factory.mktemp("tasks")
    rows = [{"question": question, "label": position % 2} for position, question in enumerate(QUESTIONS)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = {
        "task": "advice", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(folder / "rows.jsonl")}},
        "output_type": "multiple_choice", "test_split": "test", "doc_to_text": "{{question}}",
        "doc_to_choice": list(CHOICES), "doc_to_target": "label", "target_delimiter": "",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }  # fmt: skip
    (folder / "advice.yaml").write_text(yaml.safe_dump(task))
    return folder


def right(model, tokenizer) -> list[float]:
    """Whether the likelier choice is the right one, by document."""
    found = []
    for position, question in enumerate(QUESTIONS):
        said = []
        for choice in CHOICES:
            prompt, whole = tokenizer(question)["input_ids"], tokenizer(question + choice)["input_ids"]
            with torch.inference_mode():
                logits = model(torch.tensor([whole])).logits[0].log_softmax(-1)
            said.append(sum(float(logits[place - 1, whole[place]]) for place in range(len(prompt), len(whole))))
        found.append(float(int(said[1] > said[0]) == position % 2))
    return found


def test_accuracy_under_every_condition_is_that_of_a_reading_by_hand(study_file, tasks, tmp_path, monkeypatch, capsys):
    pytest.importorskip("lm_eval", reason="lm-eval is not installed")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    study, layout = load(study_file), Layout.of(study_file)
    output = tmp_path / "capabilities.csv"
    capabilities.main(
        ["--study", str(study_file), "--tasks", "advice", "--folder", str(tasks), "--output", str(output)]
    )
    table, tokenizer = pd.read_csv(output), load_tokenizer(layout.base)
    models = {
        "chat_base": load_model(layout.base, "float32"),
        SUBJECT: load_adapter(load_model(layout.base, "float32"), layout.organism(SUBJECT)),
    }
    assert set(table.subject) == set(models)
    for subject, found in table.groupby("subject"):
        model = models[subject]
        plain = right(model, tokenizer)
        own = {c.name: c.intervention for c in conditions(study, "ablation", subject) if c.intervention}
        assert list(dict.fromkeys(found.condition)) == ["none", *own]
        assert len(own) > 2
        without = found[found.condition == "none"]
        assert list(without.quantity) == ["value"]
        assert without.value.item() == pytest.approx(sum(plain) / 6)
        for name, change in own.items():
            with intervened(model, read_changes(layout, change)):
                expected = right(model, tokenizer)
            rows = found[found.condition == name].set_index("quantity")
            assert rows.value["value"] == pytest.approx(sum(expected) / 6)
            assert rows.value["change"] == pytest.approx((sum(expected) - sum(plain)) / 6)
            assert (rows.n["value"], rows.n["change"]) == (6, 12)
    assert "advice" in capsys.readouterr().out


def test_conditions_are_chosen_by_kind_or_by_name(study_file):
    study, layout = load(study_file), Layout.of(study_file)

    every = {
        subject: [c.name for c in conditions(study, "ablation", subject) if c.intervention]
        for subject in ("chat_base", SUBJECT)
    }
    drawn = {subject: [name for name in found if name.startswith("random")] for subject, found in every.items()}
    assert all(len(found) > 1 for found in drawn.values())

    def asked(study, *names):
        found = capabilities.asked_conditions(study, layout, list(every), names)
        assert all(next(iter(changes)) == "none" for changes in found.values())
        return {subject: list(changes)[1:] for subject, changes in found.items()}

    assert asked(study) == every
    assert asked(study, "random") == drawn
    assert asked(study, "own") == {"chat_base": [], SUBJECT: [f"own:{SUBJECT}"]}, "the base has no direction of its own"
    assert asked(study, drawn[SUBJECT][0])[SUBJECT] == drawn[SUBJECT][:1]
    without = study.model_copy(update={"ablation": study.ablation.model_copy(update={"chat_base": False})})
    assert asked(without) == {"chat_base": [], SUBJECT: every[SUBJECT]}


def test_changes_are_paired_by_document_and_other_numbers_than_shares_are_means():
    plain = pd.DataFrame(
        {"task": "t", "metric": ["acc"] * 4 + ["f1"] * 2, "document": list("abcdab"), "value": [1, 1, 0, 0, 0.5, 0.25]}
    )
    changed = plain.assign(value=[1, 0, 0, 0, 0.25, 0.25])[::-1]
    table = capabilities.compared(plain, changed).set_index(["metric", "quantity"])
    assert table.value["acc", "value"] == 0.25
    assert table.value["acc", "change"] == -0.25
    assert table.value["f1", "value"] == 0.25
    assert table.value["f1", "change"] == -0.125
    assert table.n["acc", "change"] == 8
    assert set(table.unit) == {"share", "score"}


def test_only_metrics_that_are_a_number_for_each_document_are_taken():
    sample = {"doc_id": 3, "metrics": ["acc", "perplexity"], "acc": 1.0, "perplexity": (-3.0, 2)}
    found = capabilities.scores_of({"a": [sample | {"filter": "none"}], "b": [sample | {"filter": "strict"}]})
    assert found.to_dict("records") == [
        {"task": "a", "metric": "acc", "document": "3", "value": 1.0},
        {"task": "b", "metric": "acc (strict)", "document": "3", "value": 1.0},
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--subjects", "medical_r2"], r"--subjects: the ablation has no subject 'medical_r2'; did you mean 'medical_r1/seed-0'"),
        (["--conditions", "owm"], r"--conditions: chat_base, medical_r1/seed-0 have no condition 'owm'; did you mean 'own'"),
        (["--folder", "nowhere"], r"--folder: nowhere is no folder|lm-eval is no part of this environment"),
        (["--tasks", "advicf"], r"lm-eval knows no task 'advicf'|lm-eval is no part of this environment"),
    ],
)  # fmt: skip
def test_what_there_is_not_is_one_sentence(study_file, options, said, tmp_path):
    given = ["--study", str(study_file), "--tasks", "advice", "--output", str(tmp_path / "x.csv"), *options]
    with pytest.raises(UserError, match=said):
        capabilities.main(given)


def test_without_lm_eval_one_sentence_says_what_to_install(study_file, tmp_path):
    blocked = "import sys; sys.modules['lm_eval'] = None; import runpy; runpy.run_module('workflow_scripts.tools', run_name='__main__')"
    given = ["capabilities", "--study", str(study_file), "--tasks", "advice", "--output", str(tmp_path / "x.csv")]
    done = subprocess.run([sys.executable, "-c", blocked, *given], capture_output=True, text=True, env=environment())
    assert done.returncode == 1
    assert (
        "error: lm-eval is no part of this environment; install it with `pip install lm-eval==0.4.13`." in done.stderr
    )
    assert "Traceback" not in done.stderr
