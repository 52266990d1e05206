"""A short version of what docs/statistics.md tables, and that its tables are those of coverage.py."""

import pytest

from helpers import coverage


@pytest.mark.parametrize(("questions", "answers"), [(8, 50), (16, 50), (48, 20)])
@pytest.mark.parametrize("mean", [0.02, 0.21])
def test_both_intervals_of_a_share_hold_the_truth(questions, answers, mean):
    found = coverage.coverage_of_shares(questions, answers, mean, runs=100)
    assert found["questions"].held >= 90
    assert found["fixed"].held >= 88
    assert found["fixed"].width < found["questions"].width


def test_intervals_of_changes_hold_the_truth_and_see_a_nearly_complete_one():
    found = coverage.coverage_of_changes(8, 150, 0.02, runs=60)
    assert min(tally.held for tally in found.values()) >= 0.88 * 60
    assert found["relative"].width / found["relative"].runs < 0.2, "of a change of -98 %"


def test_seeds_that_differ_are_allowed_for():
    alike, apart = (coverage.coverage_of_seeds(3, spread, runs=60) for spread in (0.0, 0.5))
    assert apart["fixed"].held >= 0.8 * 60
    assert apart["fixed"].width > 1.3 * alike["fixed"].width


def test_no_bound_falls_where_the_old_ones_did():
    falls = coverage.falls(8, 50, runs=60)
    assert falls["questions"] == falls["fixed"] == (0, 0)
    assert falls["t"][0] > 0


def test_the_document_has_the_tables_that_the_script_makes():
    text = coverage.DOCUMENT.read_text()
    for name, header in (
        ("shares", "true share"),
        ("changes", "true change"),
        ("seeds", "spread"),
        ("falls", "before"),
    ):
        made = text.partition(f"<!-- {name} -->")[2].partition("<!-- end -->")[0]
        assert header in made
        assert made.count("\n|") > 4
