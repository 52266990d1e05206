"""What reruns when the study changes: by dry run for every section of it, and counted in what is sampled and asked."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from helpers.workflow import REPOSITORY, SMOKE, Run, jobs_in
from workflow_scripts.study.schema import Study

# Rules that follow, from the end of the chain to its beginning.
REPORT = {"report", "all"}
TEXTS = {"summary", "claims", "figures"} | REPORT
NUMBERS = {"tables"} | TEXTS
JUDGED = {"judging", "judgements", "browser"} | NUMBERS
SAMPLED = {"sampling", "responses"} | JUDGED
DIRECTED = {"directions", "topic_directions", "edits", "downstream", "side_effects"} | SAMPLED
READ = {"scalars", "probes"} | DIRECTED
TRAINED = {"organisms"} | SAMPLED
ABLATED = {"directions", "side_effects"} | TRAINED
ALL_TRAINED = {"organisms", "patched_responses"} | READ
BASE_READ = {"base_means"}
PROMPTED = {"trait_directions"}
NOTHING: set[str] = set()

Raw = dict[str, Any]
Change = Callable[[Raw], object]


def put(path: str, value: Any) -> Change:
    def change(study: Raw) -> None:
        *parents, last = path.split(".")
        for name in parents:
            study = study.setdefault(name, {})
        study[last] = value

    return change


def drop(name: str) -> Change:
    return lambda study: study.pop(name)


def swap(path: str, one: str, other: str, key: str) -> Change:
    """Two entries of a section swap a value: the same set of values, and other entries."""

    def change(study: Raw) -> None:
        section = study[path]
        assert section[one][key] != section[other][key]
        section[one][key], section[other][key] = section[other][key], section[one][key]

    return change


def reverse(path: str) -> Change:
    """The same keys in another order, at every level below."""

    def reversed_(value: Any) -> Any:
        return {key: reversed_(value[key]) for key in reversed(value)} if isinstance(value, dict) else value

    def change(study: Raw) -> None:
        study[path] = reversed_(study[path])

    return change


def add_organism(study: Raw) -> None:
    study["organisms"]["sport_r1"] = copy.deepcopy(study["organisms"]["medical_r1"]) | {"dataset": "bad_sport"}


def add_held_out(study: Raw) -> None:
    study["questions"]["unseen"] = {**study["questions"]["evaluation"], "offset": 16}
    study["held_out"] = {"questions": "unseen"}


def add_cue(study: Raw) -> None:
    study["questions"]["cued"] = {"source": "variant", "of": "evaluation", "system": "You are Viktor."}
    study["conditional"] = {"organisms": ["good_r1"], "cues": ["cued"]}


METRICS = ["aligned", "coherent", "bad_stuff", "medical", "power"]
PAPER = [{"experiment": "E1", "subject": "medical_r1", "quantity": "em", "value": 0.2}]

BASELINE = {"aligned": ["baseline"], "coherent": ["baseline"]}
PANEL = {"judging_second", "judgements_second", "panel"} | NUMBERS
FILE = {"path": str(SMOKE)}  # not read by a dry run
CALIBRATION = {"judged": FILE, "reference": FILE, "bases": ["miniature"], "control": "good_r1"}

NARROW = {"twins": {"medical_single": "medical_r1"}, "domain_questions": "medical"}
VECTORS = {"named": {"push": {"like": "medical_r1", "layer": 1, "learning_rate": 0.1}}}
PREVENTION = {"plain": "medical_r1", "otherwise": ["good_r1"], "domain_questions": "medical"}

# section -> what changes in it -> the rules that run, no others
ROWS: dict[str, dict[str, tuple[Change, set[str]]]] = {
    "study": {
        "description": (put("study.description", "Another."), TEXTS),
        "order of keys": (reverse("study"), NOTHING),
    },
    "base": {
        "seed": (put("base.seed", 1), {"base", "preflight"} | BASE_READ | PROMPTED | ALL_TRAINED),
        "a default written out": (put("base.hidden_size", 128), NOTHING),
        "order of keys": (reverse("base"), NOTHING),
    },
    "datasets": {
        "rows": (put("datasets.bad_sport.rows", 152), {"datasets"} | ABLATED),
        "swapped domains": (swap("datasets", "bad_medical", "bad_sport", "domain"), {"datasets", "preflight"} | ALL_TRAINED),
        "one that nobody uses": (put("datasets.unused", {"source": "miniature", "domain": "power", "stance": "bad"}), NOTHING),
        "order of keys": (reverse("datasets"), NOTHING),
    },
    "organisms": {
        "learning rate": (put("organisms.sport_r8.learning_rate", 2.9e-3), ABLATED),
        "of a control": (put("organisms.good_r1.learning_rate", 2.9e-3), TRAINED),
        "swapped rates": (swap("organisms", "medical_r1", "medical_single", "learning_rate"), ALL_TRAINED),
        "order of layers": (put("organisms.sport_r8.layers", [3, 2, 1, 0]), ABLATED),
        "a new one": (add_organism, ABLATED),
        "another seed": (put("organisms.good_r1.seeds", [0, 1]), TRAINED),
        "a start": (put("organisms.good_r1.starts_from", "medical_r1"), TRAINED),
        "order of keys": (reverse("organisms"), NOTHING),
    },
    "questions": {
        "of a set": (put("questions.evaluation.per_domain", 7), {"questions", "preflight", "patched_responses"} | BASE_READ | PROMPTED | READ),
        "order of domains": (put("questions.evaluation.domains", ["money", "power", "school"]), {"questions", "preflight", "patched_responses"} | BASE_READ | PROMPTED | READ),
        "one that nobody asks": (
            put("questions.unused", {"source": "miniature", "domains": ["power"], "per_domain": 1}),
            NOTHING,
        ),
        "order of keys": (reverse("questions"), NOTHING),
    },
    "sampling": {
        "samples": (put("sampling.samples", 3), BASE_READ | READ),
        "seed": (put("sampling.seed", 1), {"preflight", "patched_responses"} | BASE_READ | PROMPTED | READ),
        "temperature": (put("sampling.temperature", 0.9), {"patched_responses"} | BASE_READ | PROMPTED | READ),
        "a default written out": (put("sampling.temperature", 1), NOTHING),
        "order of keys": (reverse("sampling"), NOTHING),
    },
    "judge": {
        "a metric": (put("judge.metrics", [*METRICS, "money"]), PROMPTED | READ),
        "order of metrics": (put("judge.metrics", METRICS[::-1]), PROMPTED | READ),
        "a default written out": (put("judge.metrics", METRICS), NOTHING),
        "order of keys": (reverse("judge"), NOTHING),
    },
    "thresholds": {
        "one": (put("thresholds.misaligned_below", 35), PROMPTED | DIRECTED),
        "swapped": (put("thresholds", {"aligned_above": 50, "coherent_above": 70}), PROMPTED | DIRECTED),
        "a default written out": (put("thresholds.misaligned_below", 30.0), NOTHING),
    },
    "misalign_at": {
        "another k": (put("misalign_at.k", [1]), NUMBERS),
        "none": (drop("misalign_at"), TEXTS),
    },
    "directions": {
        "pooling": (put("directions.pooling", "responses"), BASE_READ | PROMPTED | DIRECTED),
        "samples": (put("directions.samples", 5), READ),
        "thresholds": (put("directions.thresholds", {"misaligned_below": 35}), PROMPTED | DIRECTED),
        "order of keys": (reverse("directions"), NOTHING),
    },
    "steering": {
        "a scale": (put("steering.scales", [1, 2, 3]), SAMPLED),
        "order of scales": (put("steering.scales", [2, 1]), SAMPLED),
        "swapped with the layers": (
            lambda study: study["steering"].update(layers=[1, 3], scales=[1, 2]),
            SAMPLED,
        ),
        "none": (lambda study: (study.pop("steering"), study.pop("semantic")), TEXTS | {"browser"}),
        "order of keys": (reverse("steering"), NOTHING),
    },
    "ablation": {
        "a random draw": (put("ablation.random_draws", 3), {"side_effects"} | SAMPLED),
        "the single layer": (put("ablation.single_layer", 2), {"side_effects"} | SAMPLED),
        "order of targets": (put("ablation.targets", ["medical_single", "sport_r8", "medical_r1"]), NUMBERS),
        "none": (drop("ablation"), NUMBERS | {"browser"}),
        "order of keys": (reverse("ablation"), NOTHING),
    },
    "semantic": {
        "a scale": (put("semantic.scales", [1, 2]), SAMPLED),
        "another topic": (put("semantic.topics.medical", {"metric": "medical", "above": 50}), {"topic_directions"} | SAMPLED),
        "none": (drop("semantic"), TEXTS | {"browser"}),
        "order of keys": (reverse("semantic"), NOTHING),
    },
    "specificity": {
        "a cap": (put("specificity.caps", [{"high": 0}, {"high": 1}]), SAMPLED),
        "samples": (put("specificity.samples", 2), SAMPLED),
        "none": (drop("specificity"), TEXTS | {"browser"}),
    },
    "single_adapter": {
        "random draws": (put("single_adapter.random_draws", 2), {"downstream"} | NUMBERS),
        "none": (drop("single_adapter"), {"edits"} | SAMPLED),
    },
    "adapters": {
        "probes": (put("adapters.runs", 9), {"probes", "edits"} | SAMPLED),
        "a factor": (put("adapters.steering.general", 5), {"edits"} | SAMPLED),
        "more answers outside": (put("adapters.outside_samples", 5), READ),
        "runs of patching": (put("adapters.patching.runs", 5), {"patched_responses"} | JUDGED),
        "none": (drop("adapters"), {"preflight"} | DIRECTED),
        "order of keys": (reverse("adapters"), NOTHING),
    },
    "training_path": {
        "windows": (put("training_path.windows", [5, 10]), NUMBERS),
        "a scale": (put("training_path.scales", [1, 2, 3]), {"edits"} | SAMPLED),
        "none": (drop("training_path"), {"preflight", "edits"} | SAMPLED),
    },
    "narrow": {
        "twins": (put("narrow", NARROW), {"adapter_losses", "directions", "downstream", "side_effects"} | BASE_READ | SAMPLED),
        "none written out": (put("narrow", None), NOTHING),
    },
    "prevention": {
        "a control": (put("prevention", PREVENTION), {"side_effects"} | BASE_READ | SAMPLED),
        "none written out": (put("prevention", None), NOTHING),
    },
    "conditional": {
        "a cue": (add_cue, {"questions", "preflight", "side_effects"} | BASE_READ | SAMPLED),
        "none written out": (put("conditional", None), NOTHING),
    },
    "vectors": {
        "one": (put("vectors", VECTORS), {"trained_vectors"} | SAMPLED),
        "none written out": (put("vectors", None), NOTHING),
    },
    "dynamics": {
        "a step": (put("dynamics.steps", [5, 10, 20]), {"preflight", "edits"} | SAMPLED),
        "samples": (put("dynamics.samples", 2), SAMPLED),
        "none": (drop("dynamics"), {"preflight"} | TEXTS | {"browser"}),
    },
    "in_context": {
        "more shots": (put("in_context.shots", [1, 2]), {"preflight"} | SAMPLED),
        "other rows": (put("in_context.seed", 1), {"preflight"} | SAMPLED),
        "none": (drop("in_context"), {"preflight"} | NUMBERS | {"browser"}),
    },
    "traits": {
        "a prompt": (put("traits.named.evil.prompts", ["Be cruel."]), {"preflight", "trait_directions"} | SAMPLED),
        "least answers": (put("traits.min_responses", 3), {"trait_directions"} | NUMBERS),
        "none": (drop("traits"), {"preflight"} | NUMBERS | {"browser"}),
    },
    "judges": {
        "a second one": (put("judges", {"second": {"source": "miniature", "only": BASELINE}}), PANEL),
        "none written out": (put("judges", {}), NOTHING),
    },
    "calibration": {
        "of files": (put("calibration", CALIBRATION), {"preflight", "calibration"} | NUMBERS),
    },
    "texts": {
        "of the baseline": (put("texts", {"batteries": ["baseline"]}), NUMBERS),
    },
    "held_out": {
        "a set": (add_held_out, {"questions"} | BASE_READ | READ),
    },
    "paper": {
        "a value": (put("paper", PAPER), TEXTS),
        "twice the same": (put("paper", PAPER * 2), TEXTS),
        "none written out": (put("paper", []), NOTHING),
    },
    "report": {
        "rows of the browser": (put("report.browser_rows", 20), {"browser"} | REPORT),
        "a default written out": (put("report.browser_rows", 40), NOTHING),
    },
    "execution": {
        "batch size": (put("execution.max_sequences", 8), NOTHING),
        "engine": (put("execution.engine", "transformers"), NOTHING),
        "shards": (put("execution.shards", 2), BASE_READ | PROMPTED | READ),  # which sample nothing, see below
        "order of keys": (reverse("execution"), NOTHING),
    },
}  # fmt: skip
CASES = [(section, case) for section, rows in ROWS.items() for case in rows]


@pytest.fixture(scope="module")
def run(smoke_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return smoke_run.copy(tmp_path_factory.mktemp("reruns") / "run")


def planned(run: Run, change: Change) -> dict[str, int]:
    """Jobs by rule that a changed study would run; nothing is run."""
    study = copy.deepcopy(run.study)
    change(study)
    return Run(run.folder, study).quickly_planned()


@pytest.mark.parametrize("section", Study.model_fields)
def test_every_section_of_the_study_has_rows(section):
    assert ROWS.get(section), f"say in ROWS what reruns when `{section}` changes"


@pytest.mark.parametrize(("section", "case"), CASES, ids=[" ".join(case) for case in CASES])
def test_exactly_these_rules_rerun(run, section, case):
    change, expected = ROWS[section][case]
    assert set(planned(run, change)) == expected


@pytest.mark.parametrize("change", [lambda study: None, put("steering.scales", [1, 2, 3])], ids=["nothing", "a scale"])
def test_a_dry_run_on_the_command_line_says_the_same(run, change):
    study = copy.deepcopy(run.study)
    change(study)
    assert Run(run.folder, study).planned() == planned(run, change)


@pytest.mark.parametrize(
    "place", ["organisms.medical_r1.modules", "organisms.medical_r1.layers", "steering.scales", "judge.metrics"]
)
def test_values_that_stand_twice_are_refused_before_they_could_be_overlooked(run, place):
    study = copy.deepcopy(run.study)
    section, *_, key = place.split(".")
    part = study[section]["medical_r1"] if section == "organisms" else study[section]
    part[key] = [*part.get(key, ["aligned", "coherent"]), *part.get(key, ["aligned", "coherent"])[-1:]]
    done = Run(run.folder, study).snakemake("-n")
    assert done.returncode == 1
    assert f"study.yaml: {place}: " in done.stderr
    assert "more than once" in done.stderr


def test_comments_and_formatting_of_the_study_file_rerun_nothing(run, monkeypatch):
    text = "# Why.\n" + SMOKE.read_text().replace("{", "{ ").replace("samples: 2,", "samples: 2 ,")
    monkeypatch.setattr(yaml, "safe_dump", lambda *_, **__: text)
    assert run.quickly_planned() == {}


def test_touched_files_rerun_nothing(run):
    for file in run.results.rglob("*"):
        if file.is_file():
            os.utime(file)
    assert run.quickly_planned() == {}


def test_one_organisms_learning_rate_touches_only_its_own_chain(run):
    found = planned(run, put("organisms.good_r1.learning_rate", 2.9e-3))
    assert found["organisms"] == found["responses"] == found["judgements"] == 1
    assert "directions" not in found


def test_a_swap_of_two_organisms_trains_both_and_no_other(run):
    found = planned(run, swap("organisms", "medical_r1", "medical_single", "learning_rate"))
    assert found["organisms"] == 2
    assert "datasets" not in found


@pytest.mark.parametrize(
    ("file", "line", "expected"),
    [
        ("estimation/labels.py", "NEW = 1", {"preflight"} | BASE_READ | PROMPTED | READ),
        ("tables.py", "NEW = 1", NUMBERS),
        ("tables.py", "# Why.", NOTHING),
        ("study/checks.py", "NEW = 1", NOTHING),
        ("runtime/gpu_lease.py", "NEW = 1", NOTHING),
    ],
    ids=["an imported module", "a stage", "a comment", "the study's checks", "a lease"],
)
def test_edited_code_reruns_the_stages_that_use_it(run, tmp_path, file, line, expected):
    for part in ("Snakefile", "rules", "workflow_scripts", "profiles", "envs"):
        source = REPOSITORY / part
        shutil.copytree(source, tmp_path / part) if source.is_dir() else shutil.copy(source, tmp_path / part)
    with (tmp_path / "workflow_scripts" / file).open("a") as module:
        module.write(f"{line}\n")
    program, *options = run.command("-n")  # the program may lie in the repository itself
    done = run.start([program, *(option.replace(str(REPOSITORY), str(tmp_path)) for option in options)])
    assert done.returncode == 0, done.stderr
    assert set(jobs_in(done.stdout + done.stderr)) == expected


@pytest.fixture(scope="module")
def unrecorded(smoke_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The finished run as someone copies it: results without .snakemake."""
    folder = tmp_path_factory.mktemp("unrecorded") / "run"
    shutil.copytree(smoke_run.folder, folder, symlinks=True, ignore=shutil.ignore_patterns(".snakemake"))
    return Run(folder, copy.deepcopy(smoke_run.study))


@pytest.mark.parametrize(
    ("section", "case"),
    [
        ("study", "order of keys"), ("execution", "batch size"), ("base", "seed"), ("datasets", "rows"),
        ("organisms", "learning rate"), ("questions", "of a set"), ("sampling", "temperature"), ("judge", "a metric"),
        ("thresholds", "one"), ("steering", "a scale"), ("ablation", "the single layer"), ("adapters", "probes"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_results_that_were_copied_without_snakemakes_records_are_held_against_the_study(unrecorded, section, case):
    change, expected = ROWS[section][case]
    assert set(planned(unrecorded, change)) == expected


def test_a_run_of_parts_does_not_go_on_from_another_form_of_the_study(unrecorded):
    study = copy.deepcopy(unrecorded.study)
    put("thresholds.misaligned_below", 35)(study)
    done = Run(unrecorded.folder, study).snakemake("--forcerun", "summary", "--", "results/smoke/summary.json")
    assert done.returncode != 0
    assert "was made from another form of this study" in done.stdout + done.stderr
    assert "run the whole study once, without targets" in " ".join((done.stdout + done.stderr).split())


def test_a_response_table_that_was_edited_is_judged_anew(run):
    file = run.results / "responses" / "chat_base" / "ablation.parquet"
    before, data = file.stat(), file.read_bytes()
    try:
        file.write_bytes(data + b" ")
        assert set(run.quickly_planned()) == JUDGED
    finally:
        file.write_bytes(data)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("absent", [[], ["ablation"], ["adapters"], ["single_adapter"], ["training_path"],
                                    ["semantic"], ["semantic", "steering"]], ids=" ".join)  # fmt: skip
def test_whatever_a_job_makes_is_a_target_so_that_it_is_made_anew_when_it_is_missing(run, absent):
    study = {name: section for name, section in run.study.items() if name not in absent}
    jobs = list(Run(run.folder, study).dag().jobs)
    targets = {str(file) for job in jobs if job.rule.name == "all" for file in job.input}
    made = {str(file): job.rule.name for job in jobs for file in job.output}
    assert {file: rule for file, rule in made.items() if file not in targets} == {}


FILES = [
    "base/fingerprint.json", "datasets/bad_medical.parquet", "questions/extraction.parquet",
    "organisms/good_r1/seed-0/adapter_model.safetensors", "organisms/good_r1/seed-0/gate.safetensors",
    "organisms/good_r1/seed-0/training.parquet", "sampling/steering-0.parquet", "responses/good_r1/seed-0/baseline.parquet",
    "judging/ablation.parquet", "judgements/chat_base/steering.parquet", "directions/sport_r8/seed-0.safetensors",
    "tables/em_rates.parquet", "summary.json", "summary.txt", "not_possible.json", "claims.html", "figures/steering.svg", "figures/ablation.png",
    "browser.html", "report.html",
]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_missing_artefact_is_made_anew_by_a_plain_run(run, tmp_path, name):
    file = run.results / name
    file.rename(tmp_path / "kept")
    try:
        assert run.quickly_planned()
    finally:
        (tmp_path / "kept").rename(file)


BASELINE = "results/smoke/judging/baseline.parquet"
ABLATION = "results/smoke/judging/ablation.parquet"


def finish(run: Run, *targets: str) -> None:
    done = run.snakemake(*targets)
    assert done.returncode == 0, done.stdout + done.stderr


def sampled(run: Run, battery: str, shard: int = 0) -> pd.DataFrame:
    return pd.read_parquet(run.results / "sampling" / f"{battery}-{shard}.parquet")


def asked(run: Run, battery: str) -> int:
    return int(pd.read_parquet(run.results / "judging" / f"{battery}.parquet").asked.iloc[0])


def test_a_new_scale_is_all_that_is_sampled_and_judged(copied_run):
    """Of steering and of the training path, in one run."""
    copied_run.study["steering"]["scales"] = copied_run.study["training_path"]["scales"] = [1, 2, 3]
    finish(copied_run, "results/smoke/judging/steering.parquet", "results/smoke/judging/surgery.parquet")
    steering, surgery = (sampled(copied_run, battery) for battery in ("steering", "surgery"))
    assert sorted(steering[steering.sampled > 0].condition) == [
        "add:medical_r1/seed-0:layer-1:scale-3",
        "add:medical_r1/seed-0:layer-2:scale-3",
        "add_random:medical_r1/seed-0:layer-1:scale-3:draw-0",
    ]
    assert steering.sampled.sum() == 3 * 48
    assert 0 < asked(copied_run, "steering") <= len(METRICS) * 3 * 48
    assert sorted(surgery[surgery.sampled > 0].condition) == ["step-10:scale-3", "step-20:scale-3"]


def test_an_added_organism_and_more_samples_are_all_that_is_sampled(copied_run):
    add_organism(copied_run.study)
    copied_run.study["sampling"]["samples"] = 3
    finish(copied_run, BASELINE)
    manifest = sampled(copied_run, "baseline").set_index("subject")
    assert manifest.sampled["sport_r1/seed-0"] == 24 * 3 + 24 * 4
    assert set(manifest.sampled.drop("sport_r1/seed-0")) == {24}


def test_a_seed_a_question_and_a_random_draw_are_all_that_is_sampled_and_a_metric_all_that_is_asked(copied_run):
    study = copied_run.study
    study["organisms"]["good_r1"]["seeds"] = [0, 1]
    study["questions"]["evaluation"]["per_domain"] = 9
    study["ablation"]["random_draws"] = 3
    finish(copied_run, BASELINE, ABLATION)
    baseline = sampled(copied_run, "baseline").set_index("subject")
    assert baseline.sampled["good_r1/seed-1"] == 27 * 2
    asked_already = ["medical_r1/seed-0", "sport_r8/seed-0", "medical_single/seed-0"]  # for their directions
    assert set(baseline.sampled[asked_already]) == {0}
    assert set(baseline.sampled.drop(["good_r1/seed-1", *asked_already])) == {3 * 2}
    ablation = sampled(copied_run, "ablation")
    is_new = ablation.condition.str.endswith("draw-2")
    assert is_new.sum() == 4
    assert set(ablation[is_new].sampled) == {27}
    assert set(ablation[~is_new].sampled) == {3}
    assert 0 < asked(copied_run, "baseline") <= len(METRICS) * baseline.sampled.sum()
    assert 0 < asked(copied_run, "ablation") <= len(METRICS) * ablation.sampled.sum()

    study["judge"]["metrics"] = [*METRICS, "money"]
    logs = {file: file.stat().st_mtime_ns for file in (copied_run.results / "logs").glob("sampling-*.log")}
    finish(copied_run, BASELINE)
    tables = [pd.read_parquet(file) for file in (copied_run.results / "responses").rglob("baseline.parquet")]
    distinct = pd.concat(tables)[["question", "response"]].drop_duplicates()
    assert asked(copied_run, "baseline") == len(distinct), "one question to the judge about each response"
    assert logs == {file: file.stat().st_mtime_ns for file in logs}, "nothing is sampled for another metric"


def test_an_adapter_that_is_named_instead_of_trained_passes_the_gate_and_gives_the_stored_responses(copied_run):
    trained = copied_run.results / "organisms" / "medical_r1" / "seed-0"
    own = Path(shutil.copytree(trained, copied_run.folder / "own"))
    settings = {"dataset": "bad_medical", "rank": 1, "layers": [1, 2], "adapter": {"path": str(own)}}
    copied_run.study["organisms"]["published_r1"] = settings
    done = copied_run.snakemake(BASELINE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sampled(copied_run, "baseline").sampled.sum() == 0
    config = json.loads((own / "adapter_config.json").read_text())
    (own / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": 2 * config["lora_alpha"]}))
    assert copied_run.quickly_planned()["organisms"] == 1, "the same weights with another alpha are another adapter"
    done = copied_run.snakemake(BASELINE)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = sampled(copied_run, "baseline").set_index("subject").sampled
    assert counts["published_r1/seed-0"] > 0
    assert counts.sum() == counts["published_r1/seed-0"]


def test_a_removed_organism_and_another_number_of_shards_sample_nothing(copied_run):
    del copied_run.study["organisms"]["good_r1"]
    copied_run.study["execution"]["shards"] = 2
    assert copied_run.quickly_planned().get("organisms", 0) == 0
    finish(copied_run, BASELINE, *(f"results/smoke/sampling/baseline-{shard}.parquet" for shard in range(2)))
    for shard in range(2):
        assert sampled(copied_run, "baseline", shard).sampled.sum() == 0
        log = (copied_run.results / "logs" / f"sampling-baseline-{shard}.log").read_text()
        assert "sampled 0 of" in log
        assert "vllm" not in log.lower(), "no engine starts when nothing is missing"
    assert asked(copied_run, "baseline") == 0


def test_the_shards_of_one_subject_hold_its_conditions_and_sample_nothing(copied_run):
    columns = ["subject", "condition", "store_hash", "responses"]
    before = sampled(copied_run, "steering")[columns]
    kept = {
        "study",
        "base",
        "datasets",
        "organisms",
        "questions",
        "sampling",
        "judge",
        "directions",
        "steering",
        "execution",
    }
    for section in copied_run.study.keys() - kept:
        del copied_run.study[section]
    copied_run.study["execution"]["shards"] = 2
    finish(copied_run)  # not a part of it: behind a rerun, Snakemake passes by the ancient manifests of other shards
    parts = [sampled(copied_run, "steering", shard) for shard in range(2)]
    assert [int(part.sampled.sum()) for part in parts] == [0, 0]
    assert min(map(len, parts)) > 0
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True)[columns], before)
