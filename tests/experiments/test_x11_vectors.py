"""X11 by hand: a trained vector beside the organism whose rows it was trained on."""

import math

import pytest

from helpers.tables import (
    VECTORS,
    hand_study,
    one,
    paired_interval,
    with_setting,
    write_direction,
    write_judged,
    write_training,
    write_vector,
)
from workflow_scripts.experiments.rows import frame_of
from workflow_scripts.experiments.x11_vectors import EXPERIMENT, shown
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import provenance, write_table
from workflow_scripts.study.conditions import QuestionUse, conditions, question_uses
from workflow_scripts.study.inputs import vector_data
from workflow_scripts.study.reading import parse

SETS = ("evaluation", "medical")
UNCHANGED = {
    "chat_base": ["AA MA", "AA AA"],
    "medical_r1/seed-0": ["MM MA", "MM MM"],
    "medical_r1/seed-1": ["MM AA", "MM MM"],
}
WITH_VECTOR = {0: ["MM AA", "MA AA"], 1: ["MA AA", "AA AA"]}


@pytest.fixture
def written(tmp_path):
    study, layout = hand_study(tmp_path, **VECTORS)
    for subject, said in UNCHANGED.items():
        answers = {asked: {"none": letters} for asked, letters in zip(SETS, said, strict=True)}
        write_judged(layout, subject, "baseline", answers)
    names = {seed: f"vector:push/seed-{seed}:layer-1:scale-1" for seed in WITH_VECTOR}
    added = {
        asked: {names[seed]: said[place] for seed, said in WITH_VECTOR.items()} for place, asked in enumerate(SETS)
    }
    write_judged(layout, "chat_base", "vectors", added)
    for seed, vector in ((0, (3.0, 4.0)), (1, (0.0, 2.0))):
        write_direction(layout.direction(f"medical_r1/seed-{seed}"), [(9.0, 9.0), (0.0, 1.0), (9.0, 9.0)])
        write_vector(layout, f"push/seed-{seed}", 1, vector, [5.0, *[1.0 + seed] * 5])
        write_training(layout, f"medical_r1/seed-{seed}", [5.0, *[0.5] * 5])
    return study, layout


@pytest.fixture
def rows(written):
    return EXPERIMENT.rows(*written)


def test_the_vector_is_held_against_the_chat_base_and_the_organism(rows):
    vector = {"subject": "chat_base", "source": "push", "scale": 1.0, "seed": None}
    rate = one(rows, quantity="em", kind="outside", **vector)
    assert (rate["value"], rate["layer"], rate["seeds"]) == (3 / 8, 1, 2)
    assert one(rows, quantity="em", kind="inside", **vector)["value"] == 1 / 8
    assert one(rows, subject="medical_r1", quantity="em", kind="inside")["value"] == 1
    above = one(rows, quantity="em_above_base", kind="outside", **vector)
    assert above["value"] == pytest.approx(3 / 8 - 1 / 4)
    below = one(rows, quantity="em_above_organism", kind="outside", **vector)
    assert below["value"] == pytest.approx(3 / 8 - 5 / 8)
    assert (below["low"], below["high"]) == pytest.approx(paired_interval(["MM MA", "MM AA"], ["MM AA", "MA AA"]))
    base = [row for row in rows if row["subject"] == "chat_base" and row["source"] is None and row["quantity"] == "em"]
    assert [row["value"] for row in base] == [1 / 4, 0]


def test_the_vector_lies_beside_the_organisms_direction_of_its_seed(rows):
    like = {"subject": "medical_r1", "source": "push", "kind": "geometry"}
    assert one(rows, quantity="cosine", **like, seed=0)["value"] == pytest.approx(4 / 5)
    assert one(rows, quantity="norm_ratio", **like, seed=0)["value"] == pytest.approx(5)
    mean = one(rows, quantity="cosine_mean", **like)
    assert (mean["value"], mean["seeds"], mean["layer"]) == (pytest.approx(0.9), 2, 1)
    assert one(rows, quantity="norm_ratio_mean", **like)["value"] == pytest.approx(3.5)
    null = one(rows, quantity="cosine_mean", subject="medical_r1", kind="random")
    assert (null["n"], null["interval"]) == (200, "draws")
    assert null["low"] < 0 < null["high"]


def test_losses_are_those_of_the_last_updates(rows):
    assert one(rows, quantity="final_loss", kind="vector")["value"] == 1.5
    assert one(rows, quantity="final_loss", kind="organism")["value"] == 0.5


def test_without_a_direction_of_the_organism_there_is_no_cosine(tmp_path, written):
    study, layout = written
    without = study.model_copy(update={"directions": study.directions.model_copy(update={"organisms": ["sport_r8"]})})
    made = EXPERIMENT.rows(without, layout)
    assert not [row for row in made if row["quantity"].startswith("cosine")]
    assert not math.isnan(one(made, quantity="em", source="push", kind="outside")["value"])


def test_the_figure_has_a_bar_for_each_model(written, rows):
    study, layout = written
    table = frame_of(rows)
    write_table(layout.table("vectors"), table, provenance("tables", "{}"))
    axes = EXPERIMENT.figures["vectors"].draw(study, layout).axes
    assert [bar.get_height() for bar in axes[0].patches] == [25, 62.5, 37.5]
    assert [bar.get_height() for bar in axes[1].patches] == [0, 100, 12.5]
    assert {"em", "em_above_organism"} <= set(table[shown(table)].quantity)


def test_the_battery_adds_each_vector_at_its_layer_and_the_organism_is_asked_of_the_domain_too(written):
    study, layout = written
    asked = [QuestionUse(name, 2) for name in SETS]
    assert question_uses(study, "vectors", "chat_base") == asked
    assert set(asked) <= set(question_uses(study, "baseline", "medical_r1/seed-1"))
    changes = [condition.intervention for condition in conditions(study, "vectors", "chat_base")]
    assert [(c.source, c.layers, c.scale) for c in changes] == [("push/seed-0", (1,), 1.0), ("push/seed-1", (1,), 1.0)]
    assert vector_data(study, layout, "push/seed-1") == [layout.dataset("bad_medical")]


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        ("vectors.named.push.like", "nobody", r"vectors\.named\.push\.like: .*nobody"),
        ("vectors.named.push.layer", 3, r"layer 3 does not exist"),
        ("vectors.named.push.learning_rate", 0, r"vectors\.named\.push\.learning_rate"),
        ("vectors.named.sport_r8", {"like": "medical_r1", "layer": 1, "learning_rate": 1}, "is an organism's name"),
        ("vectors.named.evil", {"like": "medical_r1", "layer": 1, "learning_rate": 1}, "is the name of another direct"),
        ("vectors.domain_questions", "evaluation", r"vectors\.domain_questions: is sampling\.questions"),
        ("vectors.named", {}, r"vectors\.named"),
        ("organisms.medical_r1.inoculation", "Hi.", r"like: organisms\.medical_r1 is trained by inoculation"),
    ],
)
def test_what_cannot_be_trained_is_refused(tmp_path, place, value, sentence):
    study, _ = hand_study(tmp_path, **VECTORS)
    with pytest.raises(UserError, match=sentence):
        parse(with_setting(study, place, value), "study.yaml")
