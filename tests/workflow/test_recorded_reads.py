"""No stage reads a setting that neither its spec nor its inputs cover: held against what a whole run has read.

Stages are handed the whole study. What they read of it was recorded while the smoke study ran (tests/helpers/recording).
A setting that a stage read is changed, and the stage's own spec, or that of a stage whose output it depends on, has to
change with it; otherwise a changed study would leave a stale result.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.studies import changed, leaves, others, specs_of_all_jobs, valid
from helpers.workflow import Run
from workflow_scripts.study.reading import parse, resolved

NAMES = {
    "datasets": ("dataset",), "questions": ("questions",), "organisms": ("organism",), "published_adapters": ("organism",), "sampling": ("battery",),
    "responses": ("battery", "subject"), "directions": ("subject",), "other_directions": ("subject",),
    "topic_directions": ("subject",), "scalars": ("subject",), "probes": ("subject",), "edits": ("subject",),
    "patched_responses": ("subject",), "downstream": ("subject",), "adapter_losses": ("subject",), "tables": ("table",),
    "trait_directions": ("trait",), "trained_vectors": ("vector",),
}  # fmt: skip
"""Stage -> the arguments that its spec depends on; those that are missing here have one spec."""


ONE_EFFECT = {"ablation.questions"}
"""Settings whose valid values all have one effect: an ablation asks the headline questions, named or not."""
WHETHER_FILES = {("preflight", "steering.source"), ("preflight", "ablation.source")}
"""Stage and setting of which it asks only whether it is a file; files are in its spec."""


def recorded(run: Run) -> Iterator[tuple[tuple[str, ...], set[str]]]:
    """Job (stage and names, as `specs_of_all_jobs` calls it) and the settings that it read."""
    for file in run.reads.glob("*.json"):
        noted = json.loads(file.read_text())
        stage = noted["stage"].removeprefix("workflow_scripts.")
        if "--study" in noted["arguments"]:
            parser = argparse.ArgumentParser()
            for name in ("dataset", "questions", "organism", "battery", "subject", "table", "trait", "vector"):
                parser.add_argument(f"--{name}")
            given, _ = parser.parse_known_args(noted["arguments"])
            names = tuple(getattr(given, name) for name in NAMES.get(stage, ()))
            yield ((*names,) if stage == "tables" else (stage, *names)), set(noted["reads"])


def needs(run: Run) -> dict[str, set[str]]:
    """Rule -> the rules whose output it depends on, directly or not, itself included."""
    dag, direct = run.dag(), defaultdict(set)
    for job in dag.jobs:
        direct[job.rule.name] |= {other.rule.name for other in dag.dependencies[job]}
    found: dict[str, set[str]] = {}
    for rule in list(direct):
        reached, waiting = set(), [rule]
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                waiting += direct[name]
        found[rule] = reached
    return found


def test_every_setting_that_a_stage_reads_is_covered_by_its_spec_or_its_inputs(smoke_run: Run):
    raw = resolved(parse(yaml.safe_load((smoke_run.folder / "study.yaml").read_text()), "smoke"))
    jobs = list(recorded(smoke_run))
    assert {job[0] for job, _ in jobs} >= {"organisms", "sampling", "responses", "judgements", "directions", "ablation"}
    upstream = needs(smoke_run)
    before = specs_of_all_jobs(parse(raw, "smoke"))
    tables = {job for (job, *rest) in before if not rest and job not in upstream}
    moved = {path: _moved(raw, path, before) for path in sorted({path for _, reads in jobs for path in reads})}
    uncovered = set()
    for job, reads in jobs:
        rule = "tables" if job[0] in tables else job[0]
        for path in reads:
            if moved[path] is not None and job not in moved[path]:
                reached = {"tables" if name in tables else name for name, *_ in moved[path]} & (upstream[rule] - {rule})
                if not reached and (rule, path) not in WHETHER_FILES:
                    uncovered.add((rule, path))
    assert not uncovered


def _moved(raw: dict[str, Any], path: str, before: dict[tuple[str, ...], str]) -> set[tuple[str, ...]] | None:
    """Jobs whose spec some other value of a setting changes; None where no other is valid, and for execution."""
    if path.startswith("execution.") or path in ONE_EFFECT:
        return None
    found: set[tuple[str, ...]] = set()
    tried = 0
    for place, value in leaves(raw):
        if ".".join(map(str, place)) != path and not ".".join(map(str, place)).startswith(f"{path}."):
            continue
        for other in others(value, raw):
            if (study := valid(changed(raw, place, other))) is None:
                continue
            after = specs_of_all_jobs(study)
            tried += 1
            found |= {job for job in before.keys() & after.keys() if before[job] != after[job]}
    return found if tried else None


@pytest.fixture(scope="session", autouse=True)
def _reads_are_there(smoke_run: Run) -> Path:
    assert any(smoke_run.reads.glob("*.json"))
    return smoke_run.reads
