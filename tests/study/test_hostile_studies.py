"""Some two hundred hostile study files through the door that `study check` is: a sentence each, and soon."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.hostile_studies import accepted, drawn, every_kind, kinds_in, written
from helpers.studies import specs_of_all_jobs
from helpers.workflow import REPOSITORY
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.study import inputs
from workflow_scripts.study.__main__ import main
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.reading import load, resolved
from workflow_scripts.study.schema import Study

pytestmark = pytest.mark.timeout(60, func_only=True)
"""A minute is a hang on any machine."""
LONGEST = 700
"""Characters of a sentence."""
WRITTEN = written()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with a pipe, and with folders that are no models."""
    made = tmp_path_factory.mktemp("hostile")
    os.mkfifo(made / "pipe")
    for name in ("empty", "piped", "deep", "endless", "sound"):
        (made / name).mkdir()
    os.mkfifo(made / "piped" / "config.json")
    (made / "deep" / "config.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    (made / "endless" / "config.json").write_text('{"num_hidden_layers": 1000000000}')
    (made / "sound" / "config.json").write_text('{"num_hidden_layers": 4}')
    return made


def told(file: Path, text: str) -> list[str]:
    """Lines of a refusal; none of a study that is accepted, which is then planned as a run would."""
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        main(["check", str(file)])
    except UserError as error:
        return str(error).splitlines()
    study = load(file)
    again = file.with_name("study.json")
    again.write_text(json.dumps(resolved(study), ensure_ascii=False, allow_nan=False), encoding="utf-8")
    assert load(again) == study, "as the stages read it"
    specs_of_all_jobs(study)
    list(inputs.artefacts(study, Layout(Path("results") / study.study.name)))
    return []


def check_sentences(file: Path, lines: list[str]) -> None:
    for line in lines:
        assert line.startswith(f"{file}: "), line
        assert line.isprintable(), line
        assert len(line) < LONGEST, line
        assert line[-1] in ".?", line


def test_there_are_more_than_160():
    assert len(WRITTEN) > 160


@pytest.mark.parametrize("case", WRITTEN)
def test_a_hostile_study_is_refused_in_sentences_and_soon(folder, monkeypatch, case):
    monkeypatch.chdir(folder)
    lines = told(folder / "case.yaml", WRITTEN[case])
    assert lines, "a person would want to be asked"
    check_sentences(folder / "case.yaml", lines)


@pytest.mark.parametrize(("case", "text"), accepted().items(), ids=accepted())
def test_what_is_only_strange_is_read_as_it_is_meant(folder, monkeypatch, case, text):
    monkeypatch.chdir(folder)
    assert told(folder / "case.yaml", text) == []


def test_wrong_kinds_are_drawn_for_every_kind_of_section():
    found = set().union(*(kinds_in(Study, study) for study in every_kind()))
    assert found == {name for name, part in Study.model_json_schema()["$defs"].items() if "properties" in part} | {
        "Study"
    }


@pytest.mark.timeout(600, func_only=True)
def test_a_wrong_kind_anywhere_is_refused_or_bears_the_run(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for name, text in drawn(60, seed=17):
        try:
            lines = told(folder / "case.yaml", text)
        except Exception as error:
            raise AssertionError(f"{name}: {error!r}") from error
        check_sentences(folder / "case.yaml", lines)


@pytest.mark.parametrize("case", ["seeds of aliases", "a base {source: folder, path: no/such}"])
def test_the_command_says_it_and_ends_with_1(folder, case):
    (folder / "case.yaml").write_text(WRITTEN[case])
    done = subprocess.run(
        [sys.executable, "-m", "workflow_scripts.study", "check", "case.yaml"], cwd=folder, capture_output=True,
        text=True, timeout=60, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: case.yaml: ")
    assert "Traceback" not in done.stderr
