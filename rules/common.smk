import os
import shutil
import sys
import time
from functools import cache
from pathlib import Path

import psutil

sys.path.insert(0, str(workflow.basedir))

from workflow_scripts import conditions, specs, study as study_file
from workflow_scripts.adapter_files import CONFIG, WEIGHTS
from workflow_scripts.artefacts import made_from, write_json
from workflow_scripts.code_digest import code_digest
from workflow_scripts.errors import UserError
from workflow_scripts.conditions import shard_subjects
from workflow_scripts.layout import CHAT_BASE, Layout, organism_of
from workflow_scripts.resources import model_mb, resources_for as stage_resources
from workflow_scripts.run_times import job_intervals, run_times, write_run
from workflow_scripts.stale_lock import take_over


def study_files():
    """The files of the study that this run is about: --configfile's, else config.yaml.

    They are not given to Snakemake's `configfile:`, which would merge another study into the default one.
    """
    return [Path(file) for file in workflow.overwrite_configfiles] or [
        Path(workflow.basedir) / "config.yaml"
    ]


def study_name():
    """The study's file, as errors call it."""
    return ", ".join(file.name for file in study_files())


def read_study():
    """The study, with --config on top of its files."""
    try:
        raw = study_file.gather(study_files(), workflow.config_settings.config)
        return study_file.parse(raw, study_name())
    except UserError as error:
        # a WorkflowError would be shown with the place in this file
        sys.exit(str(error))


RUN_LOCK = take_over(Path(".snakemake")) if workflow.is_main_process else None

study = read_study()
layout = Layout(Path("results") / study.study.name)

# A SLURM job keeps to the cores that it was given; the run that sends jobs has no cores of its own.
ENGINE_THREADS = (
    int(os.environ.get("SLURM_CPUS_PER_TASK", 0))
    or workflow.resource_settings.cores
    or 8
)
# Small models gain nothing from more threads; two of their jobs side by side do.
MODEL_THREADS = 1 if model_mb(study) < 100 else ENGINE_THREADS
JUDGE_THREADS = ENGINE_THREADS if study.judge.source == "local" else 1
# Used with `--sdm conda` only; otherwise the jobs run in the environment that Snakemake runs in.
ENVIRONMENT = str(
    Path(workflow.basedir)
    / "envs"
    / f"{'cuda' if shutil.which('nvidia-smi') else 'cpu'}.yaml"
)
SHARDS = study.execution.shards


wildcard_constraints:
    dataset="|".join(study.datasets),
    questions="|".join(study.questions),
    battery="|".join(conditions.batteries(study)),
    shard=r"\d+",
    organism="|".join(conditions.organism_subjects(study)),
    subject="|".join([CHAT_BASE, *conditions.organism_subjects(study)]),


def write_study():
    """Looks whether the files that the study names are there; writes the resolved study that the stages read."""
    try:
        study_file.check_files(study, study_name())
    except UserError as error:
        sys.exit(str(error))
    write_json(layout.study, study_file.resolved(study))


def print_summary():
    """Shows the end table of the run, and how long it took."""
    intervals = job_intervals(layout.root / "benchmarks")
    times = run_times(intervals, psutil.Process().create_time(), time.time())
    if times.jobs:
        write_run(layout.run, times)
        print(f"{times}.")
    text = layout.root / "summary.txt"
    if text.is_file():
        print(text.read_text())
        print(f"The report is {layout.root / 'report.html'}.")


def spec(stage, *wildcard_names):
    """The canonical slice of the study that a stage reads, as a function of wildcards."""
    return lambda wildcards: specs.spec(
        stage, study, *(wildcards[name] for name in wildcard_names)
    )


@cache
def code(module):
    """Digest of a stage's code and of all that it imports from the package."""
    return code_digest(module) if study.execution.track_code else "untracked"


def resources_for(stage):
    """mem_mb, runtime and gpu of a stage, from the size of the study's model and the attempt."""
    return {
        name: lambda wildcards, attempt, name=name: stage_resources(
            stage, study, attempt
        )[name]
        for name in ("mem_mb", "runtime", "gpu")
    }


def log_of(stage, *names):
    """Log file of a job, named by its stage and wildcards."""
    return (
        str(
            layout.root / "logs" / "-".join([stage, *(f"{{{name}}}" for name in names)])
        )
        + ".log"
    )


def benchmark_of(stage, *names):
    """Benchmark file of a job, named by its stage and wildcards."""
    return (
        str(
            layout.root
            / "benchmarks"
            / "-".join([stage, *(f"{{{name}}}" for name in names)])
        )
        + ".jsonl"
    )
