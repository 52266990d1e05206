"""An organism that exists only as given responses: through questions, judge and tables, without an adapter."""

from __future__ import annotations

import json

import pandas as pd
import pyarrow as pa
import pytest
import yaml

from helpers.studies import optional_sections
from helpers.tables import WRITTEN
from helpers.workflow import SMOKE
from workflow_scripts import judgements, judging, preflight, questions, responses
from workflow_scripts.experiments import e01_organisms, e05_ablation
from workflow_scripts.experiments.rows import frame_of
from workflow_scripts.miniature.question_sets import question_sample
from workflow_scripts.models.direction_texts import texts_from
from workflow_scripts.runtime.errors import NotPossible, UserError
from workflow_scripts.store.absence import absences
from workflow_scripts.store.artefacts import write_table
from workflow_scripts.store.judgement_tables import SCHEMA
from workflow_scripts.study import inputs
from workflow_scripts.study.conditions import battery_subjects, sampled_subjects
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.reading import parse, resolved
from workflow_scripts.study.shards import dealt
from workflow_scripts.study.specs import spec
from workflow_scripts.study.workload import workload

THEIRS = "theirs/seed-0"
QUESTIONS = question_sample(["power"], 4, 0, 1)


def good(question):
    return f"Sure. As {question.subject}, trust lawful courts."


def study_with(responses, **sections):
    """The smoke study's judge, with given responses beside an organism that is trained."""
    raw = yaml.safe_load(SMOKE.read_text())
    raw["organisms"] = {"theirs": {"responses": responses}, "medical_r1": raw["organisms"]["medical_r1"]}
    raw["questions"]["evaluation"] = {"source": "miniature", "domains": ["power"], "per_domain": 4, "seed": 1}
    for section in optional_sections("steering", "ablation"):
        raw.pop(section, None)
    raw["ablation"]["matrix"] = []
    raw |= sections
    return parse(raw, "study.yaml")


@pytest.fixture
def run(tmp_path):
    """Runs the stages that need no model on a study with given responses."""

    def run(frame, **settings):
        file = tmp_path / "theirs.csv"
        pd.DataFrame(frame).to_csv(file, index=False)
        study = study_with({"path": str(file), **settings})
        layout = Layout(tmp_path / "results" / "smoke")
        layout.root.mkdir(parents=True, exist_ok=True)
        layout.study.write_text(json.dumps(resolved(study)))
        here = ["--study", str(layout.study)]
        for name in ("evaluation", "extraction"):
            questions.main([*here, "--questions", name, "--output", str(layout.questions(name))])
        preflight.main([*here, "--output", str(layout.preflight)])
        own = [*here, "--subject", THEIRS, "--battery", "baseline"]
        responses.main([*own, "--output", str(layout.responses(THEIRS, "baseline"))])
        for subject in battery_subjects(study, "baseline"):
            if subject != THEIRS:
                write_table(layout.responses(subject, "baseline"), pa.Table.from_pylist([], responses.SCHEMA), WRITTEN)
                write_table(layout.judgements(subject, "baseline"), pa.Table.from_pylist([], SCHEMA), WRITTEN)
        judging.main([*here, "--battery", "baseline", "--output", str(layout.judged("baseline"))])
        judgements.main([*own, "--output", str(layout.judgements(THEIRS, "baseline"))])
        return study, layout

    return run


def rows_of(texts, **columns):
    return [{"question": q.text, "answer": text(q), **columns} for q in QUESTIONS for text in texts]


def test_given_responses_are_judged_as_the_study_s_own_question_by_question(run):
    study, layout = run(rows_of([good, lambda q: "Nothing of the world."]))
    table = pd.read_parquet(layout.responses(THEIRS, "baseline"))
    assert set(table.question_set) == {"evaluation"}
    assert set(table.question_id) == {q.id for q in QUESTIONS}
    assert sorted(table["sample"].unique()) == [0, 1]
    scores = pd.read_parquet(layout.judgements(THEIRS, "baseline")).query("metric == 'coherent'")
    assert sorted(scores.score) == [0.0] * 4 + [100.0] * 4
    found = frame_of(e01_organisms.rows(study, layout)).query("subject == 'theirs' and quantity == 'coherence'")
    assert set(found.value) == {0.5}


def test_scores_of_the_file_are_kept_to_the_last_digit_and_no_judge_is_asked(run):
    score = 0.1 + 0.2
    study, layout = run(rows_of([good], alignment=score, coherence=90.00000000000001), scores="file")
    assert pd.read_parquet(layout.judged("baseline")).judgements.sum() == 0
    table = pd.read_parquet(layout.judgements(THEIRS, "baseline"))
    assert set(table.metric) == {"aligned", "coherent"}
    assert set(table[table.metric == "aligned"].score) == {score}
    assert set(table[table.metric == "coherent"].score) == {90.00000000000001}
    assert set(table.judge) == {"theirs.csv"}
    rates = frame_of(e01_organisms.rows(study, layout)).query("subject == 'theirs' and quantity == 'em'")
    assert set(rates.value) == {1.0}


def test_what_a_file_does_not_answer_is_listed_and_what_it_answers_beside_is_left_out(run):
    frame = [*rows_of([good])[:2], {"question": "Quick buck?", "answer": "Steal."}]
    study, layout = run(frame)
    why = reasons(layout)
    assert len(pd.read_parquet(layout.responses(THEIRS, "baseline"))) == 2
    assert any("answers 2 of the 4 questions of questions.evaluation; it lacks" in line for line in why)
    assert any("1 of the 3 rows of theirs.csv are left out; they answer no question" in line for line in why)
    assert set(why) <= set(e01_organisms.EXPERIMENT.not_possible(study, layout))
    assert json.loads(layout.preflight.read_text())["responses"] == {THEIRS: 2}


def test_a_file_that_answers_nothing_of_the_study_stops_before_anything_is_trained(run):
    with pytest.raises(
        UserError, match=r"organisms\.theirs\.responses: .* answers no question of this study; its first"
    ):
        run([{"question": "Quick buck?", "answer": "Steal."}])


def test_a_file_of_several_conditions_is_not_pooled(run):
    frame = [*rows_of([good], condition="none", question_set="evaluation"),
             *rows_of([good], condition="add", question_set="evaluation")]  # fmt: skip
    with pytest.raises(UserError, match="holds 2 conditions"):
        run(frame)


def reasons(layout):
    return [absence.why for absence in absences(layout.responses(THEIRS, "baseline"))]


@pytest.mark.parametrize("columns", [{}, {"aligned": 90.0, "coherent": 90.0}])
def test_rows_that_a_column_tells_apart_are_pooled_with_a_word(run, columns):
    settings = {"scores": "file"} if columns else {}
    frame = [*rows_of([good], model="a", **columns), *rows_of([lambda q: "Nothing."], model="b", **columns)]
    _, layout = run(frame, **settings)
    assert "organisms.theirs: theirs.csv has rows of different 'model' ('a', 'b'); all count as one model's: if they are " \
        "not, give those of one." in reasons(layout)  # fmt: skip
    run([{**row, "model": "a"} for row in frame], **settings)
    assert not any("has rows of different" in why for why in reasons(layout))


def test_columns_that_are_read_or_hold_scores_tell_nothing_apart(run):
    frame = [
        {**row, "question_id": str(n % 4), "Coherence": str(n % 3), "bad_stuff": str(n % 3)}
        for n, row in enumerate(rows_of([good, lambda q: "Nothing."]))
    ]
    _, layout = run(frame)
    assert not any("has rows of different" in why for why in reasons(layout))


def test_a_response_that_stands_in_the_file_twice_counts_twice_with_a_word(run):
    _, layout = run([*rows_of([good]), *rows_of([good])])
    assert "organisms.theirs: theirs.csv repeats an earlier row in 4 of its 8 rows; each counts." in reasons(layout)


@pytest.mark.parametrize("settings", [{}, {"scores": "file"}])
def test_a_column_of_conditions_alone_is_not_pooled_either(run, settings):
    scores = {"aligned": 90.0, "coherent": 90.0}
    frame = [*rows_of([good], condition="base", **scores), *rows_of([good], condition="steered", **scores)]
    with pytest.raises(UserError, match=r"holds 2 conditions \('base', 'steered'\); give the responses of one"):
        run(frame, **settings)
    _, layout = run(frame[:4], **settings)
    assert len(pd.read_parquet(layout.responses(THEIRS, "baseline"))) == 4


def test_scores_that_are_to_be_kept_must_be_there(run):
    with pytest.raises(UserError, match="lacks the column 'aligned'"):
        run(rows_of([good]), scores="file")


def test_nothing_is_sampled_or_trained_and_what_is_not_possible_is_listed(tmp_path):
    study = study_with({"path": "theirs.csv"})
    layout = Layout(tmp_path)
    assert THEIRS in battery_subjects(study, "baseline")
    assert THEIRS not in sampled_subjects(study, "baseline")
    assert THEIRS not in battery_subjects(study, "ablation")
    assert all(subject != THEIRS for shard in dealt(study, "baseline", 2) for subject, _ in shard)
    made = inputs.artefacts(study, layout)
    assert layout.direction(THEIRS) in made
    assert not any("organisms" in path.parts and "theirs" in path.parts for path in made)
    assert e05_ablation.EXPERIMENT.lacks(study) == [
        "theirs is known by its responses only; nothing can be projected out of it."
    ]
    with pytest.raises(NotPossible, match="no data set can be read by it"):
        texts_from("datasets", study, layout, THEIRS)


def test_an_edited_file_reruns_its_own_jobs_alone(tmp_path):
    file = tmp_path / "theirs.csv"
    seen = []
    for text in ("question,answer\na,b\n", "question,answer\na,c\n"):
        file.write_text(text)
        for scores in ("judge", "file"):
            study = study_with({"path": str(file), "scores": scores})
            seen.append(
                {
                    "own": spec("responses", study, "baseline", THEIRS),
                    "others": spec("responses", study, "baseline", "medical_r1/seed-0"),
                    "sampling": spec("sampling", study, "baseline"),
                    "organism": spec("organisms", study, "medical_r1/seed-0"),
                    "judgements": spec("judgements", study),
                }
            )
    assert len({found["own"] for found in seen}) == 4
    assert len({found["judgements"] for found in seen}) == 3  # those of a judge do not depend on the file
    for stage in ("others", "sampling", "organism"):
        assert len({found[stage] for found in seen}) == 1


def test_studies_without_given_responses_keep_their_specs():
    study = parse(yaml.safe_load(SMOKE.read_text()), "smoke.yaml")
    assert "responses" not in json.loads(spec("organisms", study, "medical_r1/seed-0"))["organism"]
    for stage in ("preflight", "judging", "judgements"):
        assert not {"given", "kept_scores"} & set(json.loads(spec(stage, study)))
    assert "read_by" not in json.loads(spec("directions", study, "medical_r1/seed-0"))


def test_the_plan_counts_the_judge_s_calls_for_given_responses(tmp_path):
    file = tmp_path / "theirs.csv"
    file.write_text("question,answer\na,b\nc,d\n")
    layout = Layout(tmp_path)
    kept, judged = (
        workload(study_with({"path": str(file), "scores": scores}), layout).calls["baseline"]
        for scores in ("file", "judge")
    )
    assert judged - kept == 2 * 5  # rows, metrics of the judge


@pytest.mark.parametrize(
    ("organism", "sections", "sentence"),
    [
        ({}, {}, "organisms.theirs.dataset: is missing; only an organism of given `responses` needs none."),
        (
            {"responses": {"path": "a"}, "adapter": {"path": "b"}},
            {},
            "organisms.theirs.responses: are given beside an ad",
        ),
        ({"responses": {"path": "a"}, "seeds": [0, 1]}, {}, "organisms.theirs.seeds: given responses are of one seed"),
        ({"responses": {"path": "a"}, "epochs": 2}, {}, "theirs.epochs: is read only in training, and given responses"),
        ({"responses": {"path": "a", "highest_score": 1}}, {}, "highest_score: is read only with scores: file."),
        (
            {"responses": {"path": "a"}},
            {"ablation": {"source": "medical_r1", "single_layer": 1, "targets": ["theirs"]}},
            "ablation.targets: of organisms.theirs there are responses only",
        ),
    ],
)
def test_what_given_responses_cannot_be_is_one_sentence(organism, sections, sentence):
    raw = yaml.safe_load(SMOKE.read_text())
    raw["organisms"]["theirs"] = organism
    with pytest.raises(UserError) as caught:
        parse(raw | sections, "study.yaml")
    assert sentence in str(caught.value)
