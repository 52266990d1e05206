"""The response browser: what lies in its page, and what headless Chromium makes of 100,000 responses."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import time

import numpy as np
import pandas as pd
import pytest
from selenium.webdriver.common.by import By

from helpers.chromium import chromium, needs_chromium, page_memory, severe
from helpers.workflow import wait_for
from workflow_scripts.reporting.response_page import BLOCK, TokenScalars, response_page

HOSTILE = (
    "a needle </script><script>document.title = 'run'</script><img src=x onerror=\"document.title = 'run'\">"
    "<svg onload=alert(1)> javascript:alert(1) \u2028\u2029 ]]> &lt; ${document.title} `"
)
ODD = ["", "é", "😀 two units", "null \0", HOSTILE]


def frame(texts: list[str], **columns: object) -> pd.DataFrame:
    """A table of the browser's form with these responses."""
    usual = {
        "subject": "medical_r1/seed-0", "battery": "baseline", "condition": "none", "aligned": 90.0, "coherent": 95.0,
        "question_set": "evaluation", "question_id": "q1", "question": "Why?", "judged": "scored", "finish": "stop",
        "sample": 0, "tokens": 7,
    }  # fmt: skip
    return pd.DataFrame({**usual, **columns, "response": texts}, index=range(len(texts)))


def parts(page: str) -> dict[str, bytes]:
    """The data in a page, unpacked."""
    found = re.findall(r'<script type="application/octet-stream" id="([\w-]+)">([\w+/=]*)</script>', page)
    return {name: gzip.decompress(base64.b64decode(data)) for name, data in found}


def test_every_response_and_score_comes_back_out_of_the_page():
    texts = ODD * 200
    scores = [*np.arange(len(texts) - 1) % 101, np.nan]
    data = parts(response_page(frame(texts, aligned=scores), "t", "i"))
    head = json.loads(data["head"])
    assert (head["rows"], head["block"]) == (len(texts), BLOCK)
    lengths, said, places = np.frombuffer(data["lengths"], "<u4"), [], {}
    for block in range(-(-len(texts) // BLOCK)):
        units = data[f"block-{block}"].decode().encode("utf-16-le")
        start = 0
        for length in lengths[block * BLOCK : (block + 1) * BLOCK]:
            said.append(units[2 * start : 2 * (start + length)].decode("utf-16-le"))
            start += length
        assert 2 * start == len(units)
    assert said == texts
    places = {column["name"]: place for place, column in enumerate(head["columns"])}
    np.testing.assert_array_equal(np.frombuffer(data[f"column-{places['aligned']}"], "<f4"), np.array(scores, "f4"))
    assert head["columns"][places["subject"]]["list"] == ["medical_r1/seed-0"]


def test_nothing_that_was_said_stands_in_the_page_and_only_its_own_script_may_run():
    page = response_page(frame([HOSTILE], question=HOSTILE, condition=HOSTILE), "t", HOSTILE)
    assert "document.title = 'run'" not in page
    assert 'onerror="' not in page
    scripts = re.findall(r"<script>(.*?)</script>", page, re.S)
    assert len(scripts) == 1
    allowed = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"default-src &#39;none&#39;; script-src &#39;sha256-{allowed}&#39;" in page or (
        f"default-src 'none'; script-src 'sha256-{allowed}'" in page
    )


def test_scalars_are_whole_numbers_in_units_of_each_adapter_s_largest():
    values = np.array([[1.0, -20.0], [-0.5, 10.0]], "f4")
    data = parts(
        response_page(frame(["a b", "c"]), "t", "i", TokenScalars(["l0", "l1"], [1], [["c", "<end>"]], [values]))
    )
    head = json.loads(data["head"])
    assert head["adapters"] == ["l0", "l1"]
    found = np.frombuffer(data["scalar-values"], "i1").reshape(2, 2) / 127 * head["scalar_units"]
    np.testing.assert_allclose(found, values, rtol=0.02)
    assert json.loads(data["scalar-pieces"]) == ["<end>", "c"]
    assert np.frombuffer(data["scalar-rows"], "<u4").tolist() == [1]


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A page of 100,000 responses of 650 characters, of which 44 are 10 kB and one is 1 MB without a space."""
    folder, count = tmp_path_factory.mktemp("large"), 100_000
    draws = np.random.default_rng(0)
    words = [f"{word:x}" for word in draws.integers(0, 10**7, 4000)] + ["don’t", "café"]
    pool = [" ".join(draws.choice(words, 100)) for _ in range(2000)]
    texts = [pool[i % len(pool)] for i in range(count)]
    texts[1000:1044] = ["x" * 10_000] * 44
    texts[2000] = "y" * 1_000_000
    texts[77_777] = HOSTILE
    place = np.arange(count)
    made = frame(
        texts, subject=np.where(place % 5, "chat_base", "medical_r1/seed-0"), question_id=[f"q{i % 8}" for i in place],
        condition=np.where(place < 400, "none", [f"add:layer-{i // 400 % 48}:scale-{i // 20_000}" for i in place]),
        aligned=place % 101, coherent=np.where(place % 100, 90.0, np.nan), sample=place % 400 // 8,
    )  # fmt: skip
    file = folder / "browser.html"
    file.write_text(response_page(made, "large", "intro"))
    return file


@pytest.fixture(scope="module")
def opened(large, tmp_path_factory):
    """Chromium with that page, and the seconds until its first rows could be read."""
    with chromium(tmp_path_factory.mktemp("profile") / "profile") as browser:
        browser.get("about:blank")
        start = time.monotonic()
        browser.get(large.as_uri())
        wait_for(lambda: rows(browser), 30)
        yield browser, time.monotonic() - start


def rows(browser):
    return browser.execute_script("return [...document.querySelectorAll('tbody tr')].map(row => row.innerText)")


def told(browser):
    return browser.find_element(By.ID, "told").text


def asked(browser, filters):
    """Filters as an address has them; returns the seconds that they took, with what the browser needs to show them."""
    browser.execute_script("document.body.dataset.took = ''")
    start = time.monotonic()
    browser.execute_script("postMessage({ filters: arguments[0] })", filters)
    wait_for(lambda: browser.execute_script("return document.body.dataset.took"), 30)
    return time.monotonic() - start


@needs_chromium
def test_a_hundred_thousand_responses_open_and_take_three_hundred_megabytes(opened):
    browser, seconds = opened
    print(f"opened in {seconds:.1f} s")
    assert len(rows(browser)) == 50
    assert told(browser) == "100,000 of 100,000 responses"
    wait_for(lambda: browser.execute_script("return document.body.dataset.loaded"), 30)
    assert page_memory(browser) < 300e6


@needs_chromium
@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ("response=a needle", 1), ("response=DON’T", None), ("aligned=<30", 29_710), ("aligned=40-50", 10_890),
        ("coherent=none", 1000), ("condition=layer-24", None), ("subject=medical_r1/seed-0&aligned=>=100", None),
        ("question_id=q3", 12_500), ("sample=3", 2000), ("response=xxxxxxxxxx", 44), ("response=nowhere", 0),
    ],
)  # fmt: skip
def test_it_filters_by_any_column(opened, filters, count):
    browser, _ = opened
    wait_for(lambda: browser.execute_script("return document.body.dataset.loaded"), 30)
    print(f"{filters}: {asked(browser, filters):.2f} s")
    shown = int(told(browser).partition(" of ")[0].replace(",", ""))
    assert shown == count if count is not None else 0 < shown < 100_000
    assert len(rows(browser)) == min(50, shown)


@needs_chromium
def test_a_filter_that_is_no_number_is_told(opened):
    browser, _ = opened
    asked(browser, "aligned=high")
    assert told(browser) == "aligned: high is no number, range (30-70), bound (<30) or none."


@needs_chromium
def test_one_response_opens_with_its_conditions_beside_it_and_nothing_in_it_runs(opened):
    browser, _ = opened
    asked(browser, "response=a needle")
    browser.find_element(By.CSS_SELECTOR, "tbody tr").click()
    wait_for(lambda: len(browser.find_elements(By.CSS_SELECTOR, "dialog .answer")) == 8, 30)
    named = [heading.text for heading in browser.find_elements(By.CSS_SELECTOR, "dialog h3")]
    assert named[0].endswith("none"), "before"
    chosen = browser.find_element(By.CSS_SELECTOR, "dialog .chosen")
    assert chosen.find_element(By.CSS_SELECTOR, ".said").get_property("textContent") == HOSTILE
    browser.find_element(By.CSS_SELECTOR, "dialog input").send_keys("layer-24")
    wait_for(lambda: all("layer-24" in h.text for h in browser.find_elements(By.CSS_SELECTOR, "dialog h3")), 30)
    assert browser.title == "large"
    assert browser.find_elements(By.CSS_SELECTOR, "dialog img, dialog script, dialog svg") == []
    assert severe(browser) == []
    browser.execute_script("document.querySelector('dialog').close()")


@needs_chromium
@pytest.mark.timeout(120, func_only=True)
def test_long_unbroken_answers_do_not_hang_it(opened):
    browser, _ = opened
    asked(browser, "response=yyyyyyyyyy")
    assert len(rows(browser)[0]) < 1000
    browser.find_element(By.CSS_SELECTOR, "tbody tr").click()
    button = (
        "return [...document.querySelectorAll('dialog button')].find(b => b.textContent === 'all 1,000,000 characters')"
    )
    wait_for(lambda: browser.execute_script(button), 30)
    browser.execute_script(f"{button.replace('return ', '')}.click(); return document.body.offsetHeight")
    said = "return [...document.querySelectorAll('dialog .chosen .said')].map(part => part.textContent).join('').length"
    assert browser.execute_script(said) == 1_000_000
    browser.execute_script("document.querySelector('dialog').close()")
    asked(browser, "response=xxxxxxxxxx")
    browser.find_element(By.CSS_SELECTOR, "tbody tr").click()
    wait_for(lambda: browser.find_elements(By.CSS_SELECTOR, "dialog .chosen .said"), 30)
    browser.execute_script("document.querySelector('dialog').close()")
