"""The time that a run spends without a running job."""

import json
import os

import pytest

from workflow_scripts.runtime.run_times import (
    RunTimes,
    job_intervals,
    read_run,
    run_times,
    write_run,
)


@pytest.mark.parametrize(
    ("intervals", "outside"),
    [
        ([], 10),
        ([(100, 110)], 0),
        ([(102, 104), (106, 109)], 2 + 2 + 1),
        ([(102, 106), (103, 104), (105, 108)], 2 + 2),
        ([(80, 99), (101, 110)], 1),
        ([(95, 105)], 5),
    ],
    ids=["no job", "one all the time", "one after another", "overlapping", "of an earlier run", "since before it"],
)
def test_seconds_without_a_running_job(intervals, outside):
    assert run_times(intervals, 100, 110).outside == outside


def test_intervals_come_from_the_benchmark_files(tmp_path):
    file = tmp_path / "organism-a" / "seed-0.jsonl"
    file.parent.mkdir()
    file.write_text(json.dumps({"s": 9.0}) + "\n" + json.dumps({"s": 2.5}) + "\n")
    os.utime(file, (1000, 1000))
    assert job_intervals(tmp_path) == [(997.5, 1000)]


def test_what_is_kept_is_read_again_and_said_in_words(tmp_path):
    times = RunTimes(51, 170.0, 3.4)
    write_run(tmp_path / "run.json", times)
    assert read_run(tmp_path / "run.json") == times
    assert read_run(tmp_path / "none.json") is None
    assert str(times) == "51 jobs in 170.0 s, 3.4 s (2.0%) of it without a running job"
