"""Several GPUs: Snakemake's own scheduling of the paper's study, with a stand-in for every job."""

from __future__ import annotations

import subprocess
from collections import Counter

import pytest
import yaml

from helpers.workflow import REPOSITORY, Run, environment

# Snakemake's parser knows `rule` as a word of its own, hence a module.
STAND_IN = """
from snakemake.shell import shell

SECONDS = {"judging": 4} | dict.fromkeys(GPU_RULES, 0.5)

def run(input, output, params, wildcards, threads, resources, log, rule, conda_env, container_img, singularity_args,
        use_singularity, env_modules, bench_record, jobid, is_shell, bench_iteration, *others):
    seconds = SECONDS.get(rule, 0)
    shell(
        "note() {{ echo $1 {rule} $EPOCHREALTIME $OMP_NUM_THREADS >> jobs.txt; }}; note begin; sleep {seconds}; "
        "for file in {output:q}; do echo made > $file; done; note end",
        threads=threads, bench_record=bench_record, bench_iteration=bench_iteration,
    )
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
}  # fmt: skip


def study(shards=1):
    raw = yaml.safe_load((REPOSITORY / "studies" / "qwen2.5-14b.yaml").read_text())
    raw["execution"]["shards"] = shards
    return raw


@pytest.fixture(scope="module")
def moments(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str, Counter[str]]]:
    """What has just begun or ended, and the rules of the jobs that run then, of the 14B study on 32 cores and 4 GPUs."""
    run = Run(tmp_path_factory.mktemp("gpus"), study(shards=4))
    (run.folder / "stand_in.py").write_text(f"GPU_RULES = {GPU_RULES}\n{STAND_IN}")
    (run.folder / "Snakefile").write_text(WRAPPER.format(snakefile=str(REPOSITORY / "Snakefile")))
    command = [*run.command("all", "--resources", "gpu=4"), "--snakefile", "Snakefile", "--cores", "32"]
    done = subprocess.run(command, cwd=run.folder, env=environment(), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    running: Counter[str] = Counter()
    found = []
    lines = [line.split() for line in (run.folder / "jobs.txt").read_text().splitlines()]
    for what, rule, _, threads in sorted(lines, key=lambda line: float(line[2])):
        running[rule] += 1 if what == "begin" else -1
        assert int(threads) == (7 if rule in GPU_RULES else 1), f"{rule} has {threads} threads"
        found.append((what, rule, running.copy()))
    return found


def gpu_jobs(running: Counter[str]) -> int:
    return sum(count for rule, count in running.items() if rule in GPU_RULES)


def test_four_gpu_jobs_run_side_by_side_and_never_five(moments):
    assert max(gpu_jobs(running) for _, _, running in moments) == 4
    assert max(running["organisms"] for _, _, running in moments) == 4
    assert max(running["sampling"] for _, _, running in moments) == 4


def test_the_remote_judge_runs_beside_four_gpu_jobs_and_they_come_and_go_meanwhile(moments):
    beside = [(what, rule) for what, rule, running in moments if running["judging"] and rule in GPU_RULES]
    assert max(gpu_jobs(running) for _, _, running in moments if running["judging"]) == 4
    assert sum(what == "begin" for what, _ in beside) >= 8


def test_a_short_job_starts_while_all_gpus_are_busy(moments):
    begun = {rule for what, rule, running in moments if what == "begin" and gpu_jobs(running) == 4}
    assert {"responses", "judgements", "judging"} & begun
