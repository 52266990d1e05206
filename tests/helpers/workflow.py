"""Running the workflow and its stages as a user would."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
SMOKE = REPOSITORY / "studies" / "smoke.yaml"
SHARED = REPOSITORY.parent / "shared"
PUBLISHED = SHARED / "data/upstream/judged_Qwen2.5-14B-Instruct_bad-medical-advice.csv.gz"
"""The authors' judged responses, where they lie beside the repository."""
CORES = os.environ.get("EM_CORES", "2")
"""Cores that Snakemake is given: `make test THREADS=…` sets them."""


@dataclass(frozen=True)
class Run:
    """A working directory with a study in it that Snakemake has run or will run."""

    folder: Path
    study: dict[str, Any]

    @property
    def results(self) -> Path:
        return self.folder / "results" / self.study["study"]["name"]

    @property
    def reads(self) -> Path:
        """Where a recorded run notes which settings its stages read (tests/helpers/recording)."""
        return self.folder / "reads"

    def snakemake(
        self, *options: str, timeout: float = 1700, recorded: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Runs Snakemake on the study as a user would, and returns what it printed."""
        return self.start(self.command(*options), timeout, recorded)

    def start(
        self, command: list[str], timeout: float = 1700, recorded: bool = False
    ) -> subprocess.CompletedProcess[str]:
        variables = environment()
        if recorded:
            places = [str(REPOSITORY / "tests" / "helpers" / "recording"), variables.get("PYTHONPATH", "")]
            variables |= {"EM_RECORD_READS": str(self.reads), "PYTHONPATH": os.pathsep.join(filter(None, places))}
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=timeout, env=variables)

    def command(self, *options: str) -> list[str]:
        file = self.folder / "study.yaml"
        file.write_text(yaml.safe_dump(self.study, sort_keys=False))
        program = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
        return [*program, "--configfile", "study.yaml", "--cores", CORES, *options]

    def planned(self, *options: str) -> dict[str, int]:
        """Jobs that a plain run would start, by rule, from a dry run."""
        done = self.snakemake("-n", *options)
        assert done.returncode == 0, done.stdout + done.stderr
        return jobs_in(done.stdout + done.stderr)

    def quickly_planned(self) -> dict[str, int]:
        """As `planned`, without another process: a tenth of the time."""
        dag = self.dag()
        return dict(Counter(job.rule.name for job in dag.jobs if dag.needrun(job)))

    def dag(self, cores: int | None = 2, **given: Any) -> Any:
        """Snakemake's own graph of the study's jobs, from a dry run on these cores and other given resources."""
        from snakemake.api import SnakemakeApi
        from snakemake.settings import types as settings
        from snakemake.settings.enums import Quietness, RerunTrigger

        self.command()  # writes the study
        profile = yaml.safe_load((REPOSITORY / "profiles" / "default" / "config.yaml").read_text())
        triggers = frozenset(RerunTrigger[name.upper()] for name in profile["rerun-triggers"])
        here = Path.cwd()
        try:
            with SnakemakeApi(settings.OutputSettings(dryrun=True, quiet={Quietness.ALL})) as api:
                workflow = api.workflow(
                    settings.ResourceSettings(cores=cores, **given),
                    settings.ConfigSettings(configfiles=(self.folder / "study.yaml",)),
                    snakefile=REPOSITORY / "Snakefile",
                    workdir=self.folder,
                )
                checksums = profile["max-checksum-file-size"]
                dag = workflow.dag(settings.DAGSettings(rerun_triggers=triggers, max_checksum_file_size=checksums))
                dag.execute_workflow(executor="dryrun")
                return workflow._workflow.dag
        finally:
            os.chdir(here)
            # vLLM, opened later in this process, asks every value of every module for its dictionary; this one has none
            vars(sys.modules["snakemake.workflow"]).pop("storage", None)

    def copy(self, folder: Path) -> Run:
        """The same finished run elsewhere, times and records kept, free to be changed."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Run(folder, yaml.safe_load(yaml.safe_dump(self.study)))


def jobs_in(shown: str) -> dict[str, int]:
    """Jobs by rule in what a dry run prints."""
    table = shown.partition("Job stats")[2].partition("Reasons")[0]
    found = re.findall(r"^ +(\w[\w ]*?) +(\d+) *$", table, re.M)
    jobs = {name.strip().replace(" ", "_"): int(count) for name, count in found}
    jobs.pop("total", None)
    return jobs


def environment() -> dict[str, str]:
    """The environment of a user who has activated the project's environment."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "NO_COLOR": "1", "COLUMNS": "200", "TERM": "dumb"}


def wait_for(condition: Callable[[], object], seconds: float = 240) -> None:
    """Returns when the condition holds; fails when it does not within the time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def write_study(folder: Path, raw: dict[str, Any]) -> Path:
    """Writes a study's resolved file into a results folder below `folder`, as a run would; returns the file."""
    from workflow_scripts.store.artefacts import write_json
    from workflow_scripts.study.reading import parse, resolved

    file = folder / "results" / "smoke" / "study.json"
    write_json(file, resolved(parse(raw, "study.yaml")))
    return file


def ready_to_train(folder: Path, raw: dict[str, Any], base: Path, dataset: str) -> Path:
    """A results folder in which the base and a data set are made already; returns the study's file."""
    from workflow_scripts import datasets
    from workflow_scripts.base import fingerprint
    from workflow_scripts.store.artefacts import write_json
    from workflow_scripts.study.layout import Layout

    study = write_study(folder, raw)
    layout = Layout.of(study)
    shutil.copytree(base, layout.base)
    write_json(layout.fingerprint, fingerprint(layout.base))
    datasets.main(["--study", str(study), "--dataset", dataset, "--output", str(layout.dataset(dataset))])
    return study


def stage_command(stage: str, study: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", f"workflow_scripts.{stage}", "--study", str(study), *options]


def run_stage(
    stage: str, study: Path, *options: str, file_limit: int | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Runs a stage in a process of its own; with `file_limit`, no file may grow beyond so many bytes: a full disk."""
    command, environment = stage_command(stage, study, *options), {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    if file_limit:
        command = ["prlimit", f"--fsize={file_limit}", *command]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment | variables)
