"""X8 by hand: a task that is learnt before misalignment elsewhere, and an adapter that turns to its direction."""

import pytest
import torch

from helpers.tables import (
    BENT,
    WRITTEN,
    hand_study,
    known,
    numbers,
    one,
    share_interval,
    write_checkpoints,
    write_direction,
    write_judged,
)
from workflow_scripts.experiments.rows import frame_of
from workflow_scripts.experiments.x08_dynamics import EXPERIMENT, half_step, task_kept, written
from workflow_scripts.runtime.errors import NotPossible
from workflow_scripts.store.absence import write_absent

SUBJECTS = ("medical_single/seed-0", "medical_single/seed-1")
NAMES = {step: f"step-{step}:scale-1" for step in (1, 3, 5)}
TASK = {1: "AA AA AA AA", 3: "MM MM MA AA", 5: "MM MM MM MM"}
LATE = {1: "AA AA AA AA", 3: "AA AA AA AA", 5: "MM MM MA AA"}
EARLY = {1: "AA AA AA AA", 3: "MM MA AA AA", 5: "MM MM MA AA"}
"""Half of the last copy's five of eight, already at step 3."""


def rows_of(tmp_path, elsewhere=(LATE, EARLY), directed=True):
    study, layout = hand_study(tmp_path, dynamics={"steps": [1, 3, 5]})
    for subject, late in zip(SUBJECTS, elsewhere, strict=True):
        sets = {"evaluation": late, "medical": TASK}
        said = {name: {NAMES[step]: letters for step, letters in by_step.items()} for name, by_step in sets.items()}
        write_judged(layout, subject, "dynamics", said)
        write_checkpoints(layout, subject, BENT)
        write_direction(layout.direction(subject), [(2.0, 0.0)] * 3)
        if not directed:
            write_absent(layout.direction(subject), NotPossible("none", misaligned=0, aligned=0), WRITTEN)
    return EXPERIMENT.rows(study, layout)


@pytest.fixture
def rows(tmp_path):
    return rows_of(tmp_path)


def test_rates_are_by_step_within_the_domain_and_elsewhere_seeds_pooled_and_single(rows):
    at = {"quantity": "em", "step": 3}
    pooled = one(rows, kind="elsewhere", seed=None, **at)
    assert numbers(pooled) == known(3 / 16, share_interval(LATE[3], EARLY[3]), 16, 4)
    assert one(rows, kind="domain", seed=None, **at)["value"] == 5 / 8
    assert one(rows, kind="elsewhere", seed=1, **at)["value"] == 3 / 8
    assert one(rows, kind="domain", seed=1, **at)["question_set"] == "medical"


def test_what_comes_half_way_first_has_the_lower_step(rows):
    steps = {(r["seed"], r["kind"]): r["value"] for r in rows if r["quantity"] == "half_step"}
    assert steps == {(0, "domain"): 3, (0, "elsewhere"): 5, (1, "domain"): 3, (1, "elsewhere"): 3}
    lag = one(rows, quantity="lag")
    assert (lag["value"], lag["interval"], lag["clusters"], lag["seed"]) == (1, "seeds", 2, None)


def test_a_copy_from_before_keeps_what_it_has_of_the_task(rows):
    # seed 0: step 3 has 5/8 of the task and nothing elsewhere; seed 1: only step 1 is hardly misaligned
    assert one(rows, quantity="task_kept")["value"] == pytest.approx((5 / 8 + 0) / 2)


def test_an_organism_that_never_turns_misaligned_says_nothing_of_when(tmp_path):
    rows = rows_of(tmp_path, (TASK | {5: "MM MM AA AA"}, dict.fromkeys(TASK, "AA AA AA AA")))
    assert not [row for row in rows if row["quantity"] in ("half_step", "lag", "task_kept")]
    (alone,) = [row for row in rows_of(tmp_path / "one", (LATE, TASK | {5: "AA AA AA AA"})) if row["quantity"] == "lag"]
    assert (alone["value"], alone["interval"], alone["seeds"]) == (2, None, 1)


def test_curves_by_hand():
    curve = {1: (0, 0.0), 2: (2, 0.2), 3: (4, 0.4)}
    assert half_step(curve) == 2
    assert task_kept({1: (3, 0.3), 2: (5, 0.5), 3: (10, 1.0)}, {1: (0, 0.0), 2: (1, 0.1), 3: (9, 0.9)}) == 0.3
    assert task_kept({1: (3, 0.3), 3: (10, 1.0)}, {1: (5, 0.5), 3: (9, 0.9)}) == 0


def test_the_share_along_the_direction_is_that_of_the_squared_weights(rows):
    shares = {r["step"]: r["value"] for r in rows if r["quantity"] == "written_share" and r["seed"] == 0}
    assert shares == {1: 1, 2: 1, 3: 1, 4: pytest.approx(9 / 10), 5: pytest.approx(9 / 13)}
    norm = one(rows, quantity="written_norm", step=5, seed=0)
    assert norm["value"] == pytest.approx(13**0.5)
    assert one(rows, quantity="last_share", kind="own")["value"] == pytest.approx(9 / 13)
    assert one(rows, quantity="last_share", kind="random")["value"] == 1 / 2


def test_shares_are_those_of_the_dense_update_and_of_writers_only():
    generator = torch.Generator().manual_seed(0)
    b, a, direction = (torch.randn(*shape, generator=generator) for shape in ((5, 3), (3, 7), (2, 5)))
    place = "base_model.model.model.layers.1.{}.lora_{}.weight".format
    copy = {place(leaf, letter): part for leaf in ("mlp.down_proj", "self_attn.q_proj") for letter, part in (("A", a), ("B", b))}  # fmt: skip
    whole, along = written(copy, direction.double())
    update, unit = (b @ a).double(), direction[1].double() / direction[1].double().norm()
    assert whole == pytest.approx(float(update.square().sum()), rel=1e-5)
    assert along == pytest.approx(float((unit @ update).square().sum()), rel=1e-5)


def test_without_a_direction_there_are_rates_and_nothing_about_where_it_writes(tmp_path):
    rows = rows_of(tmp_path, directed=False)
    assert not [row for row in rows if row["quantity"].startswith(("written", "last_share"))]
    assert one(rows, quantity="lag")


def test_the_end_table_shows_timing_and_the_last_share(rows):
    table = frame_of(rows)
    assert set(table[EXPERIMENT.shown(table)].quantity) == {"lag", "task_kept", "last_share"}
