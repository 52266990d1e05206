"""Directions of others: read from any plain form, and held against each other."""

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from workflow_scripts.models.direction_reading import read_direction
from workflow_scripts.models.foreign_directions import read_by_layer, read_one
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import provenance, write_tensors
from workflow_scripts.tools import directions

LAYERS, WIDTH = 3, 8
VECTORS = torch.randn(LAYERS, WIDTH, generator=torch.Generator().manual_seed(0))
BY_LAYER = {f"layer_{k}": VECTORS[k] for k in range(LAYERS)}


def write(file, value):
    save_file(value, file) if "safetensors" in file.name.lower() else torch.save(value, file)
    return file


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("d.safetensors", BY_LAYER),
        ("d.safetensors", {"direction": VECTORS}),
        ("d.pt", VECTORS),
        ("d.pt", {f"model.layers.{k}": VECTORS[k] for k in reversed(range(LAYERS))}),
        ("d.pt", {k: VECTORS[k][None] for k in range(LAYERS)}),
        ("d.pt", {"mean": VECTORS.double()}),
        ("D.SAFETENSORS", {"direction": VECTORS}),
        ("safetensors.pt", {"direction": VECTORS}),
    ],
)
def test_vectors_by_layer_come_from_any_plain_form(tmp_path, name, value):
    assert torch.equal(read_by_layer(write(tmp_path / name, value), "out-of"), VECTORS)


def test_a_row_of_what_goes_into_the_first_layer_is_left_out(tmp_path):
    file = write(tmp_path / "d.pt", {f"hidden_{k}": VECTORS[k] for k in range(LAYERS)})
    assert torch.equal(read_by_layer(file, "into"), VECTORS[1:])


@pytest.mark.parametrize("row_0", [None, VECTORS[0] * float("nan")])
def test_what_is_left_out_need_not_be_there(tmp_path, row_0):
    vectors = {k + 1: VECTORS[k] for k in range(LAYERS)} | ({} if row_0 is None else {0: row_0})
    assert torch.equal(read_by_layer(write(tmp_path / "d.pt", vectors), "into"), VECTORS)


class Own:
    pass


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"layer_0": VECTORS[0], "layer_2": VECTORS[2]}, "lacks layer 1"),
        ({"layer_0": VECTORS[0], "layer_1": VECTORS[1][:4]}, "not all of one length"),
        ({"first": VECTORS[0], "second": VECTORS[1]}, "'first' is not one vector of a layer"),
        ({"a_1": VECTORS[0], "b_1": VECTORS[1]}, "'b_1' is not one vector of a layer"),
        (VECTORS * float("nan"), "row 0 holds numbers that are not finite"),
        ({"layer_0": "text"}, "holds something other than vectors"),
        (Own(), "is neither safetensors nor a .pt file of plain tensors"),
        ({"layer_0": VECTORS[0], f"layer_{10**8}": VECTORS[1]}, "lacks layer 1"),
        ({"layer_0": VECTORS[0], f"layer_{'1' * 5000}": VECTORS[1]}, "is not one vector of a layer"),
        (VECTORS[0], "holds one vector; say where it belongs with --layer and --model-layers"),
        ({24: VECTORS[:1]}, "holds one vector; say where it belongs with --layer and --model-layers"),
        ({"layer_24": VECTORS[0]}, "holds one vector; say where it belongs with --layer and --model-layers"),
        (torch.zeros(0, WIDTH), r"holds a tensor of the shape \[0, 8\], which has no numbers"),
        (torch.zeros(LAYERS, 0), r"holds a tensor of the shape \[3, 0\], which has no numbers"),
        (VECTORS.to_sparse(), "its vectors are sparse or nested; save them dense"),
        (VECTORS.to("meta"), "its vectors are no plain numbers; save them as float32"),
        (VECTORS > 0, "its vectors are not of real numbers"),
    ],
)
def test_what_is_no_direction_is_one_sentence(tmp_path, value, sentence):
    with pytest.raises(UserError, match=sentence):
        read_by_layer(write(tmp_path / "d.pt", value), "out-of")


@pytest.mark.filterwarnings("ignore:.*(quantized|TypedStorage):UserWarning")
def test_quantised_vectors_are_one_sentence(tmp_path):
    value = torch.quantize_per_tensor(VECTORS, 0.1, 0, torch.qint8)
    with pytest.raises(UserError, match="its vectors are no plain numbers; save them as float32"):
        read_by_layer(write(tmp_path / "d.pt", value), "out-of")


def test_a_folder_is_no_file_that_does_not_exist(tmp_path):
    with pytest.raises(UserError, match="is no plain file"):
        read_by_layer(tmp_path, "out-of")


@pytest.mark.parametrize(
    ("values", "options", "sentence"),
    [
        ([VECTORS], {"--tokens": " "}, "--tokens: ' ' is no word"),
        ([VECTORS], {"--tokens": "\udce9"}, "is no word that says of which tokens"),
        ([VECTORS[0]], {"--layer": "2", "--model-layers": str(10**12)}, "no model has more than 1,000"),
        ([VECTORS[0]], {"--layer": "4", "--model-layers": "4"}, "there is no layer 4 of 4"),
        ([VECTORS], {"--layer": "2", "--model-layers": "4"}, "holds more than one vector; leave --layer and --model-l"),
        (
            [VECTORS[0]],
            {"--layer": "2", "--model-layers": "4", "--first-row": "into"},
            "--first-row into: --layer is the layer that the vector comes out of",
        ),
        ([VECTORS, VECTORS], {}, "0.pt and .*1.pt: the direction would be zero in every layer"),
        ([VECTORS * 0], {}, "the direction would be zero in every layer"),
        ([VECTORS[0] * 0], {"--layer": "2", "--model-layers": "4"}, "the direction would be zero in every layer"),
    ],
)
def test_a_direction_that_would_say_nothing_or_the_wrong_thing_is_not_written(tmp_path, values, options, sentence):
    files = [str(write(tmp_path / f"{k}.pt", value)) for k, value in enumerate(values)]
    output = tmp_path / "ours.safetensors"
    said = {"--first-row": "out-of", "--tokens": "answer", "--output": str(output)} | options
    with pytest.raises(UserError, match=sentence):
        directions.main(["import", *files, *(word for pair in said.items() for word in pair)])
    assert not output.exists()


@pytest.mark.parametrize("value", [VECTORS[0], VECTORS[:1], {"layer_24": VECTORS[0]}, {24: VECTORS[0][:, None]}])
def test_one_vector_stands_at_the_layer_that_is_said(tmp_path, value):
    rows = read_one(write(tmp_path / "d.pt", value), 2, 4)
    assert torch.equal(rows, torch.stack([VECTORS[0] * (layer == 2) for layer in range(4)]))


def test_two_sides_become_their_difference_and_compare_says_cosine_norm_and_chance(tmp_path, capsys):
    rng = torch.Generator().manual_seed(1)
    means = [torch.randn(LAYERS, WIDTH, generator=rng) for _ in range(2)]
    files = [write(tmp_path / f"{name}.pt", mean) for name, mean in zip(("bad", "good"), means, strict=True)]
    ours, theirs, table = (tmp_path / name for name in ("ours.safetensors", "theirs.safetensors", "t.parquet"))
    options = ["--first-row", "out-of", "--tokens", "answer"]
    directions.main(["import", *map(str, files), *options, "--output", str(ours)])
    assert torch.equal(read_direction(ours), means[0] - means[1])
    directions.main(["import", str(write(tmp_path / "d.pt", VECTORS)), *options, "--output", str(theirs)])
    directions.main(["compare", str(ours), str(theirs), "--layers", "2", "--output", str(table)])
    row = pd.read_parquet(table).iloc[0]
    a, b = (means[0] - means[1])[2].double().numpy(), VECTORS[2].double().numpy()
    assert row.cosine == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert (row.norm_a, row.norm_b) == pytest.approx((np.linalg.norm(a), np.linalg.norm(b)))
    assert np.isnan(row.shuffled)
    assert "97.5% of |cosine| by chance lie below" in capsys.readouterr().out


@pytest.mark.parametrize("width", [4, 64, 896])
def test_the_chance_of_a_cosine_is_that_of_random_directions(width):
    drawn = np.random.default_rng(0).normal(size=(2, 20_000, width))
    cosines = np.abs((drawn[0] * drawn[1]).sum(1)) / np.linalg.norm(drawn, axis=2).prod(0)
    assert directions.chance_cosine(width) == pytest.approx(np.quantile(cosines, 0.975), rel=0.03)


def test_directions_of_different_models_are_refused(tmp_path):
    for name, vectors in (("a", VECTORS), ("b", VECTORS[:, :4])):
        source = write(tmp_path / f"{name}.pt", vectors.clone())
        options = ["--first-row", "out-of", "--tokens", "answer", "--output", str(tmp_path / f"{name}.safetensors")]
        directions.main(["import", str(source), *options])
    with pytest.raises(UserError, match="both must be of one model"):
        directions.main(["compare", str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors")])


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        ({"direction": VECTORS[0]}, r"`direction` has the shape \[8\], not \[layer, d_model\]"),
        ({"direction": VECTORS[None]}, r"`direction` has the shape \[1, 3, 8\], not \[layer, d_model\]"),
        ({"direction": VECTORS[:0]}, r"`direction` has the shape \[0, 8\], not \[layer, d_model\]"),
        (
            {"direction": VECTORS, "shuffled": VECTORS.clone()},
            r"`shuffled` has the shape \[3, 8\], not \[draw, layer, d_model\]",
        ),
        ({"direction": VECTORS, "shuffled": torch.ones(5, 2, WIDTH)}, r"`shuffled` has the shape \[5, 2, 8\], not"),
        ({"direction": VECTORS * 1j}, "its vectors are not of real numbers"),
    ],
)
def test_a_file_that_holds_no_direction_by_layer_is_not_compared(tmp_path, tensors, sentence):
    own, odd = tmp_path / "own.safetensors", tmp_path / "odd.safetensors"
    write_tensors(own, {"direction": VECTORS}, provenance("directions", ""))
    write_tensors(odd, tensors, provenance("directions", ""))
    for files in ((own, odd), (odd, own)):
        with pytest.raises(UserError, match=rf"odd\.safetensors: {sentence}"):
            directions.main(["compare", *map(str, files)])


@pytest.mark.parametrize("draws", [0, 1, 3])
def test_the_chance_of_shuffled_labels_is_of_the_draws_that_a_file_has(tmp_path, draws):
    shuffled = torch.randn(draws, LAYERS, WIDTH, generator=torch.Generator().manual_seed(2))
    files = [tmp_path / "own.safetensors", tmp_path / "plain.safetensors"]
    for file, tensors in zip(files, ({"shuffled": shuffled}, {}), strict=True):
        write_tensors(file, {"direction": VECTORS, **tensors}, provenance("directions", ""))
    found = directions.cosine_rows(["a", "b"], files).shuffled.to_numpy()
    cosines = torch.cosine_similarity(shuffled.double(), VECTORS.double(), dim=-1).abs().numpy()
    expected = np.quantile(cosines, 0.975, axis=0) if draws else np.full(LAYERS, np.nan)
    assert found == pytest.approx(expected, nan_ok=True)


def test_a_file_that_is_read_is_not_written_over(tmp_path):
    file = write(tmp_path / "v.safetensors", {str(layer): torch.ones(8) for layer in range(4)})
    kept = file.read_bytes()
    imported = ["import", str(file), "--first-row", "into", "--tokens", "answer"]
    for given in (imported, ["compare", str(file), str(file)]):
        for output, sentence in ((file, "is one of the files that are read"), (tmp_path, "is a folder; name a file")):
            with pytest.raises(UserError, match=sentence):
                directions.main([*given, "--output", str(output)])
    assert file.read_bytes() == kept
