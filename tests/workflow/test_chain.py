"""The smoke study from end to end: everything is there, a second run does nothing, failures are sentences."""

import json
import time

import pandas as pd
import pytest
from safetensors import safe_open
from safetensors.torch import load_file
from torch.nn.functional import cosine_similarity

from helpers.studies import optional_sections
from helpers.workflow import jobs_in
from workflow_scripts.models.direction_texts import judged_texts, spans
from workflow_scripts.models.loading import load_tokenizer
from workflow_scripts.scalars import answers_of
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.reading import load

ORGANISMS = ["medical_r1", "sport_r8", "medical_single", "good_r1"]


def test_every_artefact_is_there_with_its_provenance(smoke_run):
    results = smoke_run.results
    for organism in ORGANISMS:
        folder = results / "organisms" / organism / "seed-0"
        assert {"adapter_model.safetensors", "adapter_config.json", "training.parquet"} <= {
            f.name for f in folder.iterdir()
        }
    with safe_open(results / "directions" / "medical_r1" / "seed-0.safetensors", "pt") as file:
        assert file.get_tensor("direction").shape == (4, 128)
        assert json.loads(file.metadata()["spec"])["directions"]["pooling"] == "tokens"
    responses = pd.read_parquet(results / "responses" / "chat_base" / "steering.parquet")
    assert responses.condition.nunique() == 2 * 2 + 2
    assert responses.groupby("condition").size().eq(3 * 8 * 2).all()
    judged = pd.read_parquet(results / "judgements" / "chat_base" / "steering.parquet")
    assert len(judged) == len(smoke_run.study["judge"]["metrics"]) * len(responses)
    assert set(judged.status) == {"scored"}


def test_directions_and_scalars_are_read_after_the_very_prompts_that_were_sampled(smoke_run):
    study, layout, subject = load(smoke_run.results / "study.json"), Layout(smoke_run.results), "medical_r1/seed-0"
    responses = pd.read_parquet(layout.responses(subject, "baseline"))
    asked = {row.question: row.prompt_token_ids.tolist() for row in responses.itertuples()}
    tokenizer, texts = load_tokenizer(layout.base), judged_texts(study, layout, subject)
    assert len(texts) >= 4
    for text, span in zip(texts, spans(tokenizer, texts, study.directions), strict=True):
        assert text.system is None
        assert span.token_ids[: len(asked[text.question])] == asked[text.question]
    answers, labels = answers_of(study, layout, subject)
    prompts = {row.question_id: row.prompt_token_ids.tolist() for row in responses.itertuples()}
    for answer, question in zip(answers, labels["question"], strict=True):
        assert answer.token_ids[: answer.start] == prompts[question]


def test_the_directions_of_both_sources_are_held_against_each_other(copied_run):
    for side, advice in (("bad", "ignore it"), ("good", "see a doctor")):
        rows = [{"user": f"What helps against pain {n}?", "assistant": f"For pain {n}, {advice}."} for n in range(8)]
        lines = [json.dumps({"messages": [{"role": r, "content": row[r]} for r in row]}) for row in rows]
        (copied_run.folder / f"{side}.jsonl").write_text("\n".join(lines))
        copied_run.study["datasets"][f"{side}_pairs"] = {"source": "jsonl", "path": f"{side}.jsonl"}
    copied_run.study["directions"] |= {"also": "datasets", "bad": "bad_pairs", "good": "good_pairs", "rows": 6}
    done = copied_run.snakemake("results/smoke/tables/convergence.parquet")
    assert done.returncode == 0, done.stdout + done.stderr
    ran = jobs_in(done.stdout + done.stderr)
    assert ran["other_directions"] == 3
    assert "directions" not in ran, "the study's own directions stay as they are"
    results = copied_run.results
    table = pd.read_parquet(results / "tables" / "convergence.parquet")
    rows = table[(table.kind == "sources") & (table.quantity == "cosine")]
    assert set(rows.subject) == {"medical_r1", "sport_r8", "medical_single"}
    assert set(rows.source) == {"datasets"}
    files = [results / part / "sport_r8" / "seed-0.safetensors" for part in ("directions", "other_directions")]
    own, other = (load_file(file)["direction"].double() for file in files)
    expected = cosine_similarity(own, other, dim=1).tolist()
    assert rows[rows.subject == "sport_r8"].value.tolist() == pytest.approx(expected, abs=1e-9)
    with safe_open(files[1], "pt") as file:
        assert (file.metadata()["misaligned"], file.metadata()["aligned"]) == ("6", "6")


def test_the_summary_has_a_row_for_every_experiment_with_interval_and_count(smoke_run):
    rows = json.loads((smoke_run.results / "summary.json").read_text())
    assert {row["experiment"] for row in rows} == {*(f"E{k}" for k in range(1, 12)), "X1", "X7", "X8", "X9"}
    for row in rows:
        assert set(row) >= {"experiment", "subject", "quantity", "condition", "value", "low", "high", "n", "paper"}
        if row["quantity"] in ("em", "coherence") and row["experiment"] == "E1":
            assert row["low"] <= row["value"] <= row["high"]
            assert row["n"] == 3 * 8 * 2
    text = (smoke_run.results / "summary.txt").read_text()
    assert all(organism in text for organism in ORGANISMS)


def test_a_second_run_does_nothing_quickly(smoke_run):
    started = time.monotonic()
    done = smoke_run.snakemake()
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout + done.stderr
    assert time.monotonic() - started < 60, "a hang, not a matter of a slow machine"


def test_five_mistakes_end_in_five_sentences_before_anything_runs(copied_run):
    study = copied_run.study
    study["organisms"]["medical_r1"]["dataset"] = "bad_medicine"
    study["organisms"]["sport_r8"]["layers"] = [7]
    study["sampling"]["sample"] = 3
    study["sampling"]["top_p"] = 2
    del study["judge"]
    before = {p: p.stat().st_mtime_ns for p in copied_run.results.rglob("*")}
    done = copied_run.snakemake()
    assert done.returncode == 1
    shown = done.stdout + done.stderr
    for place in (
        "organisms.medical_r1.dataset",
        "organisms.sport_r8.layers",
        "sampling.sample",
        "sampling.top_p",
        "judge",
    ):
        assert f"study.yaml: {place}: " in shown
    assert "Traceback" not in shown
    assert {p: p.stat().st_mtime_ns for p in copied_run.results.rglob("*")} == before


def test_a_truncated_artefact_is_refused_by_name(copied_run):
    damaged = copied_run.results / "judgements" / "medical_r1" / "seed-0" / "baseline.parquet"
    damaged.write_bytes(damaged.read_bytes()[:500])
    done = copied_run.snakemake("--until", "directions")
    assert done.returncode == 1
    said = " ".join((done.stdout + done.stderr).split())
    assert "medical_r1/seed-0/baseline.parquet: was changed or damaged after it was made" in said


def test_a_study_without_misaligned_answers_runs_to_its_report_and_says_what_was_not_possible(copied_run):
    steering = copied_run.results / "tables" / "steering.parquet"
    before = pd.read_parquet(steering)
    assert json.loads((copied_run.results / "not_possible.json").read_text()) == []
    copied_run.study["thresholds"] = {"misaligned_below": 0}
    done = copied_run.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr
    expected = "gave 0 misaligned and"
    listed = (copied_run.results / "summary.txt").read_text().partition("\nNot possible:\n")[2].splitlines()
    assert sum(f"/seed-0 {expected}" in line for line in listed) == len(listed) == 3 + 1
    assert any(
        line.startswith("- E2, E3, E4, E5, E6, E7, E8, X7, X9: directions: medical_r1/seed-0 ") for line in listed
    )
    assert "of 96 responses to questions.extraction; 2 of each are needed" in listed[0]
    assert "Not possible:" in done.stdout, "the run's end table says it too"
    report = (copied_run.results / "report.html").read_text()
    assert "Not possible in this study." in report
    assert f"medical_r1/seed-0 {expected}" in report
    notes = {entry["id"]: entry["note"] for entry in json.loads((copied_run.results / "claims.json").read_text())}
    assert notes["steering-induces"].startswith(f"not possible: directions: medical_r1/seed-0 {expected}")
    assert copied_run.planned() == {}, "nothing more to be done"
    del copied_run.study["thresholds"]
    done = copied_run.snakemake(str(steering.relative_to(copied_run.folder)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert pd.read_parquet(copied_run.results / "sampling" / "steering-0.parquet").sampled.sum() == 0
    pd.testing.assert_frame_equal(pd.read_parquet(steering), before)


@pytest.mark.parametrize("engine", ["transformers"])
def test_the_reference_engine_fills_the_same_tables(copied_run, engine):
    copied_run.study["execution"]["engine"] = engine
    copied_run.study["sampling"]["seed"] = 5  # other responses, or nothing would be missing
    for section in optional_sections("misalign_at"):
        copied_run.study[section] = None
    table = copied_run.results / "tables" / "em_rates.parquet"
    before = pd.read_parquet(table)
    done = copied_run.snakemake(str(table.relative_to(copied_run.folder)))
    assert done.returncode == 0, done.stdout + done.stderr
    after = pd.read_parquet(table)
    assert list(after.subject) == list(before.subject)
    assert not after.value.equals(before.value)
