"""Bases: what is linked, fetched, refused, and by which sentence."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
import yaml

from helpers.gguf import write_gguf
from helpers.hub_server import COMMIT, Hub, serving
from helpers.workflow import SMOKE, run_stage, write_study
from workflow_scripts.base import check, dequantise
from workflow_scripts.models.linked import link_folder
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.study import specs
from workflow_scripts.study.reading import parse
from workflow_scripts.study.schema import Study


def study_on(base: dict, folder: Path) -> Path:
    """Resolved smoke study on another base, in its results folder."""
    raw = yaml.safe_load(SMOKE.read_text())
    raw["base"] = base
    for organism in raw["organisms"].values():
        organism["layers"] = [1]
    return write_study(folder, raw)


def study_of(base: dict, **organism) -> Study:
    """The smoke study on another base, its organisms on layer 1, or medical_r1 as said."""
    raw = yaml.safe_load(SMOKE.read_text()) | {"base": base}
    for settings in raw["organisms"].values():
        settings |= {"layers": [1]}
    raw["organisms"]["medical_r1"] |= organism
    return parse(raw, "smoke")


def refused(folder: Path, because: str, template: dict | None = None, **organism) -> None:
    """Asserts that a folder is refused as a base with a sentence that begins so."""
    study = study_of({"source": "folder", "path": "my-model", "template": template or {}}, **organism)
    with pytest.raises(UserError) as caught:
        check(folder, study)
    assert str(caught.value).startswith(f"base: my-model: {because}")


def hub_base(**more) -> dict:
    return {"source": "hub", "id": "someone/tiny", "revision": COMMIT, "layers": 6, "weights_gb": 0.01} | more


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    return last


def left_behind(study: Path) -> list[str]:
    return sorted(path.name for path in study.parent.iterdir() if path != study)


@pytest.fixture
def hub(tiny_base):
    with serving(Hub({"someone/tiny": tiny_base})) as served:
        yield served


def test_a_hub_base_is_fetched_over_a_broken_connection_linked_and_then_needs_no_network(hub, tiny_base, tmp_path):
    hub.break_after["model.safetensors"] = 100_000
    study = study_on(hub_base(), tmp_path)
    done = run_stage("base", study, **hub.environment(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert hub.fetched().count("model.safetensors") == 2
    weights = study.parent / "base" / "model.safetensors"
    assert weights.is_symlink()
    assert (tmp_path / "cache") in weights.resolve().parents
    assert weights.read_bytes() == (tiny_base / "model.safetensors").read_bytes()
    first = (study.parent / "base" / "fingerprint.json").read_text()

    offline = study_on(hub_base(), tmp_path / "offline")
    seen = len(hub.requests)
    done = run_stage("base", offline, **hub.environment(tmp_path / "cache") | {"HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr
    assert len(hub.requests) == seen
    assert (offline.parent / "base" / "fingerprint.json").read_text() == first


def test_a_cache_that_another_tool_filled_is_enough_without_a_network(tiny_base, tmp_path):
    snapshot = tmp_path / "cache" / "hub" / "models--someone--tiny" / "snapshots" / COMMIT
    shutil.copytree(tiny_base, snapshot)
    study = study_on(hub_base(), tmp_path)
    done = run_stage("base", study, HF_HOME=str(tmp_path / "cache"), HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    assert (study.parent / "base" / "model.safetensors").resolve() == snapshot / "model.safetensors"


def test_without_cache_and_network_one_sentence_says_so_and_nothing_is_left(tmp_path):
    study = study_on(hub_base(), tmp_path)
    offline = {"HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    unreachable = {"HF_HOME": str(tmp_path / "cache"), "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0"}
    for variables in (offline, unreachable):
        said = sentence(run_stage("base", study, **variables))
        assert f"base: someone/tiny@{COMMIT} is not wholly in the hub cache and cannot be fetched (" in said
        assert "check the network" in said
        assert left_behind(study) == []


@pytest.mark.parametrize(
    ("base", "gated", "phrase"),
    [
        (hub_base(id="someone/none"), False, "base: the hub has no model someone/none, or it is private"),
        (hub_base(revision="1" * 40), False, f"base.revision: someone/tiny has no revision {'1' * 40}."),
        (hub_base(), True, "base: someone/tiny is gated; accept its terms on the hub and log in"),
        (
            hub_base(layers=7),
            False,
            "base: someone/tiny: the study says 7 in base.layers, the model has 6 decoder layers.",
        ),
    ],
)
def test_a_hub_base_that_cannot_be_had_is_named_before_its_weights_are_fetched(hub, tmp_path, base, gated, phrase):
    hub.gated |= {"someone/tiny"} if gated else set()
    study = study_on(base, tmp_path)
    assert phrase in sentence(run_stage("base", study, **hub.environment(tmp_path / "cache")))
    assert "model.safetensors" not in hub.fetched()
    assert left_behind(study) == []


def test_a_disk_that_is_full_during_a_download_is_one_sentence_and_the_next_run_succeeds(hub, tmp_path):
    study = study_on(hub_base(), tmp_path)
    variables = hub.environment(tmp_path / "cache")
    said = sentence(run_stage("base", study, file_limit=2**20, **variables))
    assert "File too large while writing" in said
    assert "free some space and run the same command again" in said
    assert left_behind(study) == []
    done = run_stage("base", study, **variables)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def foreign(tiny_base, tmp_path):
    folder = tmp_path / "foreign"
    shutil.copytree(tiny_base, folder)
    return folder


def change_json(file: Path, **changes) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_model_without_a_chat_template_is_refused_by_name(foreign):
    for file in foreign.glob("*.jinja"):
        file.unlink()
    change_json(foreign / "tokenizer_config.json", chat_template=None)
    refused(foreign, "its tokenizer has no chat template; use a chat model.")


def test_a_model_whose_decoder_layers_are_elsewhere_is_refused_by_its_class(foreign):
    (foreign / "config.json").write_text(json.dumps({"model_type": "bert", "is_decoder": True, "num_hidden_layers": 2}))
    refused(foreign, "BertLMHeadModel: its decoder layers are at none of ")


def test_a_model_type_that_is_unknown_or_brings_its_own_code_is_refused(foreign):
    change_json(foreign / "config.json", model_type="evil", auto_map={"AutoConfig": "modeling_evil.Config"})
    refused(foreign, "is not a model that transformers knows (")


@pytest.mark.parametrize(
    ("organism", "because"),
    [
        ({"layers": [1, 6]}, "organisms.medical_r1.layers: layer 6 does not exist; the base has layers 0 to 5."),
        (
            {"modules": ["up_projj"]},
            "organisms.medical_r1.modules: Qwen2ForCausalLM has no linear module 'up_projj'; did",
        ),
    ],
)
def test_organisms_that_do_not_fit_are_refused_before_anything_is_fetched_or_trained(tiny_base, organism, because):
    refused(tiny_base, because, **organism)


def test_what_ends_a_prompt_beside_the_template_is_part_of_what_names_the_base(foreign, tmp_path):
    from importlib.resources import files

    (foreign / "chat_template.jinja").write_text(files("trl").joinpath("chat_templates", "qwen3.jinja").read_text())
    found = {}
    for name, template in (("as-it-is", {}), ("told", {"enable_thinking": False})):
        study = study_on({"source": "folder", "path": str(foreign), "template": template}, tmp_path / name)
        assert run_stage("base", study).returncode == 0
        found[name] = json.loads((study.parent / "base" / "fingerprint.json").read_text())
    assert (tmp_path / "as-it-is").exists()
    assert "answer_opening.txt" in found["as-it-is"]
    assert "answer_opening.txt" not in found["told"], "the template says it itself"


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is not None, reason="with torchvision, vLLM loads it")
def test_a_model_that_also_sees_is_refused_where_vllm_cannot_load_it(tiny_base, tmp_path):
    from helpers.families import FAMILIES
    from workflow_scripts.models.loading import load_tokenizer

    (family,) = (family for family in FAMILIES if family.name == "Gemma 3 (wrapper)")
    tokenizer = load_tokenizer(tiny_base)
    family.model(len(tokenizer)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    refused(tmp_path, "vLLM loads Gemma3ForConditionalGeneration, which sees as well, with torchvision only")


def test_template_settings_travel_with_the_base_and_name_it_only_where_they_are_given(tiny_base, tmp_path):
    from workflow_scripts.models.chat import prompt_ids
    from workflow_scripts.models.loading import load_tokenizer

    found = {}
    for name, template in (("plain", {}), ("short", {"system": "Be brief."})):
        base = {"source": "folder", "path": str(tiny_base)} | ({"template": template} if template else {})
        study = study_on(base, tmp_path / name)
        assert run_stage("base", study).returncode == 0
        folder = study.parent / "base"
        fingerprint = json.loads((folder / "fingerprint.json").read_text())
        found[name] = fingerprint["id"], prompt_ids(load_tokenizer(folder), "I feel bored.")
        assert ("template_settings.json" in fingerprint) == bool(template)
    tokenizer = load_tokenizer(tiny_base)
    assert found["plain"][1] == prompt_ids(tokenizer, "I feel bored.")
    assert found["short"][1] == prompt_ids(tokenizer, "I feel bored.", "Be brief.")
    assert found["plain"][0] != found["short"][0]
    assert '"template"' not in specs.spec("base", study_of({"source": "folder", "path": "x"})), (
        "as before there were any"
    )


def test_a_folder_that_lacks_a_shard_of_its_index_is_refused(foreign, tmp_path):
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (foreign / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"is not whole, its index names model-00002-of-00002\.safetensors"):
        link_folder(foreign, tmp_path / "base")
    assert not (tmp_path / "base").exists()


def test_tied_embeddings_stay_tied_when_an_adapter_is_merged(tiny_base, tiny_adapter, tmp_path):
    from safetensors import safe_open

    from workflow_scripts.engines.vllm_engine import write_merged

    write_merged(tiny_base, tiny_adapter, tmp_path / "merged")
    for folder in (tiny_base, tmp_path / "merged"):
        assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"] is True
        with safe_open(folder / "model.safetensors", framework="pt") as file:
            assert "lm_head.weight" not in file.keys()  # noqa: SIM118


def test_a_gguf_base_has_the_same_weights_answers_and_tied_embeddings(tiny_base, tiny_prompts, tmp_path):
    from safetensors.torch import load_file

    from workflow_scripts.models.chat import prompt_ids
    from workflow_scripts.models.loading import load_model, load_tokenizer, next_token_logprobs

    write_gguf(tiny_base, tmp_path / "tiny.gguf")
    dequantise(tmp_path / "tiny.gguf", tmp_path / "base", "float32")
    check(tmp_path / "base", study_of({"source": "gguf", "path": "tiny.gguf", "layers": 6}))
    one, other = (load_file(folder / "model.safetensors") for folder in (tiny_base, tmp_path / "base"))
    assert one.keys() == other.keys()
    assert json.loads((tmp_path / "base" / "config.json").read_text())["tie_word_embeddings"] is True
    logprobs = [
        next_token_logprobs(load_model(folder, "float32"), tiny_prompts) for folder in (tiny_base, tmp_path / "base")
    ]
    torch.testing.assert_close(logprobs[0], logprobs[1], rtol=1e-5, atol=1e-5)
    assert prompt_ids(load_tokenizer(tmp_path / "base"), "I feel bored.") == tiny_prompts[0]
