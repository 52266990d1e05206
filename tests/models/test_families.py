"""What is read of a text does not depend on what is read beside it, whatever the model is made of."""

import os
import re
import subprocess
import sys

import pytest
import torch

from helpers.families import FAMILIES, direction_off, direction_one_by_one, texts
from helpers.workflow import REPOSITORY
from tests.families import __main__ as families
from workflow_scripts.adapters.layer_names import layer_of
from workflow_scripts.models import activations
from workflow_scripts.models.activations import group_means
from workflow_scripts.models.lora_targets import check_targets, lora_targets
from workflow_scripts.models.packing import mixes_by_attention_alone
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.study.organisms import Organism

BY_NAME = {family.name: family for family in FAMILIES}
CARRY_A_STATE = {"Qwen3.5, 3.6", "Qwen3-Next", "LFM2"}
"""Linear attention or convolution along the row."""


@pytest.mark.parametrize("name", BY_NAME)
def test_a_direction_is_that_of_the_texts_read_one_by_one(name):
    model = BY_NAME[name].model(300)
    assert mixes_by_attention_alone(model) == (name not in CARRY_A_STATE)
    assert direction_off(model, texts()) < 1e-5


@pytest.mark.parametrize("name", sorted(CARRY_A_STATE))
def test_packed_texts_would_leak_into_each_other_where_a_state_is_carried(name, monkeypatch):
    monkeypatch.setattr(activations, "mixes_by_attention_alone", lambda model: True)
    assert direction_off(BY_NAME[name].model(300), texts()) > 1e-3


@pytest.mark.parametrize("name", ["Gemma 3 (text)", "OLMo-3", "gpt-oss", "Mistral (v0.1, v0.2)", "Phi-3, Phi-4"])
def test_a_window_is_kept_within_packed_rows(name, monkeypatch):
    model, spans = BY_NAME[name].model(300), texts()
    expected = direction_one_by_one(model, spans)
    monkeypatch.setattr(activations, "packed_mask", lambda given, model, dtype: full(given, dtype))
    mean = group_means(model, spans, 2, batch_tokens=2048).mean
    assert (mean[0] - mean[1] - expected).norm() / expected.norm() > 1e-3, "without it, other numbers come out"


def full(given, dtype):
    return torch.zeros(given.sees.shape, dtype=dtype).masked_fill(~given.sees, torch.finfo(dtype).min)[:, None]


TABLE = REPOSITORY / "docs" / "bases.md"


def cells_of(text):
    """Family -> column -> cell, of the table in docs/bases.md."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    start = next(number for number, line in enumerate(lines) if line.startswith("| family |"))
    columns, _, *rows = ([cell.strip() for cell in re.split(r"(?<!\\\\)\|", line)[1:-1]] for line in lines[start:])
    return {row[0]: dict(zip(columns, row, strict=True)) for row in rows}


def test_the_table_of_the_docs_has_a_row_for_each_family():
    assert list(cells_of(TABLE.read_text())) == list(BY_NAME)


@pytest.mark.parametrize("name", BY_NAME)
def test_the_table_says_what_is_so_of_templates_hooks_and_targets(name):
    """What takes no training and no engine; the rest is held by the test below, which is slow."""
    said, family = cells_of(TABLE.read_text())[name], BY_NAME[name]
    model = family.model(300)
    assert said["template"].replace("\\|", "|") == families.template_cell(family)
    assert said["hooks, transformers"] == families.hooks_cell(model)
    assert said["directions"] == ("exact, apart" if name in CARRY_A_STATE else "exact")
    refusal, settings = families.targets(model)
    if refusal:
        assert said["training"].startswith(f"works on {', '.join(settings.modules)}; the default modules are refused: ")
        assert said["training"].rpartition(": ")[2] in refusal
    else:
        assert said["training"] == "works"


@pytest.mark.slow
@pytest.mark.skipif("EM_SLOW" not in os.environ, reason="set EM_SLOW=1; an engine for each family")
def test_the_table_is_what_the_script_writes(tmp_path):
    command = [sys.executable, "-m", "tests.families", "--output", str(tmp_path / "bases.md")]
    subprocess.run(command, check=True, cwd=REPOSITORY)
    assert cells_of((tmp_path / "bases.md").read_text()) == cells_of(TABLE.read_text())


@pytest.mark.parametrize("layers", [None, [1, 3]])
def test_a_tower_that_sees_carries_no_adapter_though_its_modules_bear_the_same_names(layers):
    from peft import LoraConfig, get_peft_model

    model = BY_NAME["Gemma 3 (wrapper)"].model(300)
    settings = Organism(dataset="advice", rank=2, layers=layers)
    assert any("vision" in name and name.endswith("q_proj") for name, _ in model.named_modules())
    tuned = get_peft_model(model, LoraConfig(r=2, task_type="CAUSAL_LM", **lora_targets(settings, model)))
    adapted = [name for name, _ in tuned.named_parameters() if "lora_A" in name]
    assert len(adapted) == 7 * len(layers or range(4))
    assert {layer_of(name) for name in adapted} == set(layers or range(4))
    assert not [name for name in adapted if "vision" in name]


def test_a_model_that_only_reads_is_adapted_by_names_as_ever():
    model = BY_NAME["Qwen2.5"].model(300)
    settings = Organism(dataset="advice", modules=["down_proj"], layers=[1])
    assert lora_targets(settings, model) == {"target_modules": ["down_proj"], "layers_to_transform": [1]}


def test_experts_that_are_stacked_are_refused_with_the_modules_that_are_left():
    model = BY_NAME["Qwen3-MoE"].model(300)
    sentence = (
        r"^organisms\.x\.modules: Qwen3MoeForCausalLM keeps 'gate_proj' of its experts in one parameter for all of them, "
        r"which carries no adapter here; name modules of its attention \(k_proj, o_proj, q_proj, v_proj\)\.$"
    )
    with pytest.raises(UserError, match=sentence):
        check_targets("organisms.x", Organism(dataset="advice"), model)
