"""Organisms and directions that one process makes for several jobs are those that each job makes by itself."""

import shutil

import torch
from safetensors import safe_open

from helpers.workflow import Run, jobs_in


def contents(run: Run, part: str) -> dict[str, tuple[dict[str, str], dict[str, torch.Tensor]]]:
    """What a run has in a folder: by path, each file's provenance and tensors."""
    folder, found = run.results / part, {}
    for path in sorted(folder.rglob("*.safetensors")):
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            found[str(path.relative_to(folder))] = file.metadata(), tensors
    return found


def said(run: Run, stage: str) -> list[str]:
    """What the logs of a stage say of work ahead."""
    logs = "".join(file.read_text() for file in (run.results / "logs").rglob("*.log") if stage in str(file.parent))
    return [line for line in logs.splitlines() if " ahead" in line]


def test_one_process_makes_what_each_job_would_make_and_every_job_is_counted(smoke_run, copied_run):
    for stage, target, count in (("organisms", "all_organisms", 4), ("directions", "all_directions", 3)):
        shutil.rmtree(copied_run.results / stage)
        done = copied_run.snakemake("--cores", "1", target)
        assert done.returncode == 0, done.stdout + done.stderr
        assert jobs_in(done.stdout + done.stderr)[stage] == count
        told = said(copied_run, f"{stage}-")
        assert sum(line.endswith("made ahead of its own job") for line in told) == count - 1
        assert sum("another job of this run has made it" in line for line in told) == count - 1
        assert not [file for file in copied_run.results.rglob(".*") if ".ahead" in str(file)]
        # the smoke study's jobs are recorded, so that each made its own
        alone, together = contents(smoke_run, stage), contents(copied_run, stage)
        assert alone.keys() == together.keys()
        for path, (facts, tensors) in alone.items():
            assert together[path][0] == facts
            assert together[path][1].keys() == tensors.keys()
            assert all(torch.equal(together[path][1][name], tensor) for name, tensor in tensors.items()), path
