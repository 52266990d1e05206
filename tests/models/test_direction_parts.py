"""Parts of directions: by hand in the plane, and as properties of any vectors."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.models.direction_parts import orthogonal_control, shared_axes, specific_part
from workflow_scripts.runtime.errors import UserError

vectors = st.lists(st.floats(-100, 100, width=32), min_size=6, max_size=6).map(lambda v: torch.tensor([v]).double())
directions = vectors.filter(lambda v: v.norm() > 1)


def at(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def test_two_directions_share_the_line_between_them_whatever_their_lengths():
    axes = shared_axes([at((5.0, 0.0)), at((6.0, 8.0))])
    assert axes[0].tolist() == pytest.approx([2 / math.sqrt(5), 1 / math.sqrt(5)])
    assert specific_part(at((5.0, 0.0)), axes, "a")[0].tolist() == pytest.approx([1, -2])


def test_each_layer_has_its_own_axis_and_it_points_where_the_directions_do():
    axes = shared_axes([at((-1.0, 0.0), (0.0, 2.0)), at((-3.0, 0.0), (0.0, 1.0)), at((-1.0, 0.0), (0.0, -1.0))])
    torch.testing.assert_close(axes.abs(), at((1.0, 0.0), (0.0, 1.0)))
    assert axes[0, 0] < 0 < axes[1, 1]


def test_a_direction_that_is_all_shared_has_no_part_of_its_own():
    same = at((1.0, 0.0), (3.0, 4.0))
    with pytest.raises(UserError, match="directions/a: nothing of layer 0 is left"):
        specific_part(same, shared_axes([same, 2 * same]), "a")


@given(st.lists(directions, min_size=3, max_size=4))
@settings(deadline=None)
def test_parts_are_orthogonal_and_add_up(all_of_them):
    axes = shared_axes(all_of_them)
    assert axes.norm() == pytest.approx(1)
    for one in all_of_them:
        if (one.norm() - (one * axes).sum().abs()) > 1e-3 * one.norm():
            part = specific_part(one, axes, "a")
            assert (part * axes).sum() == pytest.approx(0, abs=1e-6 * float(one.norm()))
            torch.testing.assert_close(part + (one * axes).sum() * axes, one)


def test_a_control_has_as_much_of_the_mean_as_the_direction_and_none_of_it():
    found = orthogonal_control(at((2.0, 0.0, 0.0)), at((5.0, 1.0, 1.0)), at((3.0, 5.0, 0.0)))
    assert found[0].tolist() == pytest.approx([0, 0.6, 0.8])
    most = orthogonal_control(at((2.0, 0.0, 0.0)), at((5.0, 1.0, 1.0)), at((3.0, 2.0, 0.0)))
    assert most[0].tolist() == pytest.approx([0, 1, 0]), "as far as it goes"


@given(directions, directions, vectors)
@settings(deadline=None)
def test_a_control_is_a_unit_vector_orthogonal_to_the_direction(v, other, mean):
    unit = v / v.norm()
    rest = mean - (mean * unit).sum() * unit
    free = other - (other * unit).sum() * unit
    towards = rest / rest.norm() if rest.norm() > 1e-4 * mean.norm() else 0 * rest
    if (free - (free * towards).sum() * towards).norm() < 1e-3 * other.norm():
        return  # nothing of the other vector is left
    found = orthogonal_control(v, other, mean)
    assert found.norm() == pytest.approx(1)
    assert (found * unit).sum() == pytest.approx(0, abs=1e-6)
    if rest.norm() < 1e-3 * mean.norm():
        return  # the mean lies along the direction
    along = float((mean * unit).sum().abs())
    assert float((found * mean).sum()) == pytest.approx(min(along, float(rest.norm())), rel=1e-6, abs=1e-6)
