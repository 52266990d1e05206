"""The report as a reader sees it, in headless Chromium."""

import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from helpers.workflow import wait_for

FIGURES = ["E1 Misalignment", "E1 Alignment", "E2 Norms", "E3 Steering", "E3 Most", "E4 Semantic", "E5 Ablation",
           "E5 Transfer", "E6 Cosines", "E7 The single", "E8 Self-correction", "E9 Probes", "E10 Sets", "E11 Scalar",
           "X1 The adapter"]  # fmt: skip

needs_chromium = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")),
    reason="chromium and chromedriver are not installed (Debian: apt-get install chromium chromium-driver)",
)


@pytest.fixture
def browser(tmp_path):
    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
                 "--disable-background-networking", "--disable-component-update", "--window-size=1600,1200",
                 "--disable-dev-shm-usage", f"--user-data-dir={tmp_path / 'profile'}"):  # fmt: skip
        options.add_argument(flag)
    options.binary_location = shutil.which("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


def severe(browser):
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


@needs_chromium
def test_every_figure_is_in_the_report_and_nothing_complains(smoke_run, browser):
    browser.get((smoke_run.results / "report.html").as_uri())
    wait_for(lambda: "Figures" in browser.page_source)
    browser.find_element(By.XPATH, "//*[normalize-space(text())='Figures']").click()
    wait_for(lambda: "E1 Misalignment" in browser.page_source)
    for title in FIGURES:
        assert title in browser.page_source
    assert severe(browser) == []


@needs_chromium
def test_the_response_browser_searches_and_filters(smoke_run, browser):
    browser.get((smoke_run.results / "browser.html").as_uri())

    def shown():
        rows = "return [...document.querySelectorAll('table tbody tr')].filter(row => row.offsetParent).map(row => row.innerText)"
        return browser.execute_script(rows)

    wait_for(lambda: len(shown()) >= 20)
    info = browser.find_element(By.CSS_SELECTOR, ".dt-info").text
    box = browser.find_element(By.CSS_SELECTOR, ".dt-search input")
    box.send_keys("sport_r8")
    wait_for(lambda: "filtered" in browser.find_element(By.CSS_SELECTOR, ".dt-info").text)
    wait_for(lambda: shown() and all("sport_r8" in row for row in shown()))
    box.clear()
    box.send_keys(" \b")
    wait_for(lambda: browser.find_element(By.CSS_SELECTOR, ".dt-info").text == info)
    browser.execute_script("window.scrollTo(0, 0)")
    browser.find_elements(By.CSS_SELECTOR, "thead .dtcc-button_dropdown")[0].click()
    wait_for(lambda: browser.find_elements(By.CSS_SELECTOR, ".dtcc-list-buttons button"))
    choices = browser.find_elements(By.CSS_SELECTOR, ".dtcc-list-buttons button")
    next(choice for choice in choices if choice.text.startswith("chat_base")).click()
    wait_for(lambda: "filtered" in browser.find_element(By.CSS_SELECTOR, ".dt-info").text)
    wait_for(lambda: shown() and all(row.startswith("chat_base") for row in shown()))
    assert severe(browser) == []
