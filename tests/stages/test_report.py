"""The report of a study written by hand: what stands on it, in which order, and that no text in it is anything but text."""

from __future__ import annotations

import json
import re
from collections import Counter
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

from helpers.tables import CUED, VECTORS, hand_study, laid_over, write_everything, write_responses, write_tables
from workflow_scripts import browser, claims, report, summary
from workflow_scripts.experiments import EXPERIMENTS, asked, figures
from workflow_scripts.experiments.to_read import QUESTIONS, readings
from workflow_scripts.reporting.overview import counts, doubts, leading
from workflow_scripts.study.reading import load

HOSTILE = (
    '</script><script>alert(1)</script><img src=x onerror=alert(1)>" onload="alert(1)\u2028</iframe>{{ 7*7 }}&amp;'
)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    study, layout = hand_study(tmp_path_factory.mktemp("report"), **laid_over(CUED, VECTORS))
    write_everything(study, layout)
    write_responses(study, layout, lambda row: HOSTILE + row.response_key)
    write_tables(study, layout)
    for stage in (summary, claims):
        stage.main(["--study", str(layout.study)])
    for name in figures(study):
        layout.figure(name).parent.mkdir(exist_ok=True)
        layout.figure(name).write_text("<svg/>")
    (layout.root / "browser.html").write_text(f"<p>the browser</p>{HOSTILE}")
    return report.Results(load(layout.study), layout)


class Tags(HTMLParser):
    """Elements of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found, self.text, self.ids = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def page(results):
    return Tags(report.page(results, f"<p>snakemake's</p>{HOSTILE}"))


def test_the_first_page_comes_before_all_and_the_experiments_in_the_paper_s_order(results, page):
    headings = [attributes["id"] for tag, attributes in page.found if tag == "h2"]
    assert headings == [
        "E1", "E2", "E3", "E4", "E5", "E6", "E7", "E9", "E10", "E11",
        "X1", "X2", "X3", "X4", "X5", "X6", "X7", "X8", "X9", "X10", "X11", "X12",
    ]  # fmt: skip
    first = next(place for place, (tag, _) in enumerate(page.found) if tag == "h2")
    shown = [attributes.get("class") for tag, attributes in page.found[:first] if tag == "div"]
    assert "page" in shown
    pictures = [attributes["alt"] for tag, attributes in page.found if tag == "img"]
    titles = [
        f.title for made in asked(results.study).values() for f in made.figures.values() if f.asked(results.study)
    ]
    assert pictures == ["E5 Ablation", *titles], "the main figure, then every figure once"
    assert all(a["src"].startswith("data:image/svg+xml;base64,") for tag, a in page.found if tag == "img")


def test_the_first_page_says_what_was_run_the_verdicts_and_the_numbers_beside_the_paper_s(results, page):
    said = " ".join("".join(page.text).split())
    assert "a positive control" in said
    assert "7 organisms, 2 fine-tuning seeds" in said
    assert "medical_r1 (bad_medical, rank 1, 3 layers, 2 seeds)" in said
    entries = json.loads((results.layout.root / "claims.json").read_text())
    for verdict, count in counts(entries).items():
        assert f"{count} {verdict}" in said or not count
    # E1 em of medical_r1: 5 of 8 in both seeds, the paper's .11
    assert re.search(r"E1 ?medical_r1 ?em ?none ?62\.5 %.*?11\.0 %", said)
    assert "Everything that the study asks for was possible." in said


def test_nothing_that_was_said_is_markup(page):
    assert Counter(tag for tag, _ in page.found)["script"] == 1
    assert not [name for _, attributes in page.found for name in attributes if name.startswith("on")]
    assert HOSTILE in "".join(page.text)
    behind = [attributes["data-page"] for tag, attributes in page.found if tag == "template"]
    assert behind == [f"<p>the browser</p>{HOSTILE}", f"<p>snakemake's</p>{HOSTILE}"]


@pytest.mark.parametrize("made", EXPERIMENTS, ids=[made.table for made in EXPERIMENTS])
def test_responses_to_read_stand_side_by_side_on_the_same_question_and_draw(results, made):
    found = readings(made, results.study, results.layout)
    if found is None:
        assert not [file for file in made.inputs(results.study, results.layout) if "judgements" in file.parts]
        return
    _, chosen = found
    assert 0 < len(chosen) <= QUESTIONS
    for reading in chosen:
        assert len(reading.answers) >= 2
        ends = {answer.response.split(":")[-2:][0] + answer.response.split(":")[-1] for answer in reading.answers}
        assert len(ends) == 1, "question and sample of the key"


def test_of_an_ablation_are_shown_the_answer_before_and_the_conditions_that_change_most(results):
    made = asked(results.study)["ablation"]
    battery, chosen = readings(made, results.study, results.layout)
    assert battery == "ablation"
    first = chosen[0].answers
    assert [answer.condition.partition(":")[0] for answer in first] == ["none", "own", "transferred", "single_layer"]
    assert {answer.subject for answer in first} == {"medical_r1/seed-0"}
    assert (first[0].misaligned, first[1].misaligned) == (True, False), "those first that change sides"


def row(experiment, quantity, value, n, **facts):
    kept = {"seed": None, "subject": "a", "condition": "none"} | facts
    return {"experiment": experiment, "quantity": quantity, "value": value, "n": n, **kept}


def test_unscored_and_refused_shares_are_over_all_responses_of_an_experiment():
    rows = [
        row("E1", "unscored", 0.1, 100), row("E1", "unscored", 0.4, 300, condition="b"),
        row("E1", "refused", 0.0, 100), row("E1", "refused", 0.2, 300, condition="b"),
        row("E1", "unscored", 1.0, 100, seed=0), row("E2", "direction_norm", 3.0, 5),
    ]  # fmt: skip
    [doubt] = doubts(rows)
    assert (doubt.responses, doubt.unscored, doubt.refused, doubt.near) == (400, "32.5 %", "15.0 %", "")
    assert doubt.worst == "40.0 % of a, b"


def test_an_experiment_is_led_by_its_first_effect_with_a_number_of_the_paper_and_later_work_does_not_count():
    def entry(experiment, effect, paper, later=None, verdict="reproduced"):
        return {"experiment": experiment, "effect": effect, "paper": paper, "later": later, "verdict": verdict}

    entries = [
        entry("E10", True, 0.4), entry("E1", False, 0.0), entry("E1", True, None), chosen := entry("E1", True, 0.1),
        entry("E1", True, 0.2, later="someone", verdict="contradicted"),
    ]  # fmt: skip
    assert leading(entries) == [chosen, entries[0]]
    assert counts(entries) == {"reproduced": 4, "undecided": 0, "contradicted": 0}


def test_a_judge_that_is_simulated_or_remote_is_called_that(results):
    from workflow_scripts.reporting.overview import judge_name

    asked_of = SimpleNamespace(judge=SimpleNamespace(model="openai/gpt-4o-2024-08-06"))
    assert judge_name(asked_of) == "openai/gpt-4o-2024-08-06"
    assert judge_name(SimpleNamespace(judge=SimpleNamespace(model=None))) == "the study's own chat base"


def test_the_browser_has_the_same_draws_of_every_condition_and_all_of_few(results):
    study, layout = results.study, results.layout
    frame = browser.collect(study, layout)
    assert list(frame.columns) == [
        "condition", "question_set", "question_id", "sample", "response_key", "question", "response", "tokens", "finish",
        "aligned", "coherent", "bad_stuff", "medical", "power", "subject", "battery", "judged",
    ]  # fmt: skip
    few = study.model_copy(update={"report": study.report.model_copy(update={"browser_rows": 3})})
    kept = browser.collect(few, layout)
    groups = kept[kept.battery != "patching"].groupby(["subject", "battery", "condition", "question_set"])
    assert set(groups.size()) == {3}
    assert {tuple(zip(part.question_id, part["sample"], strict=True)) for _, part in groups} == {
        (("q1", 0), ("q2", 0), ("q3", 0))
    }, "first draws first, of all conditions alike"
    assert (frame.loc[frame.aligned.isna(), "judged"] == "refused").all()
