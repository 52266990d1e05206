"""Several GPUs: Snakemake's own scheduling of the paper's study, with a stand-in for every job."""

from __future__ import annotations

import subprocess
from collections import Counter

import pytest
import yaml

from helpers.workflow import REPOSITORY, Run, environment

# Jobs on GPUs end when there are four of them, the judge when eight such jobs have begun beside it; and each when nothing
# has begun or ended for a while, so that nothing else is to come. What runs at once then hangs little on this machine's speed.
# In a module, since Snakemake's parser knows `rule` as a word of its own.
STAND_IN = """
import threading
from snakemake.shell import shell

changed = threading.Condition()
running, released, begun = {}, set(), 0

def on_gpus():
    return {job for job, rule in running.items() if rule in GPU_RULES}

def note(what, rule):
    print(what, rule, *running.values(), file=open("moments.txt", "a"))
    changed.notify_all()

def run(input, output, params, wildcards, threads, resources, log, rule, conda_env, container_img, singularity_args,
        use_singularity, env_modules, bench_record, jobid, is_shell, bench_iteration, *others):
    global begun
    shell(
        "echo {rule} $OMP_NUM_THREADS >> threads.txt; for file in {output:q}; do echo made > $file; done",
        threads=threads, bench_record=bench_record, bench_iteration=bench_iteration,
    )
    with changed:
        running[jobid] = rule
        note("begin", rule)
        if rule in GPU_RULES:
            begun += 1
            if len(on_gpus() - released) == 4:
                released.update(on_gpus())
            while jobid not in released and changed.wait(timeout=6):
                pass
        if rule == "judging":
            enough = begun + 8
            while begun < enough and (changed.wait(timeout=7) or on_gpus()):
                pass
        del running[jobid]
        note("end", rule)
"""
WRAPPER = """
include: {snakefile!r}

sys.path.insert(0, ".")
from stand_in import run

for each in workflow.rules:
    each.run_func = run
"""
GPU_RULES = {
    "organisms", "sampling", "directions", "topic_directions", "scalars", "edits", "patched_responses", "downstream",
    "side_effects",
}  # fmt: skip


def study(shards=1):
    raw = yaml.safe_load((REPOSITORY / "studies" / "qwen2.5-14b.yaml").read_text())
    raw["execution"]["shards"] = shards
    return raw


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The 14B study on 32 cores and 4 GPUs; steering first, so that its judge starts while other work is left."""
    run = Run(tmp_path_factory.mktemp("gpus"), study(shards=4))
    (run.folder / "stand_in.py").write_text(f"GPU_RULES = {GPU_RULES}\n{STAND_IN}")
    (run.folder / "Snakefile").write_text(WRAPPER.format(snakefile=str(REPOSITORY / "Snakefile")))
    first = ["--prioritize", "results/qwen2_5-14b/judging/steering.parquet"]
    command = [*run.command("all", "--resources", "gpu=4", *first), "--snakefile", "Snakefile", "--cores", "32"]
    done = subprocess.run(command, cwd=run.folder, env=environment(), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return run


@pytest.fixture(scope="module")
def moments(run) -> list[tuple[str, str, Counter[str]]]:
    """What has just begun or ended, and the rules of the jobs that run then."""
    lines = [line.split() for line in (run.folder / "moments.txt").read_text().splitlines()]
    return [(what, rule, Counter(running)) for what, rule, *running in lines]


def gpu_jobs(running: Counter[str]) -> int:
    return sum(count for rule, count in running.items() if rule in GPU_RULES)


def test_four_gpu_jobs_run_side_by_side_and_never_five(moments):
    at_once = Counter(gpu_jobs(running) for _, _, running in moments)
    print(f"GPU jobs at once, by how often a job had just begun or ended: {sorted(at_once.items())}")
    assert max(at_once) == 4
    assert max(running["organisms"] for _, _, running in moments) == 4
    assert max(running["sampling"] for _, _, running in moments) > 1, "shards of a battery"


def test_the_remote_judge_runs_beside_four_gpu_jobs_while_others_come_and_go(moments):
    beside = [(what, rule, gpu_jobs(running)) for what, rule, running in moments if running["judging"]]
    assert max(count for _, _, count in beside) == 4
    assert sum(what == "begin" and rule in GPU_RULES for what, rule, _ in beside) >= 8


def test_a_gpu_job_has_its_share_of_the_cores_and_no_job_takes_all(run):
    threads = dict(line.split() for line in (run.folder / "threads.txt").read_text().splitlines())
    assert {rule for rule, count in threads.items() if count == "7"} == GPU_RULES
    assert set(threads.values()) == {"1", "7"}
