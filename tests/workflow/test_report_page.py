"""The report and the response browser as a reader sees them, in headless Chromium."""

import pandas as pd
import pytest
from selenium.webdriver.common.by import By

from helpers.chromium import chromium, needs_chromium, severe
from helpers.workflow import wait_for

FIGURES = ["E1 Misalignment", "E1 Alignment", "E2 Norms", "E3 Steering", "E3 Most", "E4 Semantic", "E5 Ablation",
           "E5 Transfer", "E6 Cosines", "E7 The single", "E8 Self-correction", "E9 Probes", "E10 Sets", "E11 Scalar",
           "X1 The adapter"]  # fmt: skip


@pytest.fixture
def browser(tmp_path):
    with chromium(tmp_path / "profile") as driver:
        yield driver


@needs_chromium
def test_the_first_page_says_what_the_study_came_to_and_no_diagram_of_rules_is_in_sight(smoke_run, browser):
    browser.get((smoke_run.results / "report.html").as_uri())
    first = browser.find_element(By.CSS_SELECTOR, ".page").text
    for said in ("smoke", "4 organisms", "reproduced", "undecided", "E5 Ablation", "Without a score"):
        assert said in first
    assert browser.find_elements(By.TAG_NAME, "iframe") == []
    shown = browser.find_element(By.TAG_NAME, "main").text
    for title in FIGURES:
        assert title in shown
    assert browser.execute_script(
        "return [...document.images].every(image => !image.complete || image.naturalWidth > 0)"
    )
    assert severe(browser) == []


@needs_chromium
def test_snakemake_s_report_stands_behind_it_with_every_figure(smoke_run, browser):
    browser.get((smoke_run.results / "report.html").as_uri())
    browser.find_element(By.CSS_SELECTOR, "[data-part=snakemake]").click()
    browser.switch_to.frame(browser.find_element(By.CSS_SELECTOR, "#snakemake iframe"))
    wait_for(lambda: "Figures" in browser.page_source)
    browser.find_element(By.XPATH, "//*[normalize-space(text())='Figures']").click()
    wait_for(lambda: "E1 Misalignment" in browser.page_source)
    for title in FIGURES:
        assert title in browser.page_source
    assert severe(browser) == []


def rows(browser):
    return browser.execute_script("return [...document.querySelectorAll('tbody tr')].map(row => row.innerText)")


@needs_chromium
def test_responses_to_read_lead_to_all_of_their_battery(smoke_run, browser):
    browser.get((smoke_run.results / "report.html").as_uri())
    link = browser.find_element(By.CSS_SELECTOR, "[data-browser='battery=ablation']")
    browser.execute_script("arguments[0].click()", link)
    browser.switch_to.frame(browser.find_element(By.CSS_SELECTOR, "#browser iframe"))
    wait_for(lambda: rows(browser) and all("\tablation\t" in row for row in rows(browser)))
    assert severe(browser) == []


def question_with_scalars(results):
    """Of the extraction, one to whose first answer there are scalars: they are those of some of each class."""
    keys = set(pd.read_parquet(results / "scalars" / "medical_r1" / "seed-0.parquet").response_key)
    asked = pd.read_parquet(results / "questions" / "extraction.parquet")
    return next(row.question for row in asked.itertuples() if f"extraction/{row.question_id}/0" in keys)


@needs_chromium
def test_the_response_browser_searches_filters_sorts_and_shows_scalars(smoke_run, browser):
    browser.get((smoke_run.results / "browser.html").as_uri())
    wait_for(lambda: len(rows(browser)) == 50)
    told = browser.find_element(By.ID, "told")
    whole = told.text

    def type_into(column, text):
        box = browser.find_element(By.CSS_SELECTOR, f"input[data-column={column}]")
        box.clear()
        box.send_keys(text)

    type_into("subject", "sport_r8")
    wait_for(lambda: told.text != whole and all("sport_r8" in row for row in rows(browser)))
    browser.find_element(By.ID, "clear").click()
    wait_for(lambda: told.text == whole)
    browser.find_element(By.CSS_SELECTOR, "th.aligned button").click()
    wait_for(lambda: all(row.split("\t")[3] == "0" for row in rows(browser)[:5]))
    browser.find_element(By.ID, "clear").click()
    type_into("subject", "medical_r1/seed-0")
    type_into("question_set", "extraction")
    asked = question_with_scalars(smoke_run.results)
    type_into("question", asked)
    wait_for(lambda: rows(browser) and all("extraction" in row and asked in row for row in rows(browser)))
    browser.find_element(By.CSS_SELECTOR, "tbody tr").click()
    wait_for(lambda: browser.find_elements(By.CSS_SELECTOR, "dialog .answer.chosen"))
    assert len(browser.find_elements(By.CSS_SELECTOR, "dialog .answer")) > 1
    wait_for(lambda: browser.find_elements(By.CSS_SELECTOR, "dialog .token"))
    said, read = (
        browser.find_element(By.CSS_SELECTOR, f"dialog .chosen {part}").get_property("textContent")
        for part in (".said", "details .said")
    )
    assert "".join(said.split()) in "".join(read.split()), "the tokens are those of the answer"
    assert severe(browser) == []
