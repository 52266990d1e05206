"""Models are what they were when they were made, and large files are read no more often than they change."""

import json
import os
import re

import pytest
import torch

from workflow_scripts.models import files as weights
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.adapter_files import adapter_digest, adapter_facts, identity
from workflow_scripts.store.artefacts import file_digest, provenance, write_json, write_tensors
from workflow_scripts.study.layout import Layout


@pytest.fixture
def layout(tmp_path):
    made = Layout(tmp_path / "results" / "study")
    made.base.mkdir(parents=True)
    (made.base / "model.safetensors").write_bytes(bytes(range(256)) * 64)
    (made.base / "config.json").write_text('{"layers": 4}')
    write_json(made.fingerprint, weights.fingerprint(made.base))
    return made


@pytest.fixture
def read(monkeypatch):
    """Names of the files whose bytes are read for a digest."""
    names = []
    plain = weights.file_digest
    monkeypatch.setattr(weights, "file_digest", lambda file: names.append(file.name) or plain(file))
    return names


def flip_a_bit(file, keep_time=False):
    before, data = file.stat(), bytearray(file.read_bytes())
    data[100] ^= 4
    file.write_bytes(data)
    if keep_time:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_weights_are_read_once_and_again_only_when_they_change(layout, read):
    assert weights.checked_base(layout) == layout.base
    assert sorted(read) == ["config.json", "model.safetensors"]
    weights.checked_base(layout)
    assert len(read) == 2
    os.utime(layout.base / "model.safetensors")
    weights.checked_base(layout)
    assert read[2:] == ["model.safetensors"]


@pytest.mark.parametrize("keep_time", [False, True], ids=["written", "written and its time set back"])
@pytest.mark.parametrize("known", [False, True], ids=["never read", "read before"])
def test_a_flipped_bit_is_named_with_what_to_do(layout, known, keep_time):
    if known:
        weights.checked_base(layout)
    file = layout.base / "model.safetensors"
    flip_a_bit(file, keep_time)
    sentence = (
        f"{file}: is damaged or was exchanged since the base was made; move {layout.fingerprint} away and run again, "
        "only what depends on it is made anew."
    )
    for _ in range(2):
        with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
            weights.checked_base(layout)


def test_a_missing_file_is_named(layout):
    (layout.base / "config.json").unlink()
    with pytest.raises(UserError, match=r"config\.json: is missing since the base was made; move .*fingerprint"):
        weights.checked_base(layout)


def test_a_linked_model_that_changed_in_its_own_place_is_named_with_that_place(layout, tmp_path):
    own = tmp_path / "model.safetensors"
    (layout.base / "model.safetensors").rename(own)
    (layout.base / "model.safetensors").symlink_to(own)
    weights.checked_base(layout)
    flip_a_bit(own)
    with pytest.raises(UserError, match=re.escape(f"put {own} back as it was, or move")):
        weights.checked_base(layout)


@pytest.mark.parametrize("damage", [str.upper, lambda text: text[:100], lambda text: "", lambda text: "[1]"])
def test_a_damaged_fingerprint_is_named(layout, damage):
    layout.fingerprint.write_text(damage(layout.fingerprint.read_text()))
    for ask in (weights.base_id, weights.checked_base):
        with pytest.raises(UserError, match=r"fingerprint\.json: is missing or damaged; move .* away and run again"):
            ask(layout)


def test_a_damaged_memory_is_only_forgotten(layout, read):
    weights.checked_base(layout)
    for note in layout.digests.iterdir():
        note.write_text(note.read_text()[:20])
    weights.checked_base(layout)
    assert len(read) == 4
    assert all(json.loads(note.read_text())["sha256"] for note in layout.digests.iterdir())


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
@pytest.mark.parametrize("damage", ["flip", "remove"])
def test_an_adapter_that_is_not_the_trained_one_is_named_with_its_gate(tmp_path, name, damage):
    adapter, gate = tmp_path / "adapter_model.safetensors", tmp_path / "gate.safetensors"
    adapter.write_bytes(bytes(200))
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 1, "lora_alpha": 16}) + " " * 200)
    write_tensors(gate, {"tuned": torch.zeros(2)}, provenance("organisms", "{}", **adapter_facts(adapter)))
    assert adapter_digest(adapter, gate) == identity(
        file_digest(adapter), '{"lora_alpha": 16, "r": 1, "revision": "x"}'
    )
    assert adapter_digest(adapter, gate) != identity(file_digest(adapter), '{"lora_alpha": 32, "r": 1}')
    file = tmp_path / name
    flip_a_bit(file) if damage == "flip" else file.unlink()
    sentence = (
        f"{file}: is not what {gate} was made with, one of them is missing, damaged or exchanged; move {gate} away"
    )
    with pytest.raises(UserError, match=re.escape(sentence)):
        adapter_digest(adapter, gate)
