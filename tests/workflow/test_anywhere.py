"""The workflow from wherever it is started: each form plans the whole study and runs a real job of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from helpers.workflow import REPOSITORY, SMOKE, Run, environment, jobs_in

PARTS = ("Snakefile", "config.yaml", "rules", "workflow_scripts", "profiles", "envs")
MADE = "results/smoke/datasets/bad_medical.parquet"
LOG = "results/smoke/logs/datasets-bad_medical.log"
SIGN = "This clone runs."
IMPORTING = """
configfile: {study!r}

module em:
    snakefile: {snakefile!r}
    config: config

use rule * from em as em_*

rule all:
    default_target: True
    input: rules.em_report.output
"""


@dataclass(frozen=True)
class Form:
    """A way to start the workflow: from a folder, with results in another, from a clone with another name."""

    name: str
    options: tuple[str, ...]
    started_in: str = "work"
    results_in: str = "work"
    clone: str | None = None
    imported: bool = False


FORMS = [
    Form("by a relative path", ("-s", "{relative}/Snakefile", "--configfile", "{study}")),
    Form("into another directory", ("-s", "{repository}/Snakefile", "--configfile", "{study}", "--directory", "../away"),
         results_in="away"),
    Form("from and into paths with spaces and umlauts",
         ("-s", "{repository}/Snakefile", "--configfile", "{study}", "--directory", "../meine Läufe"),
         started_in="ein Ordner", results_in="meine Läufe", clone="ein Klon für's Büro"),
    Form("as a module from a path with spaces", ("--workflow-profile", "{repository}/profiles/default"), started_in="ein Ordner",
         results_in="ein Ordner", clone="der Klon", imported=True),
]  # fmt: skip


def copied(folder: Path) -> Path:
    """A clone of the repository as it stands, which is not the one that is installed: its data sets say so."""
    folder.mkdir()
    for part in PARTS:
        source = REPOSITORY / part
        shutil.copytree(source, folder / part) if source.is_dir() else shutil.copy(source, folder / part)
    with (folder / "workflow_scripts" / "datasets.py").open("a") as module:
        module.write(f"\nprint({SIGN!r})\n")
    return folder


def started(folder: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Snakemake as a user starts it who has this project's environment, yet no package of it installed."""
    nothing_else = {**environment(), "PYTHONPATH": "", **variables}
    line = [sys.executable, "-m", "snakemake", "--cores", "1", *options]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=300, env=nothing_else)


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """Jobs of the whole study, by rule, from another folder by an absolute path."""
    return Run(tmp_path_factory.mktemp("plain"), yaml.safe_load(SMOKE.read_text())).planned()


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_the_workflow_runs(form, plan, tmp_path):
    work, results = tmp_path / form.started_in, tmp_path / form.results_in
    for folder in (work, results):
        folder.mkdir(exist_ok=True)
    repository = REPOSITORY
    if form.clone:
        repository = copied(tmp_path / form.clone)
    if form.imported:
        (work / "Snakefile").write_text(IMPORTING.format(study=str(SMOKE), snakefile=str(repository / "Snakefile")))
    places = {"{repository}": str(repository), "{relative}": os.path.relpath(repository, work), "{study}": str(SMOKE)}
    options = [
        next((part.replace(name, place) for name, place in places.items() if name in part), part)
        for part in form.options
    ]
    dry = started(work, "-n", *options)
    planned = jobs_in(dry.stdout + dry.stderr)
    assert dry.returncode == 0, dry.stdout + dry.stderr
    assert {rule.removeprefix("em_"): jobs for rule, jobs in planned.items()} == plan
    assert ("em_report" in planned) == form.imported
    assert "not present in the Snakefile" not in dry.stdout + dry.stderr, "a module's local rules stay local"
    done = started(work, *options, "--", MADE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (results / MADE).is_file()
    if form.clone:
        assert (results / LOG).read_text().splitlines()[-1] == SIGN
        assert not (repository / "results").exists()


def test_a_module_has_the_default_study_unless_its_config_holds_another(tmp_path):
    importing = IMPORTING.replace("configfile: {study!r}", "").replace("config: config", "")
    (tmp_path / "Snakefile").write_text(importing.format(snakefile=str(REPOSITORY / "Snakefile")))
    done = started(tmp_path, "-n", "--quiet", "rules")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "results" / "miniature" / "study.json").is_file(), "a module's hooks are not called"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("config: config", "config: {'study': {'name': 'mine'}, 'basis': {}}", "config of module em: basis: "),
        ("config: config", "config: config\n    prefix: 'there'", "module: `prefix` is not supported"),
    ],
)
def test_what_a_module_cannot_be_is_said_in_one_sentence(tmp_path, old, new, sentence):
    importing = IMPORTING.format(study=str(SMOKE), snakefile=str(REPOSITORY / "Snakefile"))
    (tmp_path / "Snakefile").write_text(importing.replace(old, new))
    done = started(tmp_path, "-n")
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


CONDA = """#!/usr/bin/env bash
# Stands in for conda: makes an environment whose python is this one and whose pip installs nothing.
case "$*" in
  "info --json") echo '{{"conda_prefix": "{base}", "platform": "linux-64"}}' ;;
  "--version") echo "conda 24.11.0" ;;
  "config --get channel_priority --json") echo '{{"get": {{"channel_priority": "strict"}}}}' ;;
  "clean -y --tarballs") ;;
  "env create"*)
    folder="${{@: -1}}"
    mkdir -p "$folder/bin"
    cp "{base}/python" "$folder/bin/python" ;;
  *) echo "conda $*: not stood in for" >&2; exit 1 ;;
esac
"""
PYTHON = """#!/usr/bin/env bash
[[ $2 == pip ]] && exit
exec "{python}" "$@"
"""


def test_jobs_in_conda_environments_run_this_package(tmp_path):
    """conda itself is not installed where tests run; what is run in its environment, and with which variables, is real."""
    base = tmp_path / "conda"
    (base / "bin").mkdir(parents=True)
    for program, text in ((base / "bin" / "conda", CONDA), (base / "python", PYTHON)):
        program.write_text(text.format(base=base, python=sys.executable))
        program.chmod(0o755)
    (base / "bin" / "activate").write_text('export PATH="$1/bin:$PATH"\n')
    repository = copied(tmp_path / "clone")
    study = ("-s", str(repository / "Snakefile"), "--configfile", str(SMOKE))
    path = os.pathsep.join([str(base / "bin"), environment()["PATH"]])
    done = started(tmp_path, *study, "--sdm", "conda", "--", MADE, PATH=path, PIP_NO_INDEX="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / LOG).read_text().splitlines()[-1] == SIGN
