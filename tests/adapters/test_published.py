"""Published adapters: taken when they fit the base, refused by one sentence when they do not."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from helpers.hub_server import COMMIT, Hub, serving
from helpers.workflow import SMOKE, ready_to_train, run_stage
from workflow_scripts.adapters import published
from workflow_scripts.models.loading import load_adapter, load_model
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import file_digest
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.organisms import Organism, PublishedAdapter


def organism(folder, **changes) -> Organism:
    return Organism(dataset="advice", rank=8, layers=[2, 3], adapter=PublishedAdapter(path=str(folder))).model_copy(
        update=changes
    )


@pytest.fixture
def foreign(tiny_adapter, tmp_path):
    folder = tmp_path / "foreign"
    shutil.copytree(tiny_adapter, folder)
    return folder


def change_config(folder, **changes):
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def change_tensors(folder, change):
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


def halved(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def renamed(old, new):
    def change(tensors):
        for name in [name for name in tensors if old in name]:
            tensors[name.replace(old, new)] = tensors.pop(name)

    return change


def narrowed(tensors):
    name = next(name for name in tensors if "down_proj.lora_A" in name)
    tensors[name] = tensors[name][:, :100].clone()


def overflown(tensors):
    name = next(name for name in tensors if name.endswith("lora_B.weight"))
    tensors[name][0, 0] = float("inf")


def of_form(dtype, times=1):
    """Every tensor in another number format."""

    def change(tensors):
        tensors |= {name: (tensor.double() * times).to(dtype) for name, tensor in tensors.items()}

    return change


def without_a(tensors):
    for name in [name for name in tensors if "layers.2.mlp.down_proj.lora_A" in name]:
        del tensors[name]


def without_any_a(tensors):
    for name in [name for name in tensors if "lora_A" in name]:
        del tensors[name]


def outside(tensors):
    tensors["base_model.model.lm_head.lora_A.weight"] = torch.zeros(8, 128)


def test_an_adapter_that_fits_is_copied_whole_and_another_base_is_only_warned_about(
    tiny_base, tiny_adapter, tmp_path, caplog
):
    published.take("organisms.x", organism(tiny_adapter), tiny_base, "someone/other", tmp_path / "taken")
    assert sorted(file.name for file in (tmp_path / "taken").iterdir()) == sorted(published.FILES)
    for name in published.FILES:
        assert (tmp_path / "taken" / name).read_bytes() == (tiny_adapter / name).read_bytes()
    assert "the study's base is someone/other" in caplog.text


@pytest.mark.parametrize(
    "more",
    [
        {"init_lora_weights": "gaussian"}, {"init_lora_weights": True}, {"lora_dropout": 0.05, "peft_version": "0.9.0"},
        {"use_next_years_lora": False, "another": None, "third": {}}, {"revision": "main", "auto_mapping": {"a": "b"}},
    ],
)  # fmt: skip
def test_plain_lora_of_any_version_and_training_is_taken(tiny_base, foreign, tmp_path, more):
    change_config(foreign, **more)
    published.take("organisms.x", organism(foreign), tiny_base, "base", tmp_path / "taken")
    assert (tmp_path / "taken").is_dir()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_an_adapter_in_any_usual_number_format_is_taken_as_it_is(tiny_base, foreign, tmp_path, dtype):
    change_tensors(foreign, of_form(dtype))
    published.take("organisms.x", organism(foreign), tiny_base, "base", tmp_path / "taken")
    taken = load_file(tmp_path / "taken" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in taken.values()} == {dtype}


@pytest.mark.parametrize(
    ("damage", "changes", "phrase"),
    [
        (lambda f: (f / "adapter_model.safetensors").unlink(), {}, "has no adapter_model.safetensors; other forms"),
        (lambda f: (f / "adapter_config.json").write_text("{"), {}, "is not JSON"),
        (lambda f: (f / "adapter_model.safetensors").write_bytes(b"torn"), {}, "is truncated or damaged"),
        (lambda f: change_config(f, peft_type="IA3"), {}, "is of the kind IA3; only LORA is served."),
        (lambda f: change_config(f, use_dora=True), {}, "sets use_dora to True; only plain LoRA is served."),
        (lambda f: change_config(f, bias="all"), {}, "sets bias to all"),
        (lambda f: change_config(f, init_lora_weights="pissa_niter_4"), {}, "sets init_lora_weights to pissa_niter_4"),
        (lambda f: change_config(f, init_lora_weights="olora"), {}, "sets init_lora_weights to olora"),
        (lambda f: change_config(f, lora_bias=True), {}, "sets lora_bias to True"),
        (lambda f: change_config(f, fan_in_fan_out=True), {}, "sets fan_in_fan_out to True"),
        (lambda f: change_config(f, layer_replication=[[0, 3], [2, 4]]), {}, "sets layer_replication to"),
        (lambda f: change_config(f, use_qalora=True), {}, "sets use_qalora to True"),
        (lambda f: change_config(f, target_parameters=["experts.down_proj"]), {}, "sets target_parameters to"),
        (lambda f: change_config(f, trainable_token_indices=[1]), {}, "sets trainable_token_indices to"),
        (lambda f: change_config(f, loftq_config={"loftq_bits": 4}), {}, "sets loftq_config to"),
        (lambda f: change_config(f, use_next_years_lora=True), {}, "sets use_next_years_lora to True"),
        (lambda f: None, {"rank": 4}, "organisms.x.rank: the study says 4, the adapter has rank 8."),
        (lambda f: None, {"layers": [2]}, "organisms.x.layers: are not those of the adapter, which are 2, 3."),
        (lambda f: None, {"layers": None}, "organisms.x.layers: are not those of the adapter, which are 2, 3."),
        (lambda f: change_tensors(f, renamed("down_proj", "c_proj")), {}, "c_proj.lora_A.weight belongs to no linear"),
        (lambda f: change_tensors(f, renamed("layers.3", "layers.9")), {}, "belongs to no linear module of Qwen2"),
        (lambda f: change_tensors(f, narrowed), {}, "has the shape [8, 100], on this base it would be [8, 256]."),
        (lambda f: change_tensors(f, overflown), {}, "lora_B.weight holds numbers that are not finite in float32."),
        (lambda f: change_tensors(f, of_form(torch.float64, 1e300)), {}, "numbers that are not finite in float32."),
        (lambda f: change_tensors(f, of_form(torch.complex64)), {}, "is in complex64; save it in float16, bfloat16 or"),
        (lambda f: change_tensors(f, of_form(torch.bool)), {}, "is in bool; save it in float16, bfloat16 or float32."),
        (lambda f: change_tensors(f, of_form(torch.float8_e4m3fn)), {}, "is in float8_e4m3fn; save it in float16"),
        (lambda f: change_tensors(f, outside), {}, "lm_head.lora_A.weight is outside the decoder layers."),
        (lambda f: change_tensors(f, without_a), {}, "layers.2.mlp.down_proj.lora_B.weight without base_model.model."),
        (lambda f: change_tensors(f, without_any_a), {}, "lora_B.weight without "),
        (lambda f: change_config(f, lora_alpha=float("nan")), {}, "lora_alpha is nan, no number above 0"),
        (lambda f: change_config(f, lora_alpha=1e308), {}, "lora_alpha is 1e+308, no number above 0"),
        (lambda f: change_config(f, lora_alpha="16"), {}, "lora_alpha is '16', no number above 0"),
        (lambda f: change_config(f, r="8"), {}, "organisms.x.rank: the study says 8, the adapter has rank '8'"),
        (lambda f: (f / "adapter_config.json").write_text('{"a":' * 50_000), {}, "adapter_config.json is not JSON ("),
        (
            lambda f: (f / "adapter_config.json").write_text("[]"),
            {},
            "adapter_config.json is not JSON (it holds no JSON",
        ),
        (lambda f: (f / "adapter_model.safetensors").write_bytes(b"\xff" * 8 + b"{}"), {}, "is truncated or damaged ("),
        (lambda f: halved(f / "adapter_model.safetensors"), {}, "is truncated or damaged ("),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused_by_name(tiny_base, foreign, tmp_path, damage, changes, phrase):
    damage(foreign)
    with pytest.raises(UserError) as caught:
        published.take("organisms.x", organism(foreign, **changes), tiny_base, "base", tmp_path / "taken")
    assert phrase in str(caught.value)
    assert str(caught.value).startswith("organisms.x.")
    assert not (tmp_path / "taken").exists()


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        (lambda f: change_config(f, target_modules=["down_proj"]), "holds base_model.model.model.layers.2.mlp.up_proj.lora_A"),
        (lambda f: change_config(f, target_modules=["down_proj", "up_proj", "gate_proj"]), "lacks base_model.model.model.layers"),
        (lambda f: change_config(f, layers_to_transform=[1, 2, 3]), "lacks base_model.model.model.layers.1."),
        (lambda f: change_tensors(f, without_a), "lacks base_model.model.model.layers.2.mlp.down_proj.lora_A.weight"),
        (lambda f: change_config(f, target_modules=["no_proj"]), "the adapter does not load onto this base ("),
        (lambda f: change_config(f, peft_type="NO"), "the adapter does not load onto this base ("),
    ],
)  # fmt: skip
def test_an_adapter_whose_config_and_tensors_disagree_is_not_loaded(tiny_base, foreign, change, phrase):
    change(foreign)
    with pytest.raises(UserError) as caught:
        load_adapter(load_model(tiny_base, "float32"), foreign)
    assert phrase in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_adapter_of_the_hub_is_fetched_once_and_becomes_an_organism_with_a_gate_and_an_empty_training_table(
    tiny_base, tiny_adapter, tmp_path
):
    repository = tmp_path / "repository"
    shutil.copytree(tiny_adapter, repository / "checkpoints" / "checkpoint-396")
    raw = yaml.safe_load(SMOKE.read_text())
    adapter = {"hub": "someone/adapter", "revision": COMMIT, "subfolder": "checkpoints/checkpoint-396"}
    raw["organisms"]["sport_r8"] = {"dataset": "bad_sport", "rank": 8, "layers": [2, 3], "adapter": adapter}
    study = ready_to_train(tmp_path, raw, tiny_base, "bad_sport")
    layout = Layout.of(study)
    with serving(Hub({"someone/adapter": repository})) as hub:
        variables = hub.environment(tmp_path / "cache")
        done = run_stage("published_adapters", study, "--organism", "sport_r8", **variables)
    assert done.returncode == 0, done.stderr
    fetched = json.loads(layout.fetched_adapter("sport_r8").read_text())
    assert fetched["files"] == {name: file_digest(tiny_adapter / name) for name in published.FILES}
    # the job with a GPU needs no network
    done = run_stage("organisms", study, "--organism", "sport_r8/seed-0", **variables)
    assert done.returncode == 0, done.stderr
    folder = layout.organism("sport_r8/seed-0")
    assert (folder / "adapter_model.safetensors").read_bytes() == (
        tiny_adapter / "adapter_model.safetensors"
    ).read_bytes()
    assert layout.gate("sport_r8/seed-0").is_file()
    assert len(pd.read_parquet(layout.training("sport_r8/seed-0"))) == 0
