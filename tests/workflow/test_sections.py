"""The sections of single experiments: what they ask for is what is made, and a change makes only what is new."""

import json

import pandas as pd
import pytest

EXPERIMENTS = ("semantic", "single_adapter", "adapters", "training_path")


def sampled(run, battery):
    return pd.read_parquet(run.results / "sampling" / f"{battery}-0.parquet")


def test_every_edited_adapter_is_sampled_and_judged(smoke_run):
    judged = pd.read_parquet(smoke_run.results / "judgements" / "medical_single" / "seed-0" / "surgery.parquet")
    copies = {f"step-{step}:scale-{scale}" for step in (10, 20) for scale in (1, 2)}
    assert set(judged.condition) == {"b_projected", "b_projected_renormalised", *copies}
    sets = pd.read_parquet(smoke_run.results / "judgements" / "medical_r1" / "seed-0" / "surgery.parquet")
    assert set(sets.condition) == {"domain", "misalignment", "domain_alignment"}


def test_the_last_kept_copy_at_scale_one_answers_as_the_organism_itself(smoke_run):
    folder = smoke_run.results / "responses" / "medical_single" / "seed-0"
    own, edited = (pd.read_parquet(folder / f"{battery}.parquet") for battery in ("baseline", "surgery"))
    own = own[own.question_set == "evaluation"].set_index(["question_id", "sample"]).response
    last = edited[edited.condition == "step-20:scale-1"].set_index(["question_id", "sample"]).response
    assert (own.reindex(last.index) == last).mean() > 0.9, "the same weights; rounding may turn a draw"


def test_patching_pairs_clean_and_patched_runs_of_both_prompts(smoke_run):
    table = pd.read_parquet(smoke_run.results / "responses" / "medical_r1" / "seed-0" / "patching.parquet")
    assert table.groupby(["question_set", "condition"]).size().eq(2 * 4).all()
    assert set(table.condition) == {"clean", "tokens", "prompt"}
    lengths = table.prompt_token_ids.str.len().groupby(table.question_id).first()
    assert len(lengths) == 4


def test_names_of_adapters_stand_beside_their_probes(smoke_run):
    named = json.loads((smoke_run.results / "probes" / "medical_r1" / "seed-0.json").read_text())
    assert set(named["names"]) == {"layer_1", "layer_2"}
    assert set(named["sets"]) == {"general", "specialised"}
    assert all(role["layers"] and role["by"] in ("rule", "largest") for role in named["sets"].values())
    table = pd.read_parquet(smoke_run.results / "probes" / "medical_r1" / "seed-0.parquet")
    assert len(table[table.quantity == "accuracy"][["contrast", "split"]].drop_duplicates()) == 4 * 2


def test_a_study_without_these_sections_has_none_of_their_jobs(copied_run):
    for section in EXPERIMENTS:
        copied_run.study[section] = None
    planned = copied_run.planned("--forceall")
    jobs = {"scalars", "probes", "edits", "patched_responses", "downstream", "topic_directions"}
    assert not jobs & set(planned)


@pytest.mark.parametrize(
    ("place", "value", "rules"),
    [
        (("semantic", "scales"), [1, 2], {"sampling", "responses", "judging", "judgements"}),
        (("adapters", "runs"), 9, {"probes", "edits", "sampling", "responses", "judging", "judgements"}),
        (("adapters", "patching", "runs"), 5, {"patched_responses", "judging", "judgements"}),
        (("single_adapter", "random_draws"), 2, {"downstream"}),
        (("training_path", "windows"), [5, 10], set()),
        (("training_path", "scales"), [1, 2, 3], {"edits", "sampling", "responses", "judging", "judgements"}),
    ],
)
def test_a_change_of_one_experiment_reruns_only_its_own_rules(copied_run, place, value, rules):
    section = copied_run.study
    for name in place[:-1]:
        section = section[name]
    section[place[-1]] = value
    planned = set(copied_run.planned())
    follow = {"tables", "summary", "claims", "figures", "browser", "report", "results", "all"}
    assert planned - follow == rules
    assert "tables" in planned


def test_a_new_scale_of_the_training_path_samples_only_its_own_copies(copied_run):
    copied_run.study["training_path"]["scales"] = [1, 2, 3]
    target = copied_run.results / "sampling" / "surgery-0.parquet"
    done = copied_run.snakemake(str(target.relative_to(copied_run.folder)))
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = sampled(copied_run, "surgery")
    new = manifest[manifest.sampled > 0]
    assert sorted(new.condition) == ["step-10:scale-3", "step-20:scale-3"]
