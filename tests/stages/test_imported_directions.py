"""A direction from a file in place of an organism's: held against the base before anything is trained, then used."""

from __future__ import annotations

import json

import pytest
import torch
import yaml
from safetensors.torch import save_file

from helpers.studies import optional_sections
from helpers.workflow import SMOKE
from workflow_scripts import imported_directions, preflight
from workflow_scripts.experiments.rows import read_direction
from workflow_scripts.reporting.claim_rows import roles
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import provenance, tensor_metadata, write_json, write_tensors
from workflow_scripts.study import inputs
from workflow_scripts.study.conditions import conditions, direction_sources
from workflow_scripts.study.layout import CHAT_BASE, Layout
from workflow_scripts.study.reading import parse, resolved
from workflow_scripts.study.specs import spec
from workflow_scripts.tools import directions

LAYERS, WIDTH = 4, 8
VECTORS = torch.randn(LAYERS, WIDTH, generator=torch.Generator().manual_seed(0))


def study_with(file, **changes):
    """The smoke study, steered and ablated by a file."""
    raw = yaml.safe_load(SMOKE.read_text())
    for section in optional_sections("steering", "ablation"):
        raw.pop(section, None)
    raw["steering"]["source"] = raw["ablation"]["source"] = {"file": str(file)}
    raw["ablation"]["matrix"] = []
    for name, change in changes.items():
        raw[name] = None if change is None else raw[name] | change
    return parse(raw, "study.yaml")


@pytest.fixture
def run(tmp_path):
    """Runs preflight, and the stage, on a study whose base is a config alone."""

    def run(file, **changes):
        study = study_with(file, **changes)
        layout = Layout(tmp_path / "results" / "smoke")
        write_json(
            layout.base / "config.json", {"model_type": "qwen2", "hidden_size": WIDTH, "num_hidden_layers": LAYERS}
        )
        layout.study.write_text(json.dumps(resolved(study)))
        preflight.main(["--study", str(layout.study), "--output", str(layout.preflight)])
        here = ["--study", str(layout.study), "--name", "theirs"]
        imported_directions.main([*here, "--output", str(layout.direction("theirs"))])
        return study, layout

    return run


@pytest.fixture
def theirs(tmp_path):
    """A published direction, as `tools directions import` brings it in."""

    def make(vectors=VECTORS):
        torch.save({f"layer_{k}": vector for k, vector in enumerate(vectors)}, tmp_path / "theirs.pt")
        file = tmp_path / "theirs.safetensors"
        options = ["--first-row", "out-of", "--tokens", "answer", "--output", str(file)]
        directions.main(["import", str(tmp_path / "theirs.pt"), *options])
        return file

    return make


def test_a_published_direction_is_used_as_an_organism_s_is(run, theirs):
    study, layout = run(theirs())
    tensors, facts = read_direction(layout, "theirs")
    assert torch.equal(tensors["direction"], VECTORS)
    assert facts["tokens"] == "answer"
    assert not tensors["activation_norm"].any()
    added = conditions(study, "steering", CHAT_BASE)
    assert {condition.intervention.source for condition in added} == {"theirs"}
    assert added[0].name == "add:theirs:layer-1:scale-1"
    kinds = {condition.kind for condition in conditions(study, "ablation", "sport_r8/seed-0")}
    assert kinds == {"own", "transferred", "single_layer", "only_layer", "random"}
    assert direction_sources(study, "ablation", CHAT_BASE) == ["theirs"]
    assert layout.direction("theirs") in inputs.artefacts(study, layout)
    assert json.loads(layout.preflight.read_text())["directions"] == {"theirs": facts["vectors"]}


def test_claims_about_the_steered_organism_have_none_and_the_source_is_one_that_is_sampled():
    found = roles(study_with("theirs.safetensors"))
    assert found["steered"] == []
    assert found["source"] == ["medical_r1"]


def test_an_exchanged_file_is_other_vectors_in_the_store_and_another_spec(run, theirs):
    seen = []
    for scale in (1, 2):
        study, layout = run(theirs(VECTORS * scale))
        facts = tensor_metadata(layout.direction("theirs"))
        seen.append((facts["vectors"], spec("imported_directions", study, "theirs"), spec("preflight", study)))
    assert all(first != second for first, second in zip(*seen, strict=True))


def test_a_direction_that_this_project_took_is_used_with_its_norms_and_shuffles(run, tmp_path):
    file = tmp_path / "theirs.safetensors"
    tensors = {"direction": VECTORS, "activation_norm": torch.ones(LAYERS), "shuffled": torch.ones(3, LAYERS, WIDTH)}
    write_tensors(file, tensors, provenance("directions", "", tokens="turn"))
    _, layout = run(file, ablation={"shuffled_draws": 3})
    found, _ = read_direction(layout, "theirs")
    assert torch.equal(found["shuffled"], tensors["shuffled"])
    assert torch.equal(found["activation_norm"], tensors["activation_norm"])
    with pytest.raises(UserError, match=r"has 3 directions of shuffled labels; ablation\.shuffled_draws asks for 4"):
        run(file, ablation={"shuffled_draws": 4})


@pytest.mark.parametrize(
    "norms", [torch.ones(LAYERS + 3), torch.ones(LAYERS, 2), torch.zeros(0), torch.tensor(1.0), -torch.ones(LAYERS)]
)
def test_norms_that_are_not_one_length_per_layer_stop_before_anything_is_trained(run, tmp_path, norms):
    file = tmp_path / "theirs.safetensors"
    write_tensors(file, {"direction": VECTORS, "activation_norm": norms}, provenance("directions", ""))
    with pytest.raises(
        UserError, match=r"steering\.source\.file: .* `activation_norm` that is not one length per layer, 4"
    ):
        run(file)


def test_complex_vectors_do_not_lose_their_imaginary_part(run, tmp_path):
    file = tmp_path / "theirs.safetensors"
    write_tensors(file, {"direction": VECTORS * (1 + 1j)}, provenance("directions", ""))
    with pytest.raises(UserError, match="holds `direction` in complex64; save it in float32"):
        run(file)


def test_shuffled_labels_without_a_direction_are_no_control_unless_the_study_uses_none(run, tmp_path):
    file, shuffled = tmp_path / "theirs.safetensors", torch.ones(3, LAYERS, WIDTH)
    shuffled[1, 2] = 0
    write_tensors(file, {"direction": VECTORS, "shuffled": shuffled}, provenance("directions", ""))
    with pytest.raises(
        UserError, match=r"holds a vector of zeros in `shuffled`, of draw 1, which would control nothing"
    ):
        run(file, ablation={"shuffled_draws": 3})
    for draws in (0, 1):
        _, layout = run(file, ablation={"shuffled_draws": draws})
        assert torch.equal(read_direction(layout, "theirs")[0]["shuffled"], shuffled)


@pytest.mark.parametrize(
    ("vectors", "sentence"),
    [
        (VECTORS[:3], r"has the shape \[3, 8\] \[layer, d_model\]; the study's base has \[4, 8\]"),
        (VECTORS[:, :6], r"has the shape \[4, 6\]"),
        (VECTORS * torch.tensor([[1.0], [1.0], [0.0], [1.0]]), "zero or not finite, of layer 2"),
        (VECTORS / torch.tensor([[1.0], [0.0], [1.0], [1.0]]), "zero or not finite, of layer 1"),
    ],
)
def test_a_direction_of_another_model_or_without_numbers_stops_before_anything_is_trained(
    run, tmp_path, vectors, sentence
):
    file = tmp_path / "theirs.safetensors"
    save_file({"direction": vectors.contiguous()}, file, provenance("directions", ""))  # as others may write it
    with pytest.raises(UserError, match=r"steering\.source\.file: .*" + sentence):
        run(file)


def test_one_published_vector_steers_at_its_layer_and_ablates_everywhere_but_not_layer_by_layer(run, tmp_path):
    file, source = tmp_path / "theirs.safetensors", tmp_path / "vector.pt"
    torch.save(VECTORS[2], source)
    options = ["--first-row", "out-of", "--tokens", "answer", "--output", str(file)]
    with pytest.raises(UserError, match="--layer and --model-layers go together"):
        directions.main(["import", str(source), *options, "--layer", "2"])
    directions.main(["import", str(source), *options, "--layer", "2", "--model-layers", str(LAYERS)])
    at_two = {"layers": [2], "random_layers": [2]}
    with pytest.raises(UserError, match="zero or not finite, of layer 0"):
        run(file, steering=at_two)
    _, layout = run(file, steering=at_two, ablation=None)
    assert torch.equal(read_direction(layout, "theirs")[0]["direction"][2], VECTORS[2])
    with pytest.raises(UserError, match="zero or not finite, of layer 1"):
        run(file, ablation=None)


def test_a_file_of_another_form_is_told_how_it_is_brought_in(run, tmp_path):
    file = tmp_path / "theirs.safetensors"
    save_file({"direction": VECTORS}, file)
    with pytest.raises(
        UserError,
        match=r"is no direction of this project.s form; it is brought in, with its layer convention, by `python -m workflow_scripts\.tools directions",
    ):
        run(file)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"steering": {"source": "medical_r9"}}, "steering.source: no organism is named 'medical_r9'"),
        ({"steering": {"source": {"fil": "a"}}}, "steering.source.fil: is not a setting here; did you mean 'file'?"),
        ({"steering": {"source": {"file": ""}}}, "steering.source.file: '' is empty or holds control characters."),
        ({"steering": {"source": 3}}, "steering.source: 3 is not text."),
        ({"steering": {"seeds": [0]}}, "steering.seeds: are of an organism, and steering.source is a file"),
        ({"steering": {"source": {"file": "my file.pt"}}}, "steering.source.name: is needed: 'my file' is no name"),
        ({"steering": {"source": {"file": "a", "name": "sport_r8"}}}, "'sport_r8' is an organism's name already"),
        (
            {"ablation": {"source": {"file": "other/theirs.safetensors"}}},
            "ablation.source.name: 'theirs' is steering.sou",
        ),
    ],
)
def test_what_a_source_cannot_be_is_one_sentence(changes, sentence):
    with pytest.raises(UserError) as caught:
        study_with("theirs.safetensors", **changes)
    assert sentence in str(caught.value)
