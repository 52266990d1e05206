"""A panel of judges over a study written by hand (helpers.tables): the ledger by each, and a judge's calibration."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from helpers.studies import optional_sections
from helpers.tables import hand_study, write_everything, write_judgements, write_tables
from workflow_scripts import calibration, claims, judgements, panel, preflight, summary
from workflow_scripts.estimation.calibration import Map
from workflow_scripts.experiments import x03_judges, x04_calibrated
from workflow_scripts.experiments.rows import NOT_POSSIBLE, frame_of
from workflow_scripts.judges.identity import identify
from workflow_scripts.judges.imported import judgement_rows
from workflow_scripts.runtime.errors import NotPossible, UserError
from workflow_scripts.store.absence import absent
from workflow_scripts.store.artefacts import provenance, read_frame, write_table
from workflow_scripts.store.judgement_tables import SCHEMA
from workflow_scripts.study import inputs, reading, specs
from workflow_scripts.study.panel import read_batteries, read_by

OFF = dict.fromkeys(optional_sections("misalign_at", "calibration", "texts", "held_out"))
WRITTEN = provenance("tables", "{}", **{NOT_POSSIBLE: []})


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A study whose second judge reads the baseline only, its ledger, and panel.json."""
    only = {"aligned": ["baseline"], "coherent": ["baseline"]}
    second = {"second": {"source": "miniature", "only": only}}
    off = dict.fromkeys(("adapters", "single_adapter", "training_path", "dynamics"))
    study, layout = hand_study(tmp_path_factory.mktemp("panel"), **off, judges=second)
    write_everything(study, layout)
    for name, table in write_tables(study, layout).items():
        write_table(layout.table(name), table, WRITTEN)
    for stage in (summary, claims, panel):
        stage.main(["--study", str(layout.study)])
    return study, layout, json.loads(layout.panel.read_text())


def test_every_claim_has_the_verdicts_of_the_judges_that_can_decide_it(both):
    _, layout, rows = both
    first = {entry["id"]: entry for entry in json.loads((layout.root / "claims.json").read_text())}
    assert [row["id"] for row in rows] == list(first)
    for row in rows:
        if "primary" in row["judges"]:
            assert row["judges"]["primary"]["verdict"] == first[row["id"]]["verdict"]
    by_experiment = {row["experiment"]: set(row["judges"]) for row in rows if row["judges"]}
    assert by_experiment["E1"] == by_experiment["E2"] == {"primary", "second"}
    assert by_experiment["E5"] == {"primary"}, "the second has not read the ablation"


def test_the_second_judge_decides_by_its_own_scores(both):
    _, _, rows = both
    (claim,) = (row for row in rows if row["id"] == "em-many-rank-1")
    values = {name: shown["value"] for name, shown in claim["judges"].items()}
    assert values == {"primary": 5 / 8, "second": 2 / 8}  # MM MA MA MA; the second takes each MA for AA
    told = next(row for row in rows if row["judges"].get("second") and row["experiment"] == "E1")
    assert set(told["judges"]["second"]) == {"verdict", "value", "low", "high", "n"}


def test_the_text_counts_and_lists_what_depends_on_the_judge(both):
    _, layout, rows = both
    said = layout.panel.with_suffix(".txt").read_text()
    differing = [row["id"] for row in rows if row["differs"]]
    compared = [row for row in rows if len(row["judges"]) == 2]
    assert f"{len(differing)} of {len(compared)} verdicts depend on who judges (primary, second)." in said
    assert all(name in said for name in differing)
    assert layout.panel.with_suffix(".html").is_file()


def test_a_judge_that_reads_some_batteries_only_is_asked_for_no_others(tmp_path):
    only = {"aligned": ["baseline", "ablation"], "coherent": ["baseline", "ablation"]}
    study, layout = hand_study(tmp_path, judges={"second": {"source": "miniature", "only": only}})
    assert read_batteries(read_by(study, "second")) == ["baseline", "ablation"]
    named = {path.stem for path in inputs.judged_by_others(study, layout)}
    assert named == {"baseline", "ablation"}


def test_a_second_judge_leaves_the_specs_of_the_first_alone(tmp_path):
    alone, _ = hand_study(tmp_path, judges=None, calibration=None)
    study, _ = hand_study(tmp_path)
    for stage in ("judging", "judgements", "claims", "summary"):
        assert specs.spec(stage, alone) == specs.spec(stage, study)
    assert specs.spec("judging", read_by(study, "second")) != specs.spec("judging", study)


def test_the_first_judge_may_stand_among_the_judges(tmp_path):
    study, _ = hand_study(tmp_path)
    raw = reading.resolved(study)
    raw["judges"]["primary"] = raw.pop("judge")
    assert reading.parse(raw, "x") == study
    raw["judges"]["primary"]["metrics"] = ["aligned"]
    with pytest.raises(UserError, match=r"x: judges\.primary\.metrics: lacks 'coherent'"):
        reading.parse(raw, "x")
    raw["judge"] = raw["judges"]["second"]
    with pytest.raises(UserError, match=r"judges\.primary: stands beside judge"):
        reading.parse(raw, "x")


def test_a_judge_that_is_not_of_the_panel_is_named(tmp_path):
    _, layout = hand_study(tmp_path)
    given = ["--study", str(layout.study), "--subject", "chat_base", "--battery", "baseline"]
    with pytest.raises(UserError, match="no judge is named 'secund'; did you mean 'second'"):
        judgements.main([*given, "--judge", "secund", "--output", str(tmp_path / "x")])


def scored_by_both(folder, judge, noise=0.0):
    """Files of the same responses as `judge`, 30 points milder than the reference, and the reference scored them."""
    rng, rows = np.random.default_rng(0), []
    for model in range(4):
        for question in range(1, 5):
            bad = rng.random(20) < 0.15 * model
            for place, is_bad in enumerate(bad):
                rows.append((f"m{model}", f"q{question}", f"{model} {question} {place}", 10.0 if is_bad else 80.0))
    frame = pd.DataFrame(rows, columns=["condition", "question_id", "response", "aligned"])
    frame = frame.assign(question=frame.question_id, coherent=90.0)
    reference = folder / "reference.csv"
    frame.to_csv(reference, index=False)
    mild = (frame.aligned + 30 + rng.normal(0, 5, len(frame))).clip(0, 100)
    mine = frame.assign(
        question_set="imported", aligned=np.where(rng.random(len(frame)) < noise, 100 * rng.random(len(frame)), mild)
    )
    scores = mine[["aligned", "coherent"]]
    statuses = pd.DataFrame("scored", index=scores.index, columns=scores.columns)
    judged = folder / "judged.parquet"
    write_table(judged, pd.DataFrame(judgement_rows(mine, scores, statuses, judge)), provenance("judgements", "{}"))
    return {"judged": {"path": str(judged)}, "reference": {"path": str(reference)}}


def write_scores(place, subject, aligned, coherent):
    """A baseline of scores [question, sample], the same responses by whichever judge `place` is of."""
    rows = [
        {
            "response_key": f"{subject}:{question}:{sample}",
            "condition": "none",
            "question_set": "evaluation",
            "question_id": f"q{question}",
            "sample": sample,
            "metric": metric,
            "score": float(scores[question, sample]),
            "status": "scored",
        }
        for metric, scores in (("aligned", aligned), ("coherent", coherent))
        for question, sample in np.ndindex(scores.shape)
    ]
    write_table(
        place.judgements(subject, "baseline"), pa.Table.from_pylist(rows, SCHEMA), provenance("judgements", "{}")
    )


SUBJECTS = {
    "chat_base": 0.02,
    "medical_r1/seed-0": 0.4,
    "medical_r1/seed-1": 0.3,
    "sport_r8/seed-0": 0.2,
    "good_r1/seed-0": 0.05,
}
"""Who answers, and how much of it is misaligned."""


def drawn(rate, rng, questions=8, samples=25):
    """Scores [question, sample] of a judge that is right, and of one that is 30 points milder and 5 vague."""
    rates = np.clip(rate + rng.normal(0, 0.1, (questions, 1)), 0, 1)
    right = np.where(rng.random((questions, samples)) < rates, 10.0, 80.0) + rng.normal(0, 4, (questions, samples))
    return right, np.clip(right + 30 + rng.normal(0, 5, right.shape), 0, 100)


@pytest.fixture
def of_two_judges(tmp_path):
    """A study whose first judge is biased, or says nothing, and whose second is right; the calibration by the second."""

    def make(noise=False):
        settings = {"reference": "second", "judged": None, "bases": []}
        study, layout = hand_study(tmp_path, **OFF, calibration=settings)
        organisms = {name: study.organisms[name] for name in ("medical_r1", "sport_r8", "good_r1")}
        organisms["sport_r8"] = organisms["sport_r8"].model_copy(update={"seeds": [0]})
        study = study.model_copy(update={"organisms": organisms})
        layout.study.write_text(study.model_dump_json())
        rng = np.random.default_rng(0)
        for subject, rate in SUBJECTS.items():
            right, mild = drawn(rate, rng)
            aligned = 100 * rng.random(mild.shape) if noise else mild
            for place, scores in ((layout, aligned), (layout.read_by("second"), right)):
                write_scores(place, subject, scores, np.full(scores.shape, 90.0))
        calibration.main(["--study", str(layout.study), "--output", str(layout.calibration)])
        return study, layout

    return make


def test_the_panel_shows_a_judges_bias_and_calibration_takes_it_out_on_questions_it_has_not_seen(of_two_judges):
    study, layout = of_two_judges()
    told = (
        frame_of(x03_judges.rows(study, layout)).query("subject == 'all' and source == 'second'").set_index("quantity")
    )
    bias = told.loc["mean_difference_aligned"]
    assert bias.low < bias.value < bias.high < -20, "30 points, less where a score of 100 caps it"
    assert told.loc["em_rate_difference_em"].fixed_low > 0.1
    rows = frame_of(x04_calibrated.rows(study, layout)).set_index(["subject", "seed", "quantity"])
    for subject in ("chat_base", "medical_r1", "sport_r8"):
        calibrated = rows.loc[(subject, pd.NA, "em_calibrated_above_control")]
        assert calibrated.low < rows.loc[(subject, pd.NA, "em_above_control")].value < calibrated.high
    found = read_frame(layout.calibration).iloc[0]
    assert (found.responses, found.questions, found.models) == (1000, 8, 4)
    assert found.error_of_models < 0.05 < found.error_of_own
    map_, rng = Map(found.intercept, found.aligned, found.coherent), np.random.default_rng(1)
    for rate in SUBJECTS.values():
        right, mild = drawn(rate, rng)  # of other questions
        rates = [map_.chances(mild.ravel(), np.full(mild.size, 90.0)).mean(), np.mean(right < 30)]
        assert abs(rates[0] - rates[1]) < found.error_of_models


def test_a_judge_of_the_panel_that_says_nothing_is_refused(of_two_judges):
    study, layout = of_two_judges(noise=True)
    assert "does not help: on other questions of other models" in absent(layout.calibration)
    assert x04_calibrated.rows(study, layout) == []


def test_a_reference_is_another_judge_of_the_panel_or_a_file_with_the_judges_own_scores(tmp_path):
    for settings, sentence in (
        ({"reference": "primary", "judged": None, "bases": []}, r"reference: 'primary' is the judge whose scores"),
        ({"reference": "third", "judged": None, "bases": []}, r"reference: no judge is named 'third'"),
        ({"reference": "second", "bases": []}, r"judged: is read only beside a reference's file"),
        ({"judged": None}, r"judged: is needed beside a reference's file"),
    ):
        with pytest.raises(UserError, match=rf"calibration\.{sentence}"):
            hand_study(tmp_path, calibration=settings)


@pytest.fixture
def calibrated(tmp_path):
    """Makes the study's calibration from files of both judges; returns the study's layout."""

    def make(said="AA AA AA AA", judge=None, noise=0.0, **settings):
        study, layout = hand_study(tmp_path, **OFF)
        files = scored_by_both(tmp_path, judge or identify(study, layout).name, noise)
        study, layout = hand_study(tmp_path, **OFF, calibration={**files, **settings})
        preflight.main(["--study", str(layout.study), "--output", str(layout.preflight)])
        assert json.loads(layout.preflight.read_text())["calibrated_on"] == 320
        write_judgements(layout, "chat_base", "baseline", {"none": said})
        calibration.main(["--study", str(layout.study), "--output", str(layout.calibration)])
        return layout

    return make


def test_a_milder_judge_is_calibrated_with_its_error(calibrated):
    found = read_frame(calibrated().calibration).iloc[0]
    assert found.error_of_models < 0.02 < 0.3 < found.error_of_own
    assert (found.responses, found.questions, found.models) == (320, 4, 4)
    assert found.aligned < 0


def test_noise_an_incoherent_base_and_other_questions_are_refused(calibrated):
    assert "does not help: on other questions of other models" in absent(calibrated(noise=1.0).calibration)
    assert "50.0% of the chat base's 8 scored responses are coherent" in absent(calibrated("AX AX AX AX").calibration)
    assert "('q5' is not among them)" in absent(calibrated("AA AA AA AA AA").calibration)


def test_another_judges_scores_and_another_base_are_refused(calibrated, tmp_path):
    with pytest.raises(UserError, match="was scored by openai/other, and the study's judge is miniature"):
        calibrated(judge="openai/other")
    with pytest.raises(UserError, match=r"calibration\.bases: lack miniature, this study's"):
        hand_study(tmp_path, calibration={"bases": ["Qwen/Qwen2.5-14B-Instruct"]})
    with pytest.raises(UserError, match=r"calibration\.control: 'medical_r1' is expected to be misaligned"):
        hand_study(tmp_path, calibration={"control": "medical_r1"})
    with pytest.raises(UserError, match=r"calibration\.judge: no judge is named 'third'"):
        hand_study(tmp_path, calibration={"judge": "third"})


def test_a_file_without_models_is_named(calibrated):
    with pytest.raises(UserError, match="has no column 'family'"):
        calibrated(models="family")
    assert issubclass(NotPossible, UserError)
