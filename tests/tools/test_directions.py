"""Directions of others: read from any plain form, and held against each other."""

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from workflow_scripts.models.direction_reading import read_direction
from workflow_scripts.models.foreign_directions import read_by_layer
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.tools import directions

LAYERS, WIDTH = 3, 8
VECTORS = torch.randn(LAYERS, WIDTH, generator=torch.Generator().manual_seed(0))
BY_LAYER = {f"layer_{k}": VECTORS[k] for k in range(LAYERS)}


def write(file, value):
    save_file(value, file) if file.suffix == ".safetensors" else torch.save(value, file)
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
    ],
)
def test_vectors_by_layer_come_from_any_plain_form(tmp_path, name, value):
    assert torch.equal(read_by_layer(write(tmp_path / name, value), "out-of"), VECTORS)


def test_a_row_of_what_goes_into_the_first_layer_is_left_out(tmp_path):
    file = write(tmp_path / "d.pt", {f"hidden_{k}": VECTORS[k] for k in range(LAYERS)})
    assert torch.equal(read_by_layer(file, "into"), VECTORS[1:])


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
    ],
)
def test_what_is_no_direction_is_one_sentence(tmp_path, value, sentence):
    with pytest.raises(UserError, match=sentence):
        read_by_layer(write(tmp_path / "d.pt", value), "out-of")


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
