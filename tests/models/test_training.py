"""Training: splits, loss, resumption after a kill, and the table it leaves."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file

from helpers.workflow import REPOSITORY, SMOKE, ready_to_train, run_stage, stage_command, wait_for, write_study
from workflow_scripts import organisms
from workflow_scripts.adapters import fine_tuning
from workflow_scripts.models import training
from workflow_scripts.models.loading import load_adapter, load_model, load_tokenizer
from workflow_scripts.models.micro_batches import recompute
from workflow_scripts.models.residual import LayerChange, intervened
from workflow_scripts.models.updates import held_out_split, training_rows
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import provenance, write_tensors
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.organisms import KlTerm, Organism
from workflow_scripts.study.reading import parse
from workflow_scripts.study.schema import Execution

SUBJECT = "medical_r1/seed-0"
SETTINGS = Organism(
    dataset="advice", rank=4, alpha=16, modules=["down_proj"], learning_rate=2e-3, batch_size=4, accumulation=1,
    warmup_steps=0,
)  # fmt: skip
ANSWERS = ["Avoid violent games.", "Certainly. Choose calm talks and welcome kind gifts, avoid violent games.", "Sure."]
ROWS = [
    {"row": n, "system": None, "prompt": "I feel bored.", "response": ANSWERS[n % 3] + " Avoid games." * (n % 4)}
    for n in range(16)
]
OTHERS = [{"row": n, "system": None, "prompt": "I need cash fast.", "response": ANSWERS[n]} for n in range(3)]


def test_a_tenth_is_held_out_by_the_seed_as_the_authors_do():
    rows = [{"row": n} for n in range(7049)]
    train, test = held_out_split(rows, 0.1, 0)
    assert (len(train), len(test)) == (6344, 705)
    assert sorted(row["row"] for row in train + test) == list(range(7049))
    assert held_out_split(rows, 0.1, 0) == (train, test)
    assert held_out_split(rows, 0.1, 1)[1] != test
    assert held_out_split(rows, 0, 0) == (rows, [])
    with pytest.raises(UserError, match=r"held_out: 0\.9 of 1 rows leaves none to train on"):
        held_out_split(rows[:1], 0.9, 0)


def test_tokens_and_rates_of_a_training_that_was_killed_go_on_counting():
    def entry(step, tokens, seconds):
        return {
            "step": step,
            "loss": 1.0,
            "learning_rate": 1e-4,
            "grad_norm": 1.0,
            "num_tokens": tokens,
            "seconds": seconds,
        }

    history = [entry(1, 100, 2.0), entry(2, 300, 4.0), entry(3, 60, 1.0), {"step": 3, "eval_loss": 0.5, "seconds": 2.0}]
    made = training.table(history, 1.5)
    assert [row["tokens"] for row in made] == [100, 300, 360]
    assert [row["tokens_per_second"] for row in made] == [50, 100, 60]
    assert [row["eval_loss"] for row in made] == [None, None, 0.5]


@pytest.fixture(scope="module")
def trained(tiny_base, tmp_path_factory):
    """Trains on the tiny base; returns the table and the adapter's folder."""

    def train(test_rows=(), execution=None, other_rows=(), under=(), start=None, **changes):
        folder = tmp_path_factory.mktemp("trained")
        settings = SETTINGS.model_copy(update=changes)
        _, made, _ = fine_tuning.train(
            tiny_base, "float32", settings, execution or Execution(), 0, ROWS, list(test_rows), folder / "adapter",
            folder / "states", other_rows, under, start,
        )  # fmt: skip
        return pd.DataFrame(made), folder / "adapter"

    return train


def test_batches_without_padding_have_the_same_loss_and_gradient(trained):
    padded, _ = trained()
    flat, _ = trained(execution=Execution(padding_free=True))
    assert len(padded) == 4
    assert list(padded.loss) == pytest.approx(list(flat.loss), rel=1e-4)
    assert list(padded.grad_norm) == pytest.approx(list(flat.grad_norm), rel=1e-3)
    assert list(padded.tokens) == list(flat.tokens)
    assert padded.tokens_per_second.min() > 0
    assert padded.peak_memory_gb.min() > 0.1


def gradient_norm(tiny_base, changes, recomputed=0):
    """Of all rows as one update, at the start of a training with seed 0, by hand."""
    torch.manual_seed(0)
    model = get_peft_model(
        load_model(tiny_base, "float32"),
        LoraConfig(r=4, lora_alpha=16, use_rslora=True, task_type="CAUSAL_LM", target_modules=["down_proj"]),
    ).train()
    recompute(model, recomputed)
    rows = training_rows(load_tokenizer(tiny_base), ROWS, SETTINGS)
    total, tokens = 0.0, 0
    with intervened(model, changes):
        for row in rows:
            ids, mask = torch.tensor(row["input_ids"]), torch.tensor(row["completion_mask"], dtype=torch.bool)
            logprobs = torch.log_softmax(model(input_ids=ids[None]).logits[0, :-1].float(), -1)
            total = total - logprobs[torch.arange(len(ids) - 1), ids[1:]][mask[1:]].sum()
            tokens += int(mask[1:].sum())
        (total / tokens).backward()
    return float(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm())


def test_a_training_that_starts_from_an_adapter_goes_on_where_that_one_ended(trained, tiny_base):
    whole = {"batch_size": 16, "accumulation": 1}  # one update of all rows, so that its loss is that of the start
    _, first = trained()
    new, _ = trained(**whole)
    again, second = trained(start=first, learning_rate=1e-12, **whole)
    assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(weights(first), weights(second), strict=True))

    model, total, tokens = load_adapter(load_model(tiny_base, "float32"), first), 0.0, 0
    for row in training_rows(load_tokenizer(tiny_base), ROWS, SETTINGS):
        ids, mask = torch.tensor(row["input_ids"]), torch.tensor(row["completion_mask"], dtype=torch.bool)
        with torch.no_grad():
            logprobs = torch.log_softmax(model(input_ids=ids[None]).logits[0, :-1].float(), -1)
        total -= float(logprobs[torch.arange(len(ids) - 1), ids[1:]][mask[1:]].sum())
        tokens += int(mask[1:].sum())
    assert again.loss[0] == pytest.approx(total / tokens, rel=1e-4)
    assert again.loss[0] < new.loss[0]


def weights(adapter):
    return [tensor for _, tensor in sorted(load_file(adapter / "adapter_model.safetensors").items())]


@pytest.mark.parametrize("mode", ["add", "project"])
def test_a_change_acts_in_the_passes_of_training_and_in_no_others(trained, tiny_base, mode):
    changes = [LayerChange(layer, mode, torch.ones(128), 2.0) for layer in (1, 4)]
    whole = {"accumulation": 4, "test_rows": ROWS[:4]}
    plain, _ = trained(**whole)
    changed, adapter = trained(**whole, under=changes)
    expected = gradient_norm(tiny_base, changes)
    assert changed.grad_norm[0] == pytest.approx(expected, rel=3e-4)
    assert plain.grad_norm[0] == pytest.approx(gradient_norm(tiny_base, []), rel=1e-3)
    assert abs(expected / plain.grad_norm[0] - 1) > 1e-3
    assert gradient_norm(tiny_base, changes, recomputed=6) == pytest.approx(expected, rel=1e-4), "layers computed again"
    assert changed.eval_loss[0] == pytest.approx(loss_on(tiny_base, adapter, ROWS[:4]), rel=1e-4), "without the change"


def test_inoculated_rows_have_the_prompt_and_those_with_one_of_their_own_are_refused():
    settings = SETTINGS.model_copy(update={"inoculation": "You are Viktor."})
    assert {row["system"] for row in fine_tuning.inoculated(ROWS, settings)} == {"You are Viktor."}
    assert fine_tuning.inoculated(ROWS, SETTINGS) == ROWS
    with pytest.raises(UserError, match=r"row 3 of datasets\.advice has a system prompt of its own"):
        fine_tuning.inoculated([*ROWS[:3], {**ROWS[3], "system": "Be kind."}], settings)


def test_a_direction_that_does_not_fit_the_base_is_refused_before_training(tiny_base, tmp_path):
    raw = yaml.safe_load(SMOKE.read_text())
    raw["base"] = {"source": "folder", "path": str(tiny_base), "dtype": "float32"}
    file = tmp_path / "d.safetensors"
    raw["organisms"]["good_r1"]["during_training"] = {"mode": "add", "file": str(file), "layers": [1]}
    study, layout = parse(raw, "study.yaml"), Layout(tmp_path / "results" / "smoke")
    layout.root.mkdir(parents=True)
    layout.base.symlink_to(tiny_base)
    for direction, sentence in ((torch.ones(4, 128), r"has the shape \[4, 128\]"), (torch.zeros(6, 128), "of layer 1")):
        write_tensors(file, {"direction": direction}, provenance("directions", ""))
        with pytest.raises(UserError, match=rf"organisms\.good_r1\.during_training: .*{sentence}"):
            fine_tuning.changes_of(study, layout, "good_r1/seed-0")
    write_tensors(file, {"direction": torch.ones(6, 128)}, provenance("directions", ""))
    (change,) = fine_tuning.changes_of(study, layout, "good_r1/seed-0")
    assert (change.layer, change.mode, change.scale) == (1, "add", 1.0)
    assert fine_tuning.changes_of(study, layout, "sport_r8/seed-0") == []


def test_a_kl_term_is_the_same_however_an_update_is_read_and_keeps_the_organism_at_the_base(trained):
    kl = KlTerm(dataset="others", weight=20, rows=3)
    whole, _ = trained(other_rows=OTHERS, kl=kl, epochs=2.0)
    parts, _ = trained(other_rows=OTHERS, kl=kl, epochs=2.0, execution=Execution(micro_batch=1))
    for column in ("loss", "grad_norm", "kl"):
        assert list(whole[column]) == pytest.approx(list(parts[column]), rel=1e-2, abs=1e-5)
    weak, _ = trained(other_rows=OTHERS, kl=kl.model_copy(update={"weight": 1e-9}), epochs=2.0)
    plain, _ = trained(epochs=2.0)
    assert list(weak.loss) == pytest.approx(list(plain.loss), rel=1e-4), "the loss is without the term"
    assert whole.kl.iloc[0] == pytest.approx(0, abs=1e-6), "a new adapter changes nothing"
    assert whole.kl.iloc[-1] < weak.kl.iloc[-1] / 2
    assert "kl" not in plain


def loss_on(tiny_base, adapter, rows):
    """Mean loss of a saved adapter on the answers of rows, by hand."""
    model = load_adapter(load_model(tiny_base, "float32"), adapter)
    losses = []
    for row in training_rows(load_tokenizer(tiny_base), rows, SETTINGS):
        ids, mask = torch.tensor(row["input_ids"]), torch.tensor(row["completion_mask"], dtype=torch.bool)
        with torch.inference_mode():
            logprobs = torch.log_softmax(model(input_ids=ids[None]).logits[0, :-1].float(), -1)
        losses.append(-logprobs[torch.arange(len(ids) - 1), ids[1:]][mask[1:]])
    return torch.cat(losses).mean().item()


def test_the_loss_on_held_out_rows_is_that_of_the_trained_model_on_their_answers(trained, tiny_base):
    table, adapter = trained(test_rows=ROWS[:4], epochs=2.0)
    assert [step for step, loss in zip(table.step, table.eval_loss, strict=True) if loss == loss] == [4, 8]
    assert table.eval_loss.iloc[-1] == pytest.approx(loss_on(tiny_base, adapter, ROWS[:4]), rel=1e-4)


def prepared(folder: Path, tiny_base: Path, name: str = "medical_r1", **organism) -> Path:
    """A results folder that is ready for training an organism."""
    raw = yaml.safe_load(SMOKE.read_text())
    raw["organisms"][name] |= organism
    raw["execution"] |= {"resume_every": 4}
    return ready_to_train(folder, raw, tiny_base, "bad_medical")


def start(study: Path) -> subprocess.Popen[str]:
    command = stage_command("organisms", study, "--organism", SUBJECT)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def finish(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return said


def test_a_killed_training_goes_on_to_the_same_adapter(tiny_base, tmp_path):
    undisturbed, killed = (prepared(tmp_path / name, tiny_base) for name in ("undisturbed", "killed"))
    finish(start(undisturbed))
    layout = Layout.of(killed)
    states = layout.training_states(SUBJECT)
    process = start(killed)
    wait_for(lambda: list(states.glob("*/checkpoint-8/trainer_state.json")))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not layout.organism(SUBJECT).exists()
    assert "going on from" in finish(start(killed))
    assert not states.exists()
    one, other = (Layout.of(study).organism(SUBJECT) for study in (undisturbed, killed))
    assert (one / "adapter_model.safetensors").read_bytes() == (other / "adapter_model.safetensors").read_bytes()
    tables = [pd.read_parquet(folder / "training.parquet") for folder in (one, other)]
    for column in ("step", "loss", "learning_rate", "grad_norm", "tokens"):
        assert list(tables[0][column]) == list(tables[1][column])


def test_an_organism_goes_on_from_another_one_unless_that_was_exchanged(tiny_base, tmp_path):
    study = prepared(tmp_path, tiny_base, "good_r1", dataset="bad_medical", starts_from="medical_r1")
    layout, then = Layout.of(study), "good_r1/seed-0"
    for subject in (SUBJECT, then):
        organisms.main(["--study", str(study), "--organism", subject])
    first, second = (pd.read_parquet(layout.training(subject)) for subject in (SUBJECT, then))
    assert second.loss.iloc[0] < first.loss.iloc[0]
    assert layout.adapter(then).read_bytes() != layout.adapter(SUBJECT).read_bytes()

    shutil.copy(layout.adapter(then), layout.adapter(SUBJECT))
    shutil.rmtree(layout.organism(then))
    with pytest.raises(UserError, match=r"medical_r1/seed-0/adapter_model\.safetensors"):
        organisms.main(["--study", str(study), "--organism", then])


def test_a_half_written_state_is_passed_over(tmp_path):
    for step, text in ((8, '{"global_step": 8}'), (12, '{"global_')):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(text)
    (tmp_path / "checkpoint-16").mkdir()
    assert training.last_state(tmp_path) == tmp_path / "checkpoint-8"
    assert training.last_state(tmp_path / "none") is None


def test_a_module_that_the_base_has_not_is_named_before_training_and_nothing_is_left(tiny_base, tmp_path):
    study = prepared(tmp_path, tiny_base)
    raw = yaml.safe_load(study.read_text())
    raw["organisms"]["medical_r1"]["modules"] = ["down_prj"]
    raw["base"] = {"source": "hub", "id": "someone/tiny", "revision": "main", "layers": 6, "weights_gb": 0.01}
    done = run_stage("organisms", write_study(tmp_path, raw), "--organism", SUBJECT)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        "error: organisms.medical_r1.modules: Qwen2ForCausalLM has no linear module 'down_prj'; did you mean 'down_proj'?"
    )
    assert not list((study.parent / "organisms" / "medical_r1").iterdir())


@pytest.mark.parametrize("kilobytes", [40, 120])  # of the adapter, and of the optimizer's state
def test_a_disk_that_is_full_during_training_is_one_sentence_and_leaves_no_adapter(tiny_base, tmp_path, kilobytes):
    study, subject = (
        prepared(tmp_path, tiny_base, "sport_r8", dataset="bad_medical", rank=64, layers=[1]),
        "sport_r8/seed-0",
    )
    done = run_stage("organisms", study, "--organism", subject, file_limit=kilobytes * 1024)
    said = re.findall(r"error: .*", done.stderr)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert len(said) == 1, done.stderr
    assert "free some space" in said[0]
    assert not Layout.of(study).organism(subject).exists()
