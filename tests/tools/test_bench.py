"""Where a study's time went, from the benchmark files and logs of its jobs."""

from __future__ import annotations

import json

from workflow_scripts.study.layout import Layout
from workflow_scripts.tools.bench import workflow_times


def write_job(layout: Layout, place: str, seconds: float, log: str) -> None:
    for folder, ending, text in (("benchmarks", "jsonl", json.dumps({"s": seconds})), ("logs", "log", log)):
        file = layout.root / folder / f"{place}.{ending}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")


def test_shares_are_of_the_seconds_that_the_logs_tell(tmp_path):
    layout = Layout(tmp_path)
    write_job(layout, "organisms-a/seed-0", 12.0, "x\nseconds: start 4.00, loading 1.00, work 5.00, of CPU 8.00")
    write_job(layout, "organisms-a/seed-1", 11.0, "seconds: start 4.00, loading 1.00, work 5.00, of CPU 10.00")
    write_job(layout, "sampling-baseline-0", 21.0, "seconds: start 4.00, engine 6.00, work 10.00, of CPU 25.00")
    write_job(layout, "base", 3.0, "an older log")
    assert workflow_times(layout) == [
        ["organisms", 2, 23.0, "40%", "10%", "0%", "50%", "10%"],
        ["sampling", 1, 21.0, "20%", "0%", "30%", "50%", "0%"],
        ["base", 1, 3.0, "", "", "", "", ""],
        ["together", 4, 47.0, "30%", "5%", "15%", "50%", "5%"],
    ]


def test_a_study_that_has_not_run_has_no_time(tmp_path):
    assert workflow_times(Layout(tmp_path)) == [["together", 0, 0, "", "", "", "", ""]]
