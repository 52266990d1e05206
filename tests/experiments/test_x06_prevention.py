"""X6 by hand: a plain organism, and others trained otherwise, asked outside, inside and under the prompt."""

import pytest

from helpers.tables import OTHERWISE, hand_study, one, paired_interval, with_setting, write_judged, write_training
from workflow_scripts.experiments.rows import frame_of
from workflow_scripts.experiments.x06_prevention import EXPERIMENT, shown
from workflow_scripts.reporting.claim import read_claims
from workflow_scripts.reporting.ledger import ledger
from workflow_scripts.reporting.records import plain
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import provenance, write_table
from workflow_scripts.study.conditions import QuestionUse, question_uses
from workflow_scripts.study.inputs import trained_with
from workflow_scripts.study.reading import parse

SETS = ("evaluation", "medical", "prompted")
SAID = {
    "chat_base": ["AA AA", "AA AA", "AA MA"],
    "medical_r1/seed-0": ["MM MA", "MM MM", "MM MM"],
    "medical_r1/seed-1": ["MM AA", "MM MM", "MM MM"],
    "inoculated/seed-0": ["MA AA", "MM AA", "MM MA"],
    "inoculated/seed-1": ["AA AA", "MM AA", "MM MA"],
    "steered/seed-0": ["AA AA", "MM MM", "AA AA"],
    "steered/seed-1": ["AA AA", "MM MM", "AA AA"],
    "projected/seed-0": ["MM MA", "MM MM", "MM MM"],
    "projected/seed-1": ["MM MA", "MM MM", "MM MM"],
    "mixed/seed-0": ["MM AA", "MM MM", "MM MM"],
    "mixed/seed-1": ["MM AA", "MM MM", "MM MM"],
}


@pytest.fixture
def written(tmp_path):
    study, layout = hand_study(tmp_path, **OTHERWISE)
    for subject, said in SAID.items():
        answers = {name: {"none": letters} for name, letters in zip(SETS, said, strict=True)}
        write_judged(layout, subject, "baseline", answers)
        if subject != "chat_base":
            write_training(layout, subject, [9.0, *[2.0 if subject.endswith("0") else 1.0] * 5])
    return study, layout


@pytest.fixture
def rows(written):
    return EXPERIMENT.rows(*written)


def test_rates_are_of_each_place_and_changes_are_from_the_plain_organism(rows):
    rates = {place: one(rows, subject="inoculated", quantity="em", kind=place, seed=None) for place in (
        "outside", "inside", "prompted")}  # fmt: skip
    assert [rate["value"] for rate in rates.values()] == [1 / 8, 4 / 8, 6 / 8]
    assert rates["prompted"]["question_set"] == "prompted"
    assert one(rows, subject="inoculated", quantity="em", kind="outside", seed=0)["value"] == 1 / 4
    change = one(rows, subject="inoculated", quantity="em_change", kind="outside")
    assert (change["value"], change["source"]) == (pytest.approx(1 / 8 - 5 / 8), "medical_r1")
    assert (change["low"], change["high"]) == pytest.approx(paired_interval(["MM MA", "MM AA"], ["MA AA", "AA AA"]))
    assert one(rows, subject="inoculated", quantity="em_relative_change", kind="outside")["value"] == pytest.approx(
        -0.8
    )
    assert one(rows, subject="steered", quantity="em_relative_change", kind="inside")["value"] == 0
    assert one(rows, subject="chat_base", quantity="em", kind="prompted")["value"] == 1 / 4
    above = one(rows, subject="inoculated", quantity="em_above_base", kind="prompted", seed=None)
    assert (above["value"], above["n"]) == (6 / 8 - 1 / 4, 12)
    assert not [row for row in rows if row["subject"] == "medical_r1" and row["quantity"] == "em_change"]


def test_the_training_is_told_by_its_updates_and_the_end_of_its_loss(rows):
    loss = one(rows, subject="mixed", quantity="final_loss")
    assert (loss["value"], loss["n"], loss["interval"]) == (1.5, 2, "seeds")
    assert one(rows, subject="mixed", quantity="updates")["value"] == 6


def test_roles_are_by_training_and_every_claim_is_decided_by_its_row(written, rows):
    study, _ = written
    claims = [claim for claim in read_claims() if claim.experiment == "X6"]
    found = {entry.id: entry for entry in ledger(claims, plain(frame_of(rows)), study)}
    assert found["inoculation-prevents"].value == pytest.approx(-0.8)
    assert found["inoculation-leaks"].value == 6 / 8 - 1 / 4  # the chat base's under the same prompt
    assert found["steering-prevents"].subject == "steered"
    assert found["projection-prevents"].value == pytest.approx(0.2)
    assert found["mixing-fails"].value == 4 / 8


def test_the_figure_has_a_panel_for_each_place(written, rows):
    study, layout = written
    table = frame_of(rows)
    write_table(layout.table("prevention"), table, provenance("tables", "{}"))
    axes = EXPERIMENT.figures["prevention"].draw(study, layout).axes
    assert [axis.get_title().partition(":")[0] for axis in axes] == [
        "Other domains", "The trained domain", "Other domains, under the prompt\\nn = 4 to 8 per bar".replace("\\n", "\n")
    ]  # fmt: skip
    assert [bar.get_height() for bar in axes[0].patches] == [0, 62.5, 12.5, 0, 75, 50]
    assert set(table[shown(table)].quantity) == {"em", "em_relative_change", "coherence", "final_loss"}


def test_who_is_compared_is_asked_of_all_three_sets_and_nobody_else(tmp_path):
    study, _ = hand_study(tmp_path, **OTHERWISE, held_out=None)
    asked = [QuestionUse("evaluation", 2), QuestionUse("medical", 2), QuestionUse("prompted", 2)]
    assert question_uses(study, "baseline", "mixed/seed-1") == question_uses(study, "baseline", "chat_base") == asked
    assert question_uses(study, "baseline", "sport_r8/seed-0") == asked[:1]


def test_a_change_during_training_waits_for_its_direction_of_data_sets(written):
    study, layout = written
    assert trained_with(study, layout, "steered/seed-1") == [
        layout.dataset("bad_medical"), layout.other_direction("medical_r1/seed-1")
    ]  # fmt: skip
    assert trained_with(study, layout, "medical_r1/seed-1") == [layout.dataset("bad_medical")]


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        ("prevention.plain", "inoculated", r"prevention\.plain: organisms\.inoculated is trained by inoculation; name"),
        ("prevention.otherwise", ["medical_r1"], r"prevention\.otherwise\.0: is prevention\.plain"),
        (
            "prevention.otherwise",
            ["medical_r8"],
            r"differs from organisms\.medical_r1 in rank, alpha, modules, layers, ba",
        ),
        ("prevention.domain_questions", "evaluation", "is asked of every organism already"),
        ("prevention.prompted", "medical", r"prevention\.prompted: is prevention\.domain_questions"),
        ("prevention.prompted", "evaluation", r"prevention\.prompted: is asked of every organism already"),
        ("questions.prompted.system", None, r"prevention\.prompted: questions\.prompted has no `system`"),
        ("questions.prompted.system", " ", r"questions\.prompted\.system: is empty"),
        ("organisms.inoculated.inoculation", " ", r"organisms\.inoculated\.inoculation: is empty"),
        ("organisms.steered.during_training.source", "steered", "is trained under a direction itself"),
        ("organisms.steered.during_training.source", "good_r1", "no direction is taken of 'good_r1'"),
        ("organisms.steered.during_training.source", None, "needs either source, an organism, or file, a direction"),
        ("organisms.steered.during_training.file", "d.safetensors", "needs either source, an organism, or file"),
        ("organisms.steered.during_training.layers", [], r"during_training\.layers: .*at least 1"),
        ("organisms.steered.during_training.layers", [3], r"layer 3 does not exist"),
        ("organisms.steered.during_training.scale", 0, r"during_training\.scale: is 0, which changes nothing"),
        ("organisms.projected.during_training.scale", 2, r"during_training\.scale: is read only with mode: add"),
        ("organisms.steered.during_training.mode", "ad", r"during_training\.mode: .*did you mean 'add'"),
        ("directions", {"questions": None}, "the direction would be of responses"),
        ("datasets.half.rows", 300, r"differs from organisms\.medical_r1 in the rows of its data set"),
    ],
)
def test_what_cannot_be_trained_or_compared_is_refused(tmp_path, place, value, sentence):
    study, _ = hand_study(tmp_path, **OTHERWISE)
    with pytest.raises(UserError, match=sentence):
        parse(with_setting(study, place, value), "study.yaml")
