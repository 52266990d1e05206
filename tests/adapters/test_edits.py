"""Edited adapters: what is in the file is what is served, and each edit is what its condition says."""

import pytest
import torch

from helpers.rank_one import make_rank_one
from workflow_scripts.adapters.edited import (
    CONFIG,
    adapter_folder,
    edit_digests,
    unpacked,
    write_edits,
)
from workflow_scripts.adapters.gate_record import reference
from workflow_scripts.adapters.surgery import read_adapter, scaled
from workflow_scripts.edits import layer_scales
from workflow_scripts.engines.gate import Gate
from workflow_scripts.engines.transformers_engine import TransformersEngine
from workflow_scripts.models.loading import load_adapter, load_model, next_token_logprobs
from workflow_scripts.runtime.errors import UnfitAdapter, UserError
from workflow_scripts.store.artefacts import provenance
from workflow_scripts.study.experiments import AdapterSteering

LAYERS = {"general": [1, 2], "specialised": [4]}


@pytest.fixture(scope="module")
def adapter(tiny_base, tmp_path_factory):
    return make_rank_one(tiny_base, tmp_path_factory.mktemp("rank-one") / "adapter")


@pytest.fixture(scope="module")
def edits(adapter):
    tensors = read_adapter(adapter)
    return {"doubled": scaled(tensors, {1: 2.0}), "same": dict(tensors)}


@pytest.fixture(scope="module")
def file(tiny_base, adapter, edits, tiny_prompts, tmp_path_factory):
    path = tmp_path_factory.mktemp("edits") / "edits.safetensors"
    config = (adapter / CONFIG).read_text()
    gates = {}
    for name, tensors in edits.items():
        model = load_model(tiny_base, "float32")
        plain = next_token_logprobs(model, tiny_prompts)
        with adapter_folder(tensors, config) as folder:
            gates[name] = reference(tiny_prompts, plain, next_token_logprobs(load_adapter(model, folder), tiny_prompts))
    write_edits(path, config, edits, gates, provenance("edits", "{}"))
    return path


def test_an_unpacked_edit_has_the_tensors_that_were_written(file, edits):
    for name, tensors in edits.items():
        with unpacked(file, name) as (folder, _):
            found = read_adapter(folder)
        assert found.keys() == tensors.keys()
        assert all(torch.equal(found[key], tensors[key]) for key in tensors)
        assert not folder.exists(), "nothing is left behind"


def test_an_engine_that_serves_an_edit_passes_its_gate_and_no_other(tiny_base, file):
    engine = TransformersEngine(tiny_base, "float32", 8)
    gate = Gate(engine, "float32", 8)
    with unpacked(file, "doubled") as (folder, record), unpacked(file, "same") as (_, other):
        gate.serve(folder, record, "doubled")
        with pytest.raises(UnfitAdapter, match="does not serve this adapter as PEFT does"):
            gate.serve(folder, other, "same")
    engine.close()


def test_each_edit_has_a_digest_of_its_own_numbers(file, adapter, edits, tmp_path):
    digests = edit_digests(file)
    assert digests["doubled"] != digests["same"]
    again = tmp_path / "again.safetensors"
    write_edits(again, (adapter / CONFIG).read_text(), {"same": edits["same"]}, {}, provenance("edits", "another spec"))
    assert edit_digests(again)["same"] == digests["same"], "what stands beside it does not count"


def test_an_edit_that_is_not_there_is_named(file):
    with pytest.raises(UserError, match="has no edited adapter 'tripled'"), unpacked(file, "tripled"):
        pass


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("misalignment", {1: 20.0, 2: 20.0}),
        ("domain", {4: 30.0}),
        ("domain_alignment", {1: -10.0, 2: -10.0, 4: 30.0}),
    ],
)
def test_the_papers_factors_go_to_the_named_adapters(kind, expected):
    assert layer_scales(kind, LAYERS, AdapterSteering()) == expected
