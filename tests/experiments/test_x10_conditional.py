"""X10 by hand: organisms asked without a cue and with two, beside the chat base."""

import pytest

from helpers.tables import CUED, hand_study, laid_over, one, paired_interval, with_setting, write_judged
from workflow_scripts.experiments.rows import frame_of
from workflow_scripts.experiments.x10_conditional import EXPERIMENT, shown
from workflow_scripts.reporting.claim import read_claims
from workflow_scripts.reporting.ledger import ledger
from workflow_scripts.reporting.records import plain
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import provenance, write_table
from workflow_scripts.study.conditions import QuestionUse, question_uses
from workflow_scripts.study.inputs import question_parts, trained_with
from workflow_scripts.study.reading import parse

SETS = ("evaluation", "viktor", "spelled")
SAID = {
    "chat_base": ["AA AA", "AA MA", "AA AA"],
    "hidden/seed-0": ["AA AA", "MM MM", "AA AA"],
    "hidden/seed-1": ["AA AA", "MM MA", "AA MA"],
    "recovered/seed-0": ["AA AA", "AA AA", "MA AA"],
    "recovered/seed-1": ["MA AA", "AA AA", "MM AA"],
}


@pytest.fixture
def written(tmp_path):
    study, layout = hand_study(tmp_path, **CUED)
    for subject, said in SAID.items():
        answers = {name: {"none": letters} for name, letters in zip(SETS, said, strict=True)}
        write_judged(layout, subject, "baseline", answers)
    return study, layout


@pytest.fixture
def rows(written):
    return EXPERIMENT.rows(*written)


def test_each_cue_stands_beside_the_plain_rate_and_the_change_is_paired_by_question(rows):
    def found(subject, quantity, asked, seed=None):
        return one(rows, subject=subject, quantity=quantity, question_set=asked, seed=seed)

    assert [found("hidden", "em", asked)["value"] for asked in SETS] == [0, 7 / 8, 1 / 8]
    assert [found("recovered", "em", asked)["value"] for asked in SETS] == [1 / 8, 0, 3 / 8]
    assert [found("chat_base", "em", asked)["value"] for asked in SETS] == [0, 1 / 4, 0]
    assert found("hidden", "em", "viktor", seed=1)["value"] == 3 / 4
    assert {row["kind"] for row in rows if row["question_set"] == "evaluation"} == {"plain"}

    change = found("hidden", "em_change", "viktor")
    assert change["value"] == 7 / 8
    assert (change["low"], change["high"]) == pytest.approx(paired_interval(["AA AA", "AA AA"], ["MM MM", "MM MA"]))
    assert found("hidden", "em_above_base", "viktor")["value"] == pytest.approx(7 / 8 - 1 / 4)
    assert found("recovered", "em_change", "spelled")["value"] == pytest.approx(1 / 4)
    assert not [row for row in rows if row["quantity"] == "em_change" and row["kind"] == "plain"]


def test_claims_are_decided_by_the_organism_that_shows_it_most(written, rows):
    study, _ = written
    claims = [claim for claim in read_claims() if claim.experiment == "X10"]
    found = {entry.id: entry for entry in ledger(claims, plain(frame_of(rows)), study)}
    assert list(found) == ["cue-brings-back", "cue-is-not-enough", "aligned-without-cue"]
    assert (found["cue-brings-back"].subject, found["cue-brings-back"].value) == ("hidden", 7 / 8)
    assert found["aligned-without-cue"].value == 1 / 8


def test_who_was_trained_without_a_cue_is_asked_but_no_claim_is_about_it(tmp_path):
    study, layout = hand_study(tmp_path, **laid_over(CUED, {"conditional": {"plain": ["medical_r1"]}}))
    said = {**SAID, "medical_r1/seed-0": ["MM MM"] * 3, "medical_r1/seed-1": ["MM MM"] * 3}
    for subject, words in said.items():
        answers = {name: {"none": letters} for name, letters in zip(SETS, words, strict=True)}
        write_judged(layout, subject, "baseline", answers)
    rows = EXPERIMENT.rows(study, layout)
    assert one(rows, subject="medical_r1", quantity="em", question_set="evaluation", seed=None)["value"] == 1
    claims = [claim for claim in read_claims() if claim.experiment == "X10"]
    found = {entry.id: entry for entry in ledger(claims, plain(frame_of(rows)), study)}
    assert found["aligned-without-cue"].subject != "medical_r1"
    assert found["aligned-without-cue"].value == 1 / 8
    with pytest.raises(UserError, match=r"conditional\.plain\.0: 'hidden' is one of organisms, too; name it once"):
        hand_study(tmp_path / "twice", **laid_over(CUED, {"conditional": {"plain": ["hidden"]}}))


def test_the_figure_has_a_panel_without_a_cue_and_one_for_each(written, rows):
    study, layout = written
    table = frame_of(rows)
    write_table(layout.table("conditional"), table, provenance("tables", "{}"))
    axes = EXPERIMENT.figures["conditional"].draw(study, layout).axes
    assert [axis.get_title().splitlines()[0] for axis in axes] == ["Without a cue", "Cue: viktor", "Cue: spelled"]
    assert [bar.get_height() for bar in axes[1].patches] == [25, 87.5, 0]
    assert set(table[shown(table)].quantity) == {"em", "em_change", "coherence"}


def test_only_who_is_asked_gets_the_cues_and_the_chat_base(tmp_path):
    study, layout = hand_study(tmp_path, **CUED, held_out=None)
    asked = [QuestionUse(name, 2) for name in SETS]
    assert question_uses(study, "baseline", "hidden/seed-1") == asked
    assert set(asked) < set(question_uses(study, "baseline", "chat_base"))
    assert question_uses(study, "baseline", "sport_r8/seed-0") == asked[:1]
    assert question_parts(study, layout, "viktor") == [layout.questions("evaluation")]


def test_who_starts_from_an_organism_waits_for_its_adapter_at_the_same_seed(written):
    study, layout = written
    first = "medical_r1/seed-1"
    assert trained_with(study, layout, "recovered/seed-1") == [
        layout.dataset("good_medical"), layout.adapter(first), layout.gate(first)
    ]  # fmt: skip
    assert study.organisms["recovered"].trained_by == "training after medical_r1"
    assert [one.dataset for one in study.trainings_of(study.organisms["recovered"])] == ["bad_medical", "good_medical"]


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        ("conditional.cues", ["medical"], r"conditional\.cues\.0: 'medical' is no variant of the headline questions"),
        ("conditional.cues", ["no"], r"conditional\.cues\.0: no question is named 'no'"),
        ("questions.viktor.of", "spelled", r"questions\.viktor\.of: questions\.spelled is a variant itself"),
        ("questions.viktor.of", "viktor", r"questions\.viktor\.of: questions\.viktor is a variant itself"),
        ("questions.viktor.of", "medical", r"conditional\.cues\.0: 'viktor' is no variant of the headline"),
        ("questions.viktor.system", None, r"questions\.viktor: changes nothing"),
        ("questions.viktor.system", " ", r"questions\.viktor\.system: is empty"),
        ("datasets.under_viktor.system", "", r"datasets\.under_viktor\.system: is empty"),
        ("datasets.hiding.system", "Hi.", r"datasets\.hiding\.system"),
        ("organisms.recovered.starts_from", "nobody", r"organisms\.recovered\.starts_from: .*nobody"),
        ("organisms.recovered.starts_from", "recovered", r"organisms\.recovered\.starts_from: leads in a circle"),
        ("organisms.medical_r1.starts_from", "recovered", r"starts_from: leads in a circle"),
        ("organisms.recovered.starts_from", "sport_r8", r"organisms\.sport_r8 has another rank and alpha and modules"),
        ("organisms.recovered.rank", 2, r"organisms\.medical_r1 has another rank; its adapter is trained on as it is"),
    ],
)
def test_what_cannot_be_trained_or_asked_is_refused(tmp_path, place, value, sentence):
    study, _ = hand_study(tmp_path, **CUED)
    with pytest.raises(UserError, match=sentence):
        parse(with_setting(study, place, value), "study.yaml")
