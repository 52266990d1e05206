import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cosine_similarity

from workflow_scripts.models.interventions import layer_changes, random_direction
from workflow_scripts.models.loading import load_model
from workflow_scripts.models.residual import (
    LayerChange,
    captured,
    changed,
    decoder_layers,
    intervened,
    stream,
    with_stream,
)
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.study.conditions import Condition, Intervention, describe


@pytest.fixture(scope="module")
def model(tiny_base):
    return load_model(tiny_base, "float32")


def hidden_states(model, prompt):
    found = {}
    with torch.inference_mode(), captured(model, lambda layer, x: found.update({layer: x.clone()})):
        model(input_ids=torch.tensor([prompt]))
    return [found[layer] for layer in range(len(found))]


@pytest.mark.parametrize("mode", ["add", "project"])
def test_layers_before_the_patched_one_are_bit_identical(model, tiny_prompts, mode):
    vector = torch.randn(model.config.hidden_size, generator=torch.Generator().manual_seed(0))
    plain = hidden_states(model, tiny_prompts[0])
    with intervened(model, [LayerChange(3, mode, vector, 2.0)]):
        patched = hidden_states(model, tiny_prompts[0])
    assert all(torch.equal(plain[k], patched[k]) for k in range(3))
    assert not torch.equal(plain[4], patched[4])
    again = hidden_states(model, tiny_prompts[0])
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True)), "hooks are gone after the block"


def test_at_the_patched_layer_the_change_is_exactly_what_the_formula_says(model, tiny_prompts):
    vector = torch.randn(model.config.hidden_size, generator=torch.Generator().manual_seed(0))
    plain = hidden_states(model, tiny_prompts[0])
    unit = vector / vector.norm()
    seen = {}
    for mode in ("add", "project"):
        with intervened(model, [LayerChange(3, mode, vector, 2.0)]), captured(model, lambda k, x: seen.update({k: x})):
            model(input_ids=torch.tensor([tiny_prompts[0]]))
        if mode == "add":
            torch.testing.assert_close(seen[3], plain[3] + 2.0 * vector)
        else:
            assert (seen[3] @ unit).abs().max() < 1e-5


def test_hooks_are_removed_when_the_block_fails(model):
    with pytest.raises(RuntimeError), intervened(model, [LayerChange(0, "add", torch.ones(model.config.hidden_size))]):
        raise RuntimeError
    assert not decoder_layers(model)[0]._forward_hooks


@pytest.mark.parametrize("form", ["tensor", "tuple", "pair"])
def test_the_stream_is_read_and_written_in_every_form_that_layers_return(form):
    x, y = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    output = {"tensor": x, "tuple": (x, "cache"), "pair": (x, y)}[form]
    expected = x + y if form == "pair" else x
    assert torch.equal(stream(output), expected)
    new = torch.randn(2, 3, 4)
    assert torch.equal(stream(with_stream(output, new)), new)


def test_a_model_without_known_layers_is_named():
    with pytest.raises(UserError, match="Linear: its decoder layers are at none of"):
        decoder_layers(nn.Linear(2, 2))


vectors = st.lists(st.floats(-100, 100, width=32), min_size=8, max_size=8).map(torch.tensor)
directions = vectors.filter(lambda v: v.norm() > 1e-2)
PLACES = {"atol": 1e-3, "rtol": 1e-4}


@given(vectors, directions)
@settings(deadline=None)
def test_projecting_twice_is_projecting_once(x, v):
    once = changed(x, LayerChange(0, "project", v))
    torch.testing.assert_close(changed(once, LayerChange(0, "project", v)), once, **PLACES)


@given(vectors, directions, st.floats(-10, 10))
@settings(deadline=None)
def test_adding_a_direction_and_projecting_it_out_is_projecting_it_out(x, v, scale):
    added = changed(x, LayerChange(0, "add", v, scale))
    torch.testing.assert_close(
        changed(added, LayerChange(0, "project", v)), changed(x, LayerChange(0, "project", v)), atol=5e-3, rtol=1e-4
    )


@given(vectors, directions, st.floats(0.01, 100))
@settings(deadline=None)
def test_projection_ignores_the_length_and_sign_of_the_direction(x, v, factor):
    expected = changed(x, LayerChange(0, "project", v))
    for other in (v * factor, -v):
        torch.testing.assert_close(changed(x, LayerChange(0, "project", other)), expected, **PLACES)


@given(vectors, directions, st.floats(-10, 10))
@settings(deadline=None)
def test_setting_leaves_what_projection_leaves_and_the_value_along_the_direction(x, v, value):
    unit = v / v.norm()
    found = changed(x, LayerChange(0, "set", v, value))
    torch.testing.assert_close(found - value * unit, changed(x, LayerChange(0, "project", v)), **PLACES)


@given(directions, directions, st.floats(0.1, 10))
@settings(deadline=None)
def test_cosine_ignores_length_and_turns_with_sign(a, b, factor):
    cosine = cosine_similarity(a, b, dim=0)
    torch.testing.assert_close(cosine_similarity(a * factor, b, dim=0), cosine, **PLACES)
    torch.testing.assert_close(cosine_similarity(-a, b, dim=0), -cosine, **PLACES)


@given(directions, st.text(max_size=5))
@settings(deadline=None)
def test_a_random_direction_has_the_norm_of_its_model_and_depends_on_its_name_alone(v, name):
    drawn = random_direction(v, name)
    torch.testing.assert_close(drawn.norm(), v.norm(), rtol=1e-5, atol=1e-6)
    assert torch.equal(drawn, random_direction(v, name))
    assert not torch.equal(drawn, random_direction(v, name + "'"))


def test_a_condition_takes_each_layers_own_vector_or_one_layers_everywhere():
    rows = torch.arange(12.0).reshape(3, 4) + 1
    own = layer_changes(Intervention("project", "a", (0, 1, 2)), {"a": rows})
    assert [change.vector.tolist() for change in own] == rows.tolist()
    one = layer_changes(Intervention("project", "a", (0, 1, 2), layer=1), {"a": rows})
    assert all(torch.equal(change.vector, rows[1]) for change in one)
    drawn = layer_changes(Intervention("project", "a", (0, 2), layer=1, draw=0), {"a": rows})
    assert torch.equal(drawn[0].vector, drawn[1].vector)
    assert drawn[0].vector.norm() == pytest.approx(float(rows[1].norm()))


def test_a_mean_is_that_of_each_layer_along_the_vector_that_is_set():
    rows, means = torch.eye(3, 4) * 2, {"a": torch.arange(12.0).reshape(3, 4)}
    own = layer_changes(Intervention("set", "a", (0, 1, 2)), {"a": rows}, means)
    assert [change.scale for change in own] == [0, 5, 10]  # the vector's length does not matter
    one = layer_changes(Intervention("set", "a", (0, 1, 2), layer=1), {"a": rows}, means)
    assert [change.scale for change in one] == [1, 5, 9]


def test_a_zero_direction_is_refused():
    with pytest.raises(UserError, match="the direction of layer 0 is zero"):
        layer_changes(Intervention("project", "a", (0,)), {"a": torch.zeros(1, 4)})


def test_a_draw_of_shuffled_labels_is_taken_as_it_is_and_names_its_condition_alone():
    rows = torch.arange(8.0).reshape(2, 4) + 1
    change = Intervention("project", "a", (0, 1), layer=1, draw=3, shuffled=True)
    assert all(torch.equal(made.vector, rows[1]) for made in layer_changes(change, {"a": rows}))
    random = Intervention("project", "a", (0, 1), layer=1, draw=3)
    assert describe(Condition("shuffled", change))["intervention"]["shuffled"] is True
    assert "shuffled" not in describe(Condition("random", random))["intervention"], "the names in the stores stay"
