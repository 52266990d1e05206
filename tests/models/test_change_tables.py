"""Tables of many conditions' changes: each token gets those of its own condition, and no vector lies there twice."""

from __future__ import annotations

import torch

from workflow_scripts.models.change_tables import changed_rows, fitting, pack_tables, tables, unpack_tables
from workflow_scripts.models.residual import LayerChange, changed

WIDTH = 8
VECTORS = torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(0))
CONDITIONS = [
    [LayerChange(1, "add", VECTORS[0], 2.5)],
    [LayerChange(layer, "project", VECTORS[1]) for layer in range(3)],
    [LayerChange(1, "set", VECTORS[2], -1.5)],
    [],
    [LayerChange(1, "add", VECTORS[3]), LayerChange(1, "project", VECTORS[1]), LayerChange(1, "add", VECTORS[0], 2.5)],
]


def test_each_token_gets_the_changes_of_its_condition_and_others_come_out_as_they_are():
    made = unpack_tables(pack_tables(tables(CONDITIONS)))
    numbers = torch.tensor([0, 1, 2, 3, 4, 5, 2, 0])
    x = torch.randn(len(numbers), WIDTH, generator=torch.Generator().manual_seed(1))
    for layer in range(4):
        served = x
        for step in (step for step in made.steps if step.layer == layer):
            served = changed_rows(served, made.bank, step, numbers)
        for row, number in enumerate(numbers.tolist()):
            expected = x[row]
            for change in CONDITIONS[number - 1] if number else []:
                if change.layer == layer:
                    expected = changed(expected, change)
            torch.testing.assert_close(served[row], expected, rtol=0, atol=2e-6)
            if expected is x[row] or torch.equal(expected, x[row]):
                assert torch.equal(served[row], x[row])


def test_an_addition_is_bit_equal_to_the_hook_of_one_condition():
    made = tables([[LayerChange(0, "add", VECTORS[0], 0.3)]])
    for dtype in (torch.float32, torch.bfloat16):
        x = VECTORS.to(dtype)
        found = changed_rows(x, made.bank, made.steps[0], torch.ones(4, dtype=torch.long))
        assert found.dtype == dtype
        assert torch.equal(found, changed(x, LayerChange(0, "add", VECTORS[0], 0.3)))


def test_a_vector_lies_in_the_bank_once():
    made = tables(CONDITIONS)
    different = 1 + 1 + 1 + 1 + 1  # zero; added in two conditions; projected in two; set; added
    assert len(made.bank) == different


def test_conditions_are_spread_over_banks_of_a_size():
    three, one = CONDITIONS[1], CONDITIONS[0]
    asked = [three] * 5 + [one] * 5 + [[]] + [CONDITIONS[4]] * 5
    assert fitting(asked) == len(asked)
    assert fitting(asked, 4 * 4 * WIDTH) == 11, "the third condition does not fit with three and one vectors"
    assert fitting(asked, 1) == 5, "one condition is always taken"
    assert fitting([[], *asked], 1) == 1
