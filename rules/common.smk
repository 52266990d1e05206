# What all rules share: the study, what is tracked of each stage, where its log lies, where its code is found.
import os
import shlex
import shutil
import sys
import time
from functools import cache
from pathlib import Path

import psutil

# Of the clone that this file lies in, also where another workflow imports it as a module.
ROOT = Path(str(workflow.current_basedir.get_path_or_uri(secret_free=True))).parent
CAPTIONS = ROOT / "rules" / "captions"
IMPORTED = not workflow.modifier.is_main_snakefile()

if not (ROOT / "workflow_scripts").is_dir():
    sys.exit(
        f"{ROOT}: is no folder of this machine; clone the repository and name its Snakefile by its path."
    )
if IMPORTED and workflow.modifier.path_modifier.prefix:
    sys.exit(
        "module: `prefix` is not supported, since the stages read the study from results/<study>; leave it out."
    )

# Here and in every job, this clone's own package, whichever is installed. Within the command, because `--sdm conda` takes
# PYTHONPATH out of the environment. A job that asks for no core computes with one thread; to libraries, 0 means all cores.
sys.path.insert(0, str(ROOT))
shell.prefix(
    f"set -euo pipefail; export EM_PHASES=1 PYTHONPATH={shlex.quote(str(ROOT))}${{{{PYTHONPATH:+:$PYTHONPATH}}}}; "
    "[[ ${{OMP_NUM_THREADS:-}} != 0 ]] || export {{OMP,MKL,OPENBLAS,NUMEXPR}}_NUM_THREADS=1; "
)
# Threads of a job sleep while they wait for each other: spinning ones, beside other processes, took five times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from workflow_scripts import experiments
from workflow_scripts.reporting.claim import CLAIMS
from workflow_scripts.reporting.pages import PAGE, RESPONSES_PAGE
from workflow_scripts.runtime import memory
from workflow_scripts.runtime.command import out_of_space
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.runtime.gpu_devices import visible_devices
from workflow_scripts.runtime.locks import still_worked_on
from workflow_scripts.runtime.run_lock import take_over
from workflow_scripts.runtime.run_times import job_intervals, run_times, write_run
from workflow_scripts.store.ahead import ANNOUNCED, Planned, announce
from workflow_scripts.store.artefacts import (
    canonical,
    digest,
    file_digest,
    made_from,
    write_json,
)
from workflow_scripts.store.code_digest import code_digest
from workflow_scripts.study import (
    conditions,
    inputs,
    panel,
    reading,
    resources,
    specs,
)
from workflow_scripts.study.layout import CHAT_BASE, Layout
from workflow_scripts.study.made_by import makers, of_another_study
from workflow_scripts.study.sources import is_fetched


def study_files():
    """The files of the study that this run is about: --configfile's, else config.yaml.

    They are not given to Snakemake's `configfile:`, which would merge another study into the default one. The files of
    a workflow that imports this one are its own.
    """
    files = [] if IMPORTED else workflow.overwrite_configfiles
    return [Path(file) for file in files] or [ROOT / "config.yaml"]


def study_name():
    """The study's file, as errors call it."""
    if IMPORTED and config:
        return f"config of module {workflow.modifier.namespace}"
    return ", ".join(file.name for file in study_files())


def read_study():
    """The study, with --config on top of its files; of a module, its `config`, which is the whole study."""
    changes = {} if IMPORTED else workflow.config_settings.config
    try:
        raw = config if IMPORTED and config else reading.gather(study_files(), changes)
        study = reading.parse(raw, study_name())
        reading.check_layers(study, study_name())
        return reading.as_jobs_read_it(study)
    except UserError as error:
        # a WorkflowError would be shown with the place in this file
        sys.exit(str(error))


study = read_study()
layout = Layout(Path("results") / study.study.name)
RUN_LOCK = (
    take_over(Path(".snakemake"), layout.root) if workflow.is_main_process else None
)
EXPERIMENTS = experiments.asked(study)
FIGURES = experiments.figures(study)
TABLES = [layout.table(name) for name in EXPERIMENTS]

# No more GPU jobs run at once than there are GPUs; which one a job gets is settled by workflow_scripts.runtime.gpu_lease.
# A run that sends its jobs elsewhere knows of no GPUs, and a job that was sent keeps to the cores that it was given.
CORES = workflow.resource_settings.cores or resources.MOST_THREADS
GPUS = 0
if not workflow.is_main_process:
    CORES = int(os.environ.get("SLURM_CPUS_PER_TASK", CORES))
elif workflow.resource_settings.nodes is None:
    GPUS = workflow.global_resources.get("gpu").value
    if GPUS is None and (GPUS := len(visible_devices(os.environ))):
        workflow.register_resource("gpu", GPUS)
# Of this machine, where the jobs run here.
MEMORY_MB = (
    memory.total() >> 20
    if workflow.is_main_process and workflow.resource_settings.nodes is None
    else 0
)
# Used with `--sdm conda` only; otherwise the jobs run in the environment that Snakemake runs in. EM_PLATFORM is for hosts
# that are not the ones that compute, as a cluster's login node.
PLATFORM = os.environ.get("EM_PLATFORM") or (
    "cuda" if shutil.which("nvidia-smi") else "cpu"
)
ENVIRONMENT = str(ROOT / "envs" / f"{PLATFORM}.yaml")
os.environ.update(EM_ENVS=str(ROOT / "envs"))


wildcard_constraints:
    dataset="|".join(study.datasets),
    questions="|".join(study.questions),
    published="|".join(conditions.hub_organisms(study)),
    direction="|".join(conditions.given_directions(study)) or "(?!)",  # an empty one would match anything
    trait="|".join(study.traits.named if study.traits else ()) or "(?!)",
    vector="|".join(conditions.vector_subjects(study)) or "(?!)",
    battery="|".join(conditions.batteries(study)),
    shard="|".join(map(str, range(study.execution.shards))),
    organism="|".join(conditions.organism_subjects(study)),
    subject="|".join([CHAT_BASE, *conditions.organism_subjects(study)]),


@cache
def of_another_form():
    """Artefacts that were made from another form of the study without Snakemake's knowledge: results that were copied
    without .snakemake would pass for those of whatever the study says now."""
    tables = {
        layout.table(name): (
            "tables",
            lambda made=made: canonical(made.slice(study)),
        )
        for name, made in EXPERIMENTS.items()
    }
    return of_another_study(makers(study, layout) | tables, Path(".snakemake"))


def make_anew(wildcards):
    """No input of its own; has a whole run make anew what is of another form of the study."""
    workflow.dag.forcefiles.update(map(str, of_another_form()))
    return []


def check_form():
    """Stops a run of parts that would go on from another form of the study."""
    kept = {
        str(file)
        for job in workflow.dag.jobs
        if not workflow.dag.needrun(job)
        for file in job.output
    }
    files = [str(file) for file in of_another_form() if str(file) in kept]
    if files:
        more = f" (and {len(files) - 1} more)" if len(files) > 1 else ""
        sys.exit(
            f"{files[0]}{more}: was made from another form of this study, and Snakemake has no record of it (were the "
            "results copied without .snakemake?); run the whole study once, without targets, which makes anew what has "
            "changed."
        )


def write_study():
    """Looks whether the files that the study names are there; writes the resolved study that the stages read."""
    try:
        reading.check_files(study, study_name())
    except UserError as error:
        sys.exit(str(error))
    if not IMPORTED:
        check_form()
    for sentence in still_worked_on(layout.root):
        print(sentence, file=sys.stderr)
    write_json(layout.study, reading.resolved(study))


AHEAD = ("organisms", "directions", "other_directions")


def announce_jobs():
    """Tells the jobs of a run that stays on this machine which others it is going to start (store/ahead.py).

    No organism is trained ahead of the preflight, which its own job does not wait for.
    """
    os.environ.pop(ANNOUNCED, None)  # of a run that this one is a job of
    if workflow.resource_settings.nodes is not None:
        return
    dag, planned = workflow.dag, {}
    wanted = [job for job in dag.jobs if dag.needrun(job)]
    checks = [
        file for job in wanted if job.rule.name == "preflight" for file in job.output
    ]
    for job in wanted:
        if job.rule.name in AHEAD:
            before = [
                file
                for other, files in dag.dependencies[job].items()
                if dag.needrun(other)
                for file in files
            ]
            if job.rule.name == "organisms":
                before += checks
            planned.setdefault(job.rule.name, {})[job.wildcards.organism] = Planned(
                str(job.output[0]), sorted(map(str, before))
            )
    announce(planned, Path(".snakemake") / f"em-announced-{study.study.name}.json")


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


def print_reason():
    """Says what a job's own log cannot, because it lies on the disk that is full."""
    if sentence := out_of_space(layout.root):
        print(sentence, file=sys.stderr)


@cache
def code(*modules):
    """Digest of the code of a stage, and of the experiments' modules that it runs."""
    return code_digest(*modules) if study.execution.track_code else "untracked"


def tracked(stage, *wildcard_names, read=study):
    """The params of a stage: where the study is, and what makes the job run again, its spec and its code.

    `read` is the study as one judge of its panel reads it, where that is not the first.
    """
    return {
        "study": str(layout.study),
        "spec": lambda wildcards: specs.spec(
            stage, read, *(wildcards[name] for name in wildcard_names)
        ),
        "code": code(stage),
    }


def tracked_table():
    """As `tracked`, of a table: spec and code are its experiment's."""
    return {
        "study": str(layout.study),
        "spec": lambda wildcards: canonical(EXPERIMENTS[wildcards.table].slice(study)),
        "code": lambda wildcards: code("tables", EXPERIMENTS[wildcards.table].module),
    }


def tracked_figures(stage):
    """As `tracked`, of a stage that runs every experiment of the study."""
    slices = {name: made.slice(study) for name, made in EXPERIMENTS.items()}
    return {
        "study": str(layout.study),
        "spec": canonical({"own": specs.SLICES[stage](study), "tables": slices}),
        "code": code(stage, *sorted({made.module for made in EXPERIMENTS.values()})),
    }


def resources_for(stage, read=study):
    """mem_mb, runtime and gpu of a stage, from the size of the study's model and the attempt; `read` as in `tracked`."""
    return {
        name: lambda wildcards, attempt, name=name: resources.resources_for(
            stage, read, attempt
        )[name]
        for name in ("mem_mb", "runtime", "gpu")
    }


def threads_for(stage, read=study):
    """CPU threads of a stage: of what this run has, or a cluster's usual share; `read` as in `tracked`."""
    return resources.threads_for(stage, read, CORES, GPUS, MEMORY_MB)


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


def only_after(run, table, stage, names, reads, read=study):
    """A run's manifest as input of a table that is assembled from what the run stored.

    The run also serves other tables, so that its manifest must not make this one anew: it is ancient. But Snakemake
    asks no job that follows a rerun for changes of its own, and passes ancient files by. Where the table is there and was
    made from another slice of the study, by other code or before a file that it reads, its manifest therefore counts.
    """
    if not table.is_file():
        return ancient(run)
    made = table.stat().st_mtime
    if any(file.is_file() and file.stat().st_mtime > made for file in reads):
        return run
    facts = {"spec": specs.spec(stage, read, *names)}
    if study.execution.track_code:
        facts["code"] = code(stage)
    return ancient(run) if made_from(table, **facts) else run


def sampling_manifests(wildcards):
    if conditions.is_given(study, wildcards.subject):
        return []
    table = layout.responses(wildcards.subject, wildcards.battery)
    names = (wildcards.battery, wildcards.subject)
    reads = inputs.response_inputs(study, layout, *names)
    return [
        only_after(run, table, "responses", names, reads)
        for run in inputs.sampling_manifests(study, layout, wildcards.battery)
    ]


def judging_manifest(wildcards, read=study, place=layout):
    table = place.judgements(wildcards.subject, wildcards.battery)
    reads = [layout.responses(wildcards.subject, wildcards.battery)]
    run = place.judged(wildcards.battery)
    return only_after(run, table, "judgements", (), reads, read)
