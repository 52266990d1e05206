"""The sections of single experiments: what they ask for is what is made, and a change makes only what is new."""

import json

import pandas as pd

EXPERIMENTS = ("semantic", "single_adapter", "adapters", "training_path")


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
    assert len(table[table.quantity == "accuracy"][["contrast", "split"]].drop_duplicates()) == 4 * 3


def test_a_study_without_these_sections_has_none_of_their_jobs(copied_run):
    for section in (*EXPERIMENTS, "dynamics"):  # which samples edited copies, too
        copied_run.study[section] = None
    planned = copied_run.planned("--forceall")
    jobs = {"scalars", "probes", "edits", "patched_responses", "downstream", "topic_directions"}
    assert not jobs & set(planned)
