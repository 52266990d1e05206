"""Bases of others that are broken: each is refused at the door, in one sentence that names the file or the tensor."""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from helpers.families import FAMILIES
from helpers.gguf import write_gguf
from helpers.workflow import SMOKE
from workflow_scripts.base import check, check_weights, dequantise
from workflow_scripts.models.files import fingerprint
from workflow_scripts.models.linked import link_folder
from workflow_scripts.models.loading import load_model
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.study.reading import check_layers, parse

WEIGHTS = "model.safetensors"
DOWN = "model.layers.3.mlp.down_proj.weight"
DEEP = '{"a":' * 50_000 + "1" + "}" * 50_000


@pytest.fixture
def foreign(tiny_base, tmp_path):
    folder = tmp_path / "foreign"
    shutil.copytree(tiny_base, folder)
    return folder


def made_into_a_base(foreign: Path) -> Path:
    """What the stage does with a folder."""
    raw = yaml.safe_load(SMOKE.read_text()) | {"base": {"source": "folder", "path": str(foreign)}}
    for organism in raw["organisms"].values():
        organism["layers"] = [1]
    folder = foreign.with_name("base")
    link_folder(foreign, folder)
    check(folder, parse(raw, "study.yaml"))
    check_weights(folder, "float32")
    return folder


def change_tensors(folder: Path, change) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})


def change_config(folder: Path, **changes) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def cut(file: Path, share: float) -> None:
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])


def replace_header(file: Path, header: bytes) -> None:
    file.write_bytes(struct.pack("<Q", len(header)) + header)


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def index(folder: Path, content: str) -> None:
    (folder / f"{WEIGHTS}.index.json").write_text(content)


DAMAGES = {
    "weights cut in the middle": (lambda f: cut(f / WEIGHTS, 0.5), "its weights cannot be loaded ("),
    "weights cut in their header": (lambda f: cut(f / WEIGHTS, 0.001), "its weights cannot be loaded ("),
    "no weights but their name": (lambda f: (f / WEIGHTS).write_bytes(b""), "its weights cannot be loaded ("),
    "a header that is nested": (lambda f: replace_header(f / WEIGHTS, DEEP.encode()), "its weights cannot be loaded ("),
    "a header of nothing": (lambda f: replace_header(f / WEIGHTS, b"{}"), "(absent: 75, the first"),
    "a tensor that is absent": (lambda f: change_tensors(f, lambda t: t.pop(DOWN)), f"(absent: 1, the first {DOWN})"),
    "half of the layers": (
        lambda f: change_tensors(f, lambda t: [t.pop(name) for name in [*t] if name.startswith("model.layers.4.")]),
        "(absent: 12, the first model.layers.4"),
    "a tensor of another shape": (
        lambda f: change_tensors(f, lambda t: t.update({DOWN: t[DOWN][:, :50].clone()})),
        f"(of another shape: 1, the first {DOWN})"),
    "a layer more than the config": (
        lambda f: change_tensors(f, lambda t: t.update({DOWN.replace(".3.", ".9."): t[DOWN].clone()})),
        "(of no module of it: 1, the first model.layers.9.mlp.down_proj.weight)"),
    "a config of fewer layers": (
        lambda f: change_config(f, num_hidden_layers=4, layer_types=None), "(of no module of it: 24, the first model.layers.4"),
    "a config of more layers": (
        lambda f: change_config(f, num_hidden_layers=8, layer_types=None), "(absent: 24, the first model.layers.6"),
    "a config of another width": (lambda f: change_config(f, hidden_size=64), "(of another shape: 74, the first"),
    "a config without heads": (lambda f: change_config(f, num_attention_heads=0), "is not a model that transformers knows ("),
    "a config of words": (lambda f: change_config(f, hidden_size="wide"), "is not a model that transformers knows ("),
    "endless layers": (lambda f: change_config(f, num_hidden_layers=10**9, layer_types=None), "10000000"),
    "a nested config": (lambda f: (f / "config.json").write_text(DEEP), "config.json: is no JSON ("),
    "half a config": (lambda f: cut(f / "config.json", 0.5), "config.json: is no JSON ("),
    "a list for a config": (lambda f: (f / "config.json").write_text("[]"), "config.json: is no JSON ("),
    "a pipe for a config": (lambda f: pipe(f / "config.json"), "is not a model folder, it has no config.json."),
    "a pipe for weights": (lambda f: pipe(f / WEIGHTS), "has no model.safetensors, nor an index of its parts"),
    "half a tokenizer": (lambda f: cut(f / "tokenizer.json", 0.5), "its tokenizer cannot be loaded ("),
    "a nested tokenizer": (lambda f: (f / "tokenizer.json").write_text(DEEP), "its tokenizer cannot be loaded ("),
    "a list for a tokenizer": (lambda f: (f / "tokenizer.json").write_text("[]"), "its tokenizer cannot be loaded ("),
    "an index of nothing": (lambda f: index(f, "{}"), "is no index of weights ("),
    "a nested index": (lambda f: index(f, DEEP), "index.json: is no JSON ("),
    "an index that leads out": (
        lambda f: index(f, '{"weight_map": {"a": "../model.safetensors"}}'), "is no index of weights ("),
    "parts without an index": (
        lambda f: (f / WEIGHTS).rename(f / "model-00001-of-00002.safetensors"), "has no model.safetensors, nor an index of"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGES)
def test_a_broken_base_is_refused_by_name(foreign, case):
    damage, phrase = DAMAGES[case]
    damage(foreign)
    with pytest.raises(UserError) as caught:
        made_into_a_base(foreign)
    assert phrase in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("name", ["Qwen3-MoE", "Qwen3-Next", "Gemma 3 (wrapper)", "gpt-oss"])
def test_weights_that_transformers_renames_or_joins_are_no_lack(name, tmp_path):
    family = next(family for family in FAMILIES if family.name == name)
    family.model(300).save_pretrained(tmp_path)
    check_weights(tmp_path, "float32")
    load_model(tmp_path, "float32")


def test_an_adapter_and_other_weights_in_the_folder_stay_out_of_the_base(foreign, tiny_base, tiny_adapter, caplog):
    for file in tiny_adapter.iterdir():
        shutil.copy(file, foreign)
    shutil.copy(foreign / WEIGHTS, foreign / "consolidated.safetensors")
    base = made_into_a_base(foreign)
    assert "also holds an adapter (adapter_config.json), which is left out" in caplog.text
    assert [file.name for file in base.glob("*.safetensors")] == [WEIGHTS]
    plain, made = (load_model(folder, "float32").state_dict() for folder in (tiny_base, base))
    assert plain.keys() == made.keys()
    assert all(torch.equal(plain[name], made[name]) for name in plain)


def test_the_base_of_another_study_is_a_base(foreign):
    (foreign / "fingerprint.json").write_text(json.dumps(fingerprint(foreign)))
    base = made_into_a_base(foreign)
    assert "fingerprint.json" not in fingerprint(base)
    assert fingerprint(base)["id"] == json.loads((foreign / "fingerprint.json").read_text())["id"]


def test_a_base_folder_that_is_not_there_is_said_before_any_job_is_planned(tmp_path):
    raw = yaml.safe_load(SMOKE.read_text()) | {"base": {"source": "folder", "path": str(tmp_path / "my-modle")}}
    (tmp_path / "my-model").mkdir()
    study = parse(raw, "study.yaml")
    with pytest.raises(
        UserError, match=r"^study\.yaml: base\.path: .*my-modle does not exist .*; did you mean 'my-model'"
    ):
        check_layers(study, "study.yaml")


@pytest.mark.parametrize(
    "lacking", [("blk.3.",), ("blk.4.", "blk.5."), ("output_norm",), ("token_embd",), ("blk.0.attn_q.bias",)]
)
def test_one_part_of_a_gguf_is_refused(tiny_base, tmp_path, lacking):
    file = tmp_path / "model-00001-of-00002.gguf"
    write_gguf(tiny_base, file, lacking)
    with pytest.raises(
        UserError, match=r"00001-of-00002\.gguf: its weights are not those .* \(absent: \d+, the first "
    ):
        dequantise(file, tmp_path / "base", "float32")
    assert not (tmp_path / "base").exists()


@pytest.mark.parametrize("share", [0.001, 0.02, 0.3, 0.9])
def test_a_gguf_that_is_cut_is_refused_by_name(tiny_base, tmp_path, share):
    file = tmp_path / "model.gguf"
    write_gguf(tiny_base, file)
    cut(file, share)
    with pytest.raises(UserError, match=r"^base\.path: .*model\.gguf: its weights cannot be loaded \("):
        dequantise(file, tmp_path / "base", "float32")


@pytest.mark.parametrize(
    "content", [b"", b"GGUF", b"no GGUF at all", b"GGUF\x03\0\0\0" + b"\xff" * 64, b"GGUF\x03\0\0\0" + bytes(64)]
)
def test_a_broken_gguf_is_refused_by_name(tmp_path, content):
    file = tmp_path / "model.gguf"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"^base\.path: .*model\.gguf: its weights cannot be loaded \(") as caught:
        dequantise(file, tmp_path / "base", "float32")
    assert "\n" not in str(caught.value)
