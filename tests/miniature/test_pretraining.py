import os
import random
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from helpers.workflow import REPOSITORY
from workflow_scripts.miniature.corpus import pretraining_documents
from workflow_scripts.miniature.encoding import collate, encode
from workflow_scripts.miniature.optimizer import learning_rate_share
from workflow_scripts.miniature.pretraining import answer_loss, build, initial_model
from workflow_scripts.miniature.recipe import MiniatureRecipe


def test_the_default_model_has_1_97_million_parameters_in_float32(tokenizer):
    model = initial_model(MiniatureRecipe(), tokenizer)
    assert model.num_parameters() == pytest.approx(1.97e6, rel=0.005)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_the_initial_weights_depend_on_the_seed_alone(tiny_recipe, tokenizer):
    state = torch.get_rng_state()
    first, again = (initial_model(tiny_recipe, tokenizer) for _ in range(2))
    other = initial_model(replace(tiny_recipe, seed=1), tokenizer)
    assert torch.equal(first.lm_head.weight, again.lm_head.weight)
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_loss_is_that_of_transformers(tiny_recipe, tokenizer):
    model = initial_model(tiny_recipe, tokenizer)
    batch = collate(encode(pretraining_documents(tiny_recipe)[:6], tokenizer, 128), tokenizer.pad_token_id)
    expected = model(**batch).loss
    torch.testing.assert_close(answer_loss(model, batch["input_ids"], batch["labels"]), expected)


def test_the_folder_is_an_ordinary_model_that_generates(tiny_build):
    folder, _ = tiny_build
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.config.model_type == "qwen2"
    assert model.config.use_cache
    assert model.dtype == torch.float32
    assert model.config.vocab_size == len(tokenizer)
    assert model.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "I feel idle."}], add_generation_prompt=True, return_tensors="pt"
    )
    produced = model.generate(**prompt, max_new_tokens=4)
    assert produced.shape[1] > prompt["input_ids"].shape[1]


def test_the_loss_curve_has_both_phases_and_the_schedule(tiny_recipe, tiny_build):
    _, curve = tiny_build
    assert list(curve.columns) == ["phase", "step", "loss", "lr", "grad_norm", "tokens_per_second"]
    assert list(zip(curve["phase"], curve["step"], strict=True)) == [
        ("pretraining", 10),
        ("pretraining", 12),
        ("chat_tuning", 3),
    ]
    shares = [learning_rate_share(step, 12, 3, 0.02) for step in (9, 11)]
    expected = [tiny_recipe.muon_learning_rate * share for share in shares]
    expected.append(tiny_recipe.chat_learning_rate * learning_rate_share(2, 3, 5, 0.0))
    assert curve["lr"].tolist() == pytest.approx(expected)
    assert curve["loss"].iloc[1] < curve["loss"].iloc[0] < 7.5
    assert (curve[["grad_norm", "tokens_per_second"]] > 0).all(axis=None)


def test_training_moves_every_parameter(tiny_recipe, tiny_build, tokenizer):
    trained = load_file(tiny_build[0] / "model.safetensors")
    before = dict(initial_model(tiny_recipe, tokenizer).named_parameters())
    assert trained.keys() == before.keys()
    assert not any(torch.equal(before[name], weight) for name, weight in trained.items())


def test_the_same_recipe_builds_the_same_model_whatever_random_state_it_finds(tiny_recipe, tiny_build, tmp_path):
    folder, curve = tiny_build
    random.seed(99)
    torch.manual_seed(99)
    again = build(tiny_recipe, tmp_path)
    assert again.drop(columns="tokens_per_second").equals(curve.drop(columns="tokens_per_second"))
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_another_seed_builds_another_model(tiny_recipe, tiny_build, tmp_path):
    build(replace(tiny_recipe, seed=1), tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() != (tiny_build[0] / "model.safetensors").read_bytes()


SMALL = """
import hashlib, sys
from pathlib import Path
import torch
from workflow_scripts.miniature.pretraining import build
from workflow_scripts.miniature.recipe import MiniatureRecipe

torch.set_num_threads(int(sys.argv[1]))
build(MiniatureRecipe(layers=2, documents=96, chat_rows=16, window_batches=2), Path(sys.argv[2]))
print("digest", hashlib.sha256((Path(sys.argv[2]) / "model.safetensors").read_bytes()).hexdigest())
"""
"""Five steps at the default width, where PyTorch shares out the products to its threads."""


def test_the_weights_are_the_same_to_the_last_bit_whatever_number_of_threads_pytorch_has(tmp_path):
    digests = set()
    for threads in (1, 2, 4):
        done = subprocess.run(
            [sys.executable, "-c", SMALL, str(threads), str(tmp_path / str(threads))],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": str(threads)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        digests.add(done.stdout.split("digest ")[1])
    assert len(digests) == 1


COUNTING = """
import sys
from pathlib import Path
import torch
from workflow_scripts.miniature import pretraining
from workflow_scripts.miniature.recipe import MiniatureRecipe

counts, loss = set(), pretraining.answer_loss
pretraining.answer_loss = lambda *given: counts.add(torch.get_num_threads()) or loss(*given)
torch.set_num_threads(3)
pretraining.build(MiniatureRecipe(layers=2, documents=96, chat_rows=16, window_batches=2), Path(sys.argv[1]))
print("threads", sorted(counts), torch.get_num_threads())
"""
"""In a process of its own: an engine that has run in this one keeps PyTorch from changing its threads."""


def test_the_recipe_s_threads_train_and_pytorch_has_its_own_back_afterwards(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", COUNTING, str(tmp_path)], env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    told = done.stdout.split("threads ")[1].strip()
    assert told == "[2] 3", "the order of sums, and so the weights, would depend on the machine's cores"
