"""What a job makes ahead of others of its run: only what waits and can be made, each once, and nothing else's loss."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from workflow_scripts.runtime.errors import UserError
from workflow_scripts.runtime.locks import exclusive, lock_of
from workflow_scripts.store.ahead import ANNOUNCED, Planned, Work, announce, waiting, work_through

SINCE = 1000.0


@dataclass
class Folder:
    """Files of a stage, and who made what."""

    root: Path
    made: list[str] = field(default_factory=list)

    def place(self, subject: str) -> Path:
        return self.root / f"{subject}.txt"

    def work(self, subject: str) -> Work:
        return Work(self.place(subject), self.place(subject), f"from-{subject}")

    def make(self, subject: str, place: Path) -> None:
        if subject == "unfit":
            raise UserError("unfit: cannot be made.")
        self.made.append(subject)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(subject)

    def run(self, subject: str) -> None:
        work_through("stage", subject, self.work, self.make)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


@pytest.fixture
def run_of(monkeypatch, folder, tmp_path_factory):
    """Says what a run is going to make: subject -> its inputs that the run makes, too."""
    monkeypatch.setenv(ANNOUNCED, "")  # put back afterwards
    file = tmp_path_factory.mktemp("run") / "announced.json"

    def say(**inputs: list[str]) -> None:
        planned = {name: Planned(str(folder.place(name)), files) for name, files in inputs.items()}
        announce({"stage": planned}, file)
        os.utime(file, (SINCE, SINCE))

    return say


def dated(file: Path, seconds: float) -> str:
    file.write_text("there")
    os.utime(file, (seconds, seconds))
    return str(file)


def test_without_a_run_that_says_so_nothing_waits(folder, monkeypatch):
    monkeypatch.delenv(ANNOUNCED, raising=False)
    folder.run("own")
    assert folder.made == ["own"]
    assert [file.name for file in folder.root.iterdir()] == ["own.txt"]


def test_a_subject_waits_that_is_not_made_and_whose_inputs_this_run_has_made(folder, run_of):
    early, late = dated(folder.root / "early", SINCE - 1), dated(folder.root / "late", SINCE + 1)
    run_of(ready=[late], stale=[late, early], lacking=[str(folder.root / "absent")], before=[], done=[])
    dated(folder.place("before"), SINCE - 1)
    dated(folder.place("done"), SINCE + 1)
    assert waiting("stage") == ["before", "ready"]
    assert waiting("another") == []


def test_each_is_made_once_and_its_own_job_only_moves_it(folder, run_of):
    run_of(first=[], second=[], third=[])
    folder.run("second")
    assert folder.made == ["second", "first", "third"]
    assert folder.place("second").read_text() == "second"
    assert not folder.place("first").exists(), "Snakemake has not started its job"
    before = folder.work("first").ahead.stat().st_mtime
    os.utime(folder.work("first").ahead, (1.0, 1.0))
    folder.run("first")
    folder.run("third")
    assert folder.made == ["second", "first", "third"]
    assert folder.place("first").stat().st_mtime >= before, "as new as if it had been made there"
    assert sorted(file.name for file in folder.root.iterdir()) == ["first.txt", "second.txt", "third.txt"]


def test_a_folder_is_moved_as_a_whole_over_one_that_is_there(folder, monkeypatch, tmp_path):
    place = tmp_path / "organism"
    place.mkdir()
    (place / "old").write_text("")
    work = Work(place, place / "new", "digest")

    def make(_, folder_):
        folder_.mkdir(parents=True)
        (folder_ / "new").write_text("")

    work_through("stage", "organism", lambda _: work, make)
    assert [file.name for file in tmp_path.rglob("*")] == ["organism", "new"]


def test_what_cannot_be_made_leaves_nothing(folder):
    with pytest.raises(UserError):
        folder.run("unfit")
    assert not list(folder.root.iterdir())


def test_what_was_made_from_other_things_is_not_taken(folder, run_of):
    run_of(first=[], second=[])
    folder.run("first")
    other = Folder(folder.root)
    other.work = lambda subject: Work(other.place(subject), other.place(subject), "from-a-changed-study")
    other.run("second")
    assert other.made == ["second"]
    assert not list(folder.root.glob(".*")), "and goes when its subject is made"


def test_one_that_cannot_be_made_is_left_to_its_own_job(folder, run_of, caplog):
    run_of(unfit=[], yet_another=[])
    folder.run("own")
    assert folder.made == ["own"]
    assert "unfit is left to its own job, which will say more: unfit: cannot be made." in caplog.text
    with pytest.raises(UserError, match=r"unfit: cannot be made\."):
        folder.run("unfit")


def test_one_that_another_job_works_on_is_passed_by(folder, run_of):
    run_of(first=[], second=[])
    with exclusive(lock_of(folder.place("first"))):
        folder.run("own")
    assert folder.made == ["own", "second"]


def test_what_was_made_stays_when_its_process_dies_while_it_makes_the_next(folder, run_of):
    run_of(first=[], second=[])
    make = folder.make

    def dying(subject, place):
        if subject == "second":
            raise KeyboardInterrupt
        make(subject, place)

    with pytest.raises(KeyboardInterrupt):
        work_through("stage", "own", folder.work, dying)
    for subject in ("own", "first", "second"):
        folder.run(subject)
    assert folder.made == ["own", "first", "second"], "of the rerun only the second is made"


def test_a_process_takes_on_no_more_after_a_while(folder, run_of, monkeypatch):
    run_of(first=[], second=[])
    monkeypatch.setattr("workflow_scripts.store.ahead.ENOUGH", 0.0)
    folder.run("own")
    assert folder.made == ["own"]
