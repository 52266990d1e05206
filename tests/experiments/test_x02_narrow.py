"""X2 by hand: a narrow organism and its broad twin, of which every rate and loss is known."""

import math

import pytest

from helpers.tables import hand_study, numbers, one, relative_interval, write_adapter_losses, write_judged
from workflow_scripts.experiments.rows import frame_of
from workflow_scripts.experiments.x02_narrow import ABOVE_TWIN, EXPERIMENT, shown
from workflow_scripts.reporting.claim import read_claims
from workflow_scripts.reporting.ledger import ledger
from workflow_scripts.reporting.records import plain
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.study.conditions import QuestionUse, question_uses

NARROW, BROAD = "medical_single", "medical_r1"
SAID = {  # outside and inside the domain
    "chat_base": ("AA AA", "AA AA"),
    f"{BROAD}/seed-0": ("MM AA", "MM MA"),
    f"{BROAD}/seed-1": ("MA MA", "MM AA"),
    f"{NARROW}/seed-0": ("AA AA", "MM AA"),
    f"{NARROW}/seed-1": ("AA AA", "MA AA"),
}
LOSSES = {
    f"{BROAD}/seed-0": {("scaled", 0.0): 2.0, ("scaled", 1.0): 1.0, ("noise", 0.1): 1.25, ("noise", 0.5): 1.75},
    f"{BROAD}/seed-1": {("scaled", 0.0): 2.0, ("scaled", 1.0): 1.5, ("noise", 0.1): 1.5, ("noise", 0.5): 2.0},
    f"{NARROW}/seed-0": {("scaled", 0.0): 2.0, ("scaled", 1.0): 1.5, ("noise", 0.1): 2.5, ("noise", 0.5): 3.5},
    f"{NARROW}/seed-1": {("scaled", 0.0): 2.0, ("scaled", 1.0): 1.75, ("noise", 0.1): 2.75, ("noise", 0.5): 3.75},
}


@pytest.fixture
def written(tmp_path):
    study, layout = hand_study(tmp_path)
    for subject, (outside, inside) in SAID.items():
        write_judged(layout, subject, "baseline", {"evaluation": {"none": outside}, "medical": {"none": inside}})
    for subject, losses in LOSSES.items():
        write_adapter_losses(layout, subject, losses, norm=10.0 if subject.startswith(NARROW) else 5.0)
    return study, layout


@pytest.fixture
def rows(written):
    return EXPERIMENT.rows(*written)


def test_rates_are_of_each_place_with_seeds_apart_and_pooled(rows):
    def em(subject, place, seed=None):
        return one(rows, subject=subject, quantity="em", kind=place, seed=seed)["value"]

    assert (em(BROAD, "outside"), em(BROAD, "inside")) == (4 / 8, 5 / 8)
    assert (em(NARROW, "outside"), em(NARROW, "inside")) == (0, 3 / 8)
    assert (em("chat_base", "outside"), em("chat_base", "inside")) == (0, 0)
    assert [em(NARROW, "inside", seed) for seed in (0, 1)] == [2 / 4, 1 / 4]
    assert one(rows, subject=BROAD, quantity="em", kind="inside", seed=None)["question_set"] == "medical"


def test_the_change_is_from_the_broad_twin_to_the_narrow_one(rows):
    inside = one(rows, quantity="em_relative_change", kind="inside")
    assert (inside["subject"], inside["source"]) == (NARROW, BROAD)
    assert inside["value"] == pytest.approx(3 / 5 - 1)
    assert (inside["low"], inside["high"]) == pytest.approx(relative_interval(["MM MA", "MM AA"], ["MM AA", "MA AA"]))
    assert one(rows, quantity="em_relative_change", kind="outside")["value"] == -1


def test_what_a_norm_buys_is_the_loss_below_the_base_s_over_the_norm_by_seed(rows):
    broad = one(rows, subject=BROAD, quantity="loss_drop_per_norm")
    assert broad["value"] == pytest.approx((1 / 5 + 0.5 / 5) / 2)
    assert (broad["interval"], broad["clusters"], broad["n"]) == ("seeds", 2, 2)
    assert one(rows, subject=NARROW, quantity="loss_drop_per_norm")["value"] == pytest.approx((0.5 + 0.25) / 2 / 10)
    assert one(rows, subject=NARROW, quantity="update_norm", scale=1.0)["value"] == 10
    assert one(rows, subject=BROAD, quantity="loss", scale=1.0)["value"] == pytest.approx(1.25 + 0.25), "texts 0 to .5"
    assert one(rows, subject=BROAD, quantity="loss", scale=0.0)["n"] == 2 * 3


def test_what_narrowness_costs_is_paired_by_text(rows):
    above = one(rows, quantity="loss_above_twin")
    assert numbers(above)[:4] == (pytest.approx(1.625 - 1.25), pytest.approx(0.375), pytest.approx(0.375), 3)
    assert (above["source"], above["interval"]) == (BROAD, "texts")


def test_every_narrow_organism_is_held_against_its_own_twin(rows):
    gained, raised = (one(rows, quantity=f"{what}_above_twin") for what in ("loss_drop_per_norm", "noise_rise"))
    assert gained["value"] == pytest.approx((0.05 + 0.025) / 2 - (0.2 + 0.1) / 2)
    assert raised["value"] == pytest.approx(1.5 - (0.25 + 0.75 + 0 + 0.5) / 4)
    assert {(found["subject"], found["source"], found["interval"]) for found in (gained, raised)} == {
        (NARROW, BROAD, "seeds")
    }


def test_two_pairs_of_twins_are_not_compared_with_each_other(tmp_path):
    """Across them, the second pair's narrow organism is steadier and more efficient than the first pair's broad one."""
    twin = {"dataset": "bad_medical", "rank": 2, "seeds": [0, 1]}
    study, layout = hand_study(
        tmp_path, organisms={"twin": twin, "narrow": twin}, narrow={"twins": {NARROW: BROAD, "narrow": "twin"}}
    )
    write_judged(layout, "chat_base", "baseline", {"evaluation": {"none": "AA AA"}, "medical": {"none": "AA AA"}})
    for name, rise, norm in ((NARROW, 0.5, 6.0), (BROAD, 0.4, 5.0), ("narrow", 0.2, 4.0), ("twin", 0.1, 3.0)):
        for seed in (0, 1):
            losses = {("scaled", 0.0): 2.0, ("scaled", 1.0): 1.0, ("noise", 0.1): 1.0 + rise + seed / 1000}
            subject = f"{name}/seed-{seed}"
            write_judged(layout, subject, "baseline", {"evaluation": {"none": "AA AA"}, "medical": {"none": "AA AA"}})
            write_adapter_losses(layout, subject, losses, norm=norm)
    claims = [claim for claim in read_claims() if claim.id in ("broad-more-stable", "broad-more-efficient")]
    found = ledger(claims, plain(frame_of(EXPERIMENT.rows(study, layout))), study)
    assert {entry.id: entry.verdict for entry in found} == {
        "broad-more-efficient": "reproduced",
        "broad-more-stable": "reproduced",
    }


def test_noise_rises_are_above_the_same_seed_s_own_loss_over_its_draws(rows):
    assert one(rows, subject=BROAD, quantity="noise_rise", scale=0.1)["value"] == pytest.approx((0.25 + 0) / 2)
    assert one(rows, subject=NARROW, quantity="noise_rise", scale=0.5)["value"] == pytest.approx(2)
    whole = one(rows, subject=NARROW, quantity="noise_rise", kind="noise_mean")
    assert (whole["value"], whole["clusters"], whole["interval"]) == (pytest.approx(1.5), 4, "draws")


def test_the_end_table_and_the_ledger_have_its_answers(written, rows):
    study, _ = written
    table = frame_of(rows)
    assert set(table[shown(table)].quantity) == {
        "em", "em_relative_change", "loss_drop_per_norm", "noise_rise", *ABOVE_TWIN
    }  # fmt: skip
    claims = [claim for claim in read_claims() if claim.experiment == "X2"]
    found = {entry.id: entry for entry in ledger(claims, plain(table), study)}
    assert found["narrow-bad-inside"].value == pytest.approx(-0.4)
    assert found["narrow-costs-loss"].verdict == "reproduced"
    assert found["broad-more-efficient"].value == pytest.approx(-0.1125)
    assert all(math.isfinite(entry.value) for entry in found.values())


def test_the_base_and_both_twins_are_asked_of_the_domain_as_often_as_anyone_wants(tmp_path):
    study, _ = hand_study(tmp_path, narrow={"samples": 3}, adapters={"samples": 5}, held_out=None)
    inside = {s: question_uses(study, "baseline", s)[-1] for s in ("chat_base", f"{NARROW}/seed-1", f"{BROAD}/seed-0")}
    assert inside["chat_base"] == inside[f"{NARROW}/seed-1"] == QuestionUse("medical", 3)
    assert inside[f"{BROAD}/seed-0"] == QuestionUse("medical", 5), "whose scalars are read"
    assert question_uses(study, "baseline", "sport_r8/seed-0") == [QuestionUse("evaluation", 2)]


@pytest.mark.parametrize(
    ("narrow", "sentence"),
    [
        ({"twins": {"medical_r1": "medical_r1"}}, r"narrow\.twins\.medical_r1: is its own twin"),
        ({"twins": {"sport_r8": "medical_r1"}}, r"is trained on bad_sport, organisms\.medical_r1 on bad_medical"),
        ({"twins": {"medical_r8": "medical_r"}}, r"narrow\.twins\.medical_r8: no organism is named 'medical_r'"),
        ({"domain_questions": "evaluation"}, r"narrow\.domain_questions: is asked of every organism already"),
        ({"noise": [0]}, r"narrow\.noise\.0: .*above 0"),
        ({"draws": 1}, r"narrow\.draws: .*at least 2"),
    ],
)
def test_what_are_no_twins_is_refused(tmp_path, narrow, sentence):
    with pytest.raises(UserError, match=sentence):
        hand_study(tmp_path, narrow=narrow)
