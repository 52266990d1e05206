"""What reruns when the study changes: by dry run, and counted in sampled responses."""

import copy

import pandas as pd
import pytest

CHAIN_END = {"table", "summary", "claims", "figures", "html_report", "results", "all"}
"""What follows from any changed number; which of them run is not asserted for every case."""


def edit(path, value):
    def change(study):
        *parents, last = path.split(".")
        for name in parents:
            study = study.setdefault(name, {})
        study[last] = value

    return change


def swap_order(study):
    study["organisms"] = dict(reversed(study["organisms"].items()))


def swap_values(study):
    """Two organisms swap their learning rates: the same set of values, other organisms."""
    organisms = study["organisms"]
    organisms["medical_r1"]["learning_rate"], organisms["medical_single"]["learning_rate"] = 1e-3, 3e-3


def add_organism(study):
    study["organisms"]["sport_r1"] = copy.deepcopy(study["organisms"]["medical_r1"]) | {"dataset": "bad_sport"}


CASES = {
    "nothing": (lambda study: None, set()),
    "order of keys": (swap_order, set()),
    "execution": (edit("execution.max_sequences", 8), set()),
    "a scale": (edit("steering.scales", [1, 2, 3]), {"sample", "responses", "judge", "judgements"}),
    "scales swapped": (edit("steering.scales", [2, 1]), {"sample", "responses", "judge", "judgements"}),
    "a threshold": (edit("thresholds", {"misaligned_below": 35}), {"direction", "sample", "responses", "judge", "judgements"}),
    "an organism": (add_organism, {"organism", "sample", "responses", "judge", "judgements", "direction"}),
    "a learning rate": (
        edit("organisms.sport_r8.learning_rate", 2.9e-3),
        {"organism", "sample", "responses", "judge", "judgements", "direction"},
    ),
    "swapped learning rates": (swap_values, {"organism", "sample", "responses", "judge", "judgements", "direction"}),
    "rows of the browser": (edit("report.browser_rows", 20), {"browser"}),
    "a random draw": (edit("ablation.random_draws", 3), {"sample", "responses", "judge", "judgements"}),
    "a seed of the base": (
        edit("base.seed", 1),
        {"base", "organism", "sample", "responses", "judge", "judgements", "direction"},
    ),
    "a data set": (
        edit("datasets.bad_sport.rows", 152),
        {"dataset", "organism", "sample", "responses", "judge", "judgements", "direction"},
    ),
    "a question set": (
        edit("questions.evaluation.per_domain", 7),
        {"questions", "sample", "responses", "judge", "judgements", "direction"},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def run(smoke_run, tmp_path_factory):
    return smoke_run.copy(tmp_path_factory.mktemp("reruns") / "run")


@pytest.mark.parametrize("case", CASES)
def test_exactly_these_rules_rerun(run, case):
    change, expected = CASES[case]
    original = copy.deepcopy(run.study)
    change(run.study)
    try:
        planned = set(run.planned())
    finally:
        run.study.clear()
        run.study.update(original)
    assert planned - CHAIN_END - {"browser"} == expected - {"browser"}
    assert bool(planned) == bool(expected)


def test_one_organisms_learning_rate_touches_only_its_own_chain(run):
    original = copy.deepcopy(run.study)
    run.study["organisms"]["good_r1"]["learning_rate"] = 2.9e-3
    try:
        planned = run.planned()
    finally:
        run.study.update(original)
    assert planned["organism"] == 1
    assert planned["responses"] == planned["judgements"] == 1
    assert "direction" not in planned


BASELINE = "results/smoke/sampling/baseline-0.parquet"


def sampled(run, battery):
    return pd.read_parquet(run.results / "sampling" / f"{battery}-0.parquet")


def test_a_new_scale_is_all_that_is_sampled_and_judged(copied_run):
    copied_run.study["steering"]["scales"] = [1, 2, 3]
    done = copied_run.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = sampled(copied_run, "steering")
    new = manifest[manifest.sampled > 0]
    assert sorted(new.condition) == [
        "add:medical_r1/seed-0:layer-1:scale-3",
        "add:medical_r1/seed-0:layer-2:scale-3",
        "add_random:medical_r1/seed-0:layer-1:scale-3:draw-0",
    ]
    assert new.sampled.sum() == 3 * 48
    judged = pd.read_parquet(copied_run.results / "judging" / "steering.parquet")
    assert 0 < judged.asked.iloc[0] <= 2 * 3 * 48


def test_an_added_organism_and_more_samples_are_all_that_is_sampled(copied_run):
    add_organism(copied_run.study)
    copied_run.study["sampling"]["samples"] = 3
    done = copied_run.snakemake(BASELINE)
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = sampled(copied_run, "baseline").set_index("subject")
    assert manifest.sampled["sport_r1/seed-0"] == 24 * 3 + 24 * 4
    assert set(manifest.sampled.drop("sport_r1/seed-0")) == {24}


def test_a_removed_organism_samples_nothing(copied_run):
    del copied_run.study["organisms"]["good_r1"]
    assert copied_run.planned().get("organism", 0) == 0
    done = copied_run.snakemake(BASELINE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sampled(copied_run, "baseline").sampled.sum() == 0
    log = (copied_run.results / "logs" / "sample-baseline-0.log").read_text()
    assert "sampled 0 of" in log
    assert "vllm" not in log.lower(), "no engine starts when nothing is missing"
