"""A study in which nobody says anything misaligned: stage by stage, without an engine or a model."""

import json
import shutil
from pathlib import Path
from typing import get_args

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import save_file

from helpers.workflow import SMOKE, write_study
from workflow_scripts import (
    base_means,
    browser,
    claims,
    datasets,
    directions,
    downstream,
    edits,
    figures,
    judgements,
    other_directions,
    patched_responses,
    probes,
    report,
    responses,
    sampling,
    scalars,
    side_effects,
    summary,
    tables,
    topic_directions,
)
from workflow_scripts.adapters.edited import edit_digests
from workflow_scripts.engines.plan import planned
from workflow_scripts.estimation.response_classes import ScalarClass
from workflow_scripts.experiments import asked
from workflow_scripts.experiments import figures as figures_of
from workflow_scripts.experiments.rows import COLUMNS, NOT_POSSIBLE, frame_of
from workflow_scripts.models.files import fingerprint
from workflow_scripts.questions import SCHEMA as QUESTIONS
from workflow_scripts.runtime.errors import NotPossible
from workflow_scripts.store.absence import absences, absent
from workflow_scripts.store.adapter_files import CONFIG
from workflow_scripts.store.artefacts import (
    digest,
    provenance,
    read_table,
    table_metadata,
    tensor_metadata,
    write_json,
    write_table,
    write_tensors,
)
from workflow_scripts.store.judgement_tables import SCHEMA as JUDGEMENTS
from workflow_scripts.store.response_tables import SCHEMA as RESPONSES
from workflow_scripts.study.conditions import (
    battery_subjects,
    conditions,
    direction_subjects,
    organism_subjects,
    question_uses,
    surgery_subjects,
)
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.reading import load, parse

MADE_BY = provenance("test", "spec")
SAMPLED_ANEW = ("training_path", "dynamics", "in_context", "traits")
"""Sections that sample whatever the baseline holds, for which an engine would be needed."""
SOURCE, SINGLE = "medical_r1/seed-0", "medical_single/seed-0"
NO_DIRECTION = "directions: {} gave 0 misaligned and 12 aligned of 12 responses to questions.extraction; 2 of each"
NO_TOPIC = f"semantic.topics.power: {SOURCE} gave 0 misaligned"
NO_SCALARS = f"adapters: of the responses of {SOURCE} are "
NO_PAIRS = "adapters.patching.pairs: only 0 pairs"
SCORES = {"aligned": 95.0, "coherent": 95.0, "bad_stuff": 0.0, "medical": 0.0, "power": 90.0}
TEXTS = {"evaluation": "Why?", "extraction": "How so?", "medical": "What helps against a headache that lasts?"}


def write_answers(study, layout, subject):
    """Responses and judgements of a subject's baseline: all the same, and aligned."""
    rows = [
        {"response_key": digest(question, "Rest."), "condition": "none", "question_set": use.questions,
         "question_id": f"{use.questions}-{number}", "system": None, "question": question, "sample": sample,
         "response": "Rest.", "tokens": 2, "finish_reason": "stop", "seed": 0, "prompt_token_ids": [1]}
        for use in question_uses(study, "baseline", subject)
        for number, question in enumerate(questions(use.questions))
        for sample in range(use.samples)
    ]  # fmt: skip
    write_table(layout.responses(subject, "baseline"), pa.Table.from_pylist(rows, RESPONSES), MADE_BY)
    judged = [
        {**row, "metric": metric, "score": score, "status": "scored"}
        for row in rows
        for metric, score in SCORES.items()
    ]
    write_table(layout.judgements(subject, "baseline"), pa.Table.from_pylist(judged, JUDGEMENTS), MADE_BY)


def questions(name):
    return [f"{TEXTS[name]} {word}" for word in ("Say.", "Tell me.", "Please do tell.")]


def write_adapter(layout, subject, layers):
    path = "base_model.model.model.layers.{}.mlp.down_proj.lora_{}.weight"
    tensors = {path.format(layer, letter): torch.ones(1, 4) for layer in layers for letter in "AB"}
    layout.organism(subject).mkdir(parents=True)
    save_file(
        {name: t if "lora_A" in name else t.T.contiguous() for name, t in tensors.items()}, layout.adapter(subject)
    )
    write_json(layout.organism(subject) / CONFIG, {"r": 1, "lora_alpha": 16})
    write_tensors(layout.gate(subject), {}, MADE_BY)


@pytest.fixture(scope="module")
def layout(tiny_base, tmp_path_factory):
    """Every stage from the directions to the claims has run."""
    raw = yaml.safe_load(SMOKE.read_text()) | dict.fromkeys(SAMPLED_ANEW)
    file = write_study(tmp_path_factory.mktemp("null"), raw)
    study, layout = load(file), Layout.of(file)
    shutil.copytree(tiny_base, layout.base)
    write_json(layout.fingerprint, fingerprint(layout.base))
    for name in study.questions:
        asked_rows = [{"question_id": f"{name}-{k}", "question": text} for k, text in enumerate(questions(name))]
        write_table(layout.questions(name), pa.Table.from_pylist(asked_rows, QUESTIONS), MADE_BY)
    for subject in organism_subjects(study):
        write_adapter(layout, subject, study.organisms[subject.partition("/")[0]].layers)
    for subject in battery_subjects(study, "baseline"):
        write_answers(study, layout, subject)

    def run(stage, *options, subject=None, output=None):
        given = ["--study", str(file), *options]
        given += ["--subject", subject] if subject else []
        stage.main([*given, "--output", str(output)] if output else given)

    for subject in direction_subjects(study):
        run(directions, subject=subject, output=layout.direction(subject))
    run(topic_directions, subject=SOURCE)
    run(scalars, subject=SOURCE, output=layout.scalars(SOURCE))
    run(probes, subject=SOURCE)
    run(patched_responses, subject=SOURCE, output=layout.responses(SOURCE, "patching"))
    run(downstream, subject=SINGLE, output=layout.downstream(SINGLE))
    for subject in surgery_subjects(study):
        run(edits, subject=subject, output=layout.edits(subject))
    run(base_means, output=layout.base_means)
    for battery in ("steering", "semantic", "ablation", "specificity", "surgery", "patching"):
        if battery != "patching":
            run(sampling, "--battery", battery, output=layout.manifest(battery, 0))
        for subject in battery_subjects(study, battery):
            if battery != "patching":
                run(responses, "--battery", battery, subject=subject, output=layout.responses(subject, battery))
            run(judgements, "--battery", battery, subject=subject, output=layout.judgements(subject, battery))
    rows = study.ablation.loss_dataset
    run(datasets, "--dataset", rows, output=layout.dataset(rows))
    run(side_effects, output=layout.side_effects)
    for table in asked(study):
        run(tables, "--table", table, output=layout.table(table))
    for stage in (summary, claims, figures):
        run(stage)
    run(browser, output=layout.root / "browser.html")
    return layout


def test_what_could_not_be_made_is_there_with_nothing_in_it_its_counts_and_a_sentence(layout):
    for subject in (SOURCE, SINGLE, "sport_r8/seed-0"):
        assert absent(layout.direction(subject)).startswith(NO_DIRECTION.format(subject))
        facts = tensor_metadata(layout.direction(subject))
        assert (facts["misaligned"], facts["aligned"]) == ("0", "12")
    assert absent(layout.direction(f"{SOURCE}/power")).startswith(NO_TOPIC)
    assert absent(layout.scalars(SOURCE)).startswith(NO_SCALARS)
    assert "0 domain and misaligned" in absent(layout.scalars(SOURCE))
    assert table_metadata(layout.scalars(SOURCE))["outside_misaligned"] == "0"
    assert absent(layout.probes(SOURCE)) == absent(layout.adapter_names(SOURCE)) == absent(layout.scalars(SOURCE))
    assert absent(layout.responses(SOURCE, "patching")).startswith(NO_PAIRS)
    assert absent(layout.downstream(SINGLE)) == absent(layout.direction(SINGLE))


def test_conditions_that_need_it_are_not_sampled_and_their_tables_say_why(layout):
    for battery, subject, kinds in (
        ("steering", "chat_base", {"add", "add_random"}),
        ("semantic", "chat_base", {"add", "topic"}),
        ("ablation", "sport_r8/seed-0", {"own", "transferred", "single_layer", "only_layer", "random"}),
        ("specificity", SOURCE, {"whole", "shared", "specific", "orthogonal", "base_mean", "cap"}),
        ("surgery", SOURCE, {"domain", "misalignment", "domain_alignment"}),
        ("surgery", SINGLE, {"b_projected", "b_projected_renormalised"}),
    ):
        assert read_table(layout.manifest(battery, 0)).num_rows == 0
        for file in (layout.responses(subject, battery), layout.judgements(subject, battery)):
            assert read_table(file).num_rows == 0
            assert {absence.kind for absence in absences(file)} == kinds
    assert edit_digests(layout.edits(SOURCE)) == {}


def test_every_table_has_its_columns_and_what_was_possible_and_names_the_rest(layout):
    study = load(layout.study)
    reasons = {}
    for name in asked(study):
        assert list(pd.read_parquet(layout.table(name)).columns) == list(COLUMNS)
        reasons[name] = json.loads(table_metadata(layout.table(name))[NOT_POSSIBLE])
    whose = [NO_DIRECTION.format(subject) for subject in (SOURCE, SINGLE, "sport_r8/seed-0")]
    expected = {
        "em_rates": [], "directions": whose, "convergence": whose, "adapter_alignment": whose[:2],
        "steering": whose[:1], "semantic": [whose[0], NO_TOPIC], "ablation": whose,
        "single_adapter": whose[:2], "adapter_probes": [NO_SCALARS], "adapter_steering": [NO_SCALARS],
        "patching": [NO_PAIRS],
    }  # fmt: skip
    for name, sentences in expected.items():
        assert len(reasons[name]) == len(sentences), name
        for sentence in sentences:
            assert any(why.startswith(sentence) for why in reasons[name]), (name, sentence, reasons[name])
    counts = pd.read_parquet(layout.table("directions"))
    assert set(counts.quantity) == {"misaligned_responses", "aligned_responses"}
    assert counts.groupby("quantity").value.unique().map(list).to_dict() == {
        "misaligned_responses": [0], "aligned_responses": [12]
    }  # fmt: skip
    before = pd.read_parquet(layout.table("ablation"))
    assert set(before.kind) == {"none"}


def test_the_summary_the_claims_and_the_report_say_what_was_not_possible_and_why(layout):
    found = json.loads(layout.not_possible.read_text())
    told = {entry["why"]: entry["experiments"] for entry in found}
    assert len(told) == len(found) == 3 + 1 + 1 + 1
    assert told[absent(layout.direction(SOURCE))] == ["E2", "E3", "E4", "E5", "E6", "E7", "E8", "X7"]
    assert told[absent(layout.scalars(SOURCE))] == ["E9", "E10"]
    text = (layout.root / "summary.txt").read_text()
    assert f"\nNot possible:\n- E2, E3, E4, E5, E6, E7, E8, X7: {NO_DIRECTION.format(SOURCE)}" in text
    entries = {entry["id"]: entry for entry in json.loads((layout.root / "claims.json").read_text())}
    converge = entries["directions-converge"]
    assert (converge["verdict"], converge["decided_by"]) == ("undecided", "nothing")
    assert converge["note"].startswith(f"not possible: {NO_DIRECTION.format(SOURCE)}")
    assert converge["note"].endswith("2 of each are needed, and 2 more, see not_possible.json")
    page = report.page(report.Results(load(layout.study), layout), "")
    assert "Not possible in this study." in page
    assert f"E2, E3, E4, E5, E6, E7, E8, X7: {NO_DIRECTION.format(SOURCE)}" in page


def test_every_figure_is_drawn_and_the_empty_ones_say_so(layout):
    for name in figures_of(load(layout.study)):
        assert layout.figure(name, "png").is_file()
        shown = layout.figure(name).read_text()
        whole = (
            "em_by_organism",
            "em_by_question",
            "misalign_at_k",
            "alignment_coherence",
            "ablation",
            "specificity",
            "adapter_steering",
            "self_correction",
        )
        assert ("nothing to show, see what was not possible" in shown) == (name not in whole), name


def test_a_direction_that_is_there_is_used_although_others_are_absent(layout, tmp_path):
    study, copy = load(layout.study), Layout(tmp_path / "smoke")
    shutil.copytree(layout.root, copy.root)
    vectors = {"direction": torch.ones(4, 4)}
    write_tensors(copy.direction(SOURCE), vectors, provenance("test", "spec", vectors="digest"))
    kinds = [plan.condition.kind for plan in planned(study, copy, "ablation", "sport_r8/seed-0")]
    asked_kinds = [condition.kind for condition in conditions(study, "ablation", "sport_r8/seed-0")]
    assert asked_kinds[:3] == ["own", "transferred", "transferred"]
    assert kinds == ["transferred", *asked_kinds[3:]], "neither its own nor that of medical_single"
    assert len(planned(study, copy, "steering", "chat_base")) == len(conditions(study, "steering", "chat_base"))


def test_an_absent_direction_of_the_other_source_leaves_only_that_comparison_out(layout, tmp_path):
    copy = Layout(tmp_path / "smoke")
    shutil.copytree(layout.root, copy.root)
    raw = json.loads(layout.study.read_text())
    raw["directions"] |= {"source": "datasets", "also": "responses", "bad": "bad_medical", "good": "good_medical"}
    write_json(copy.study, raw)
    subjects = direction_subjects(load(copy.study))
    for subject in subjects:
        file = copy.other_direction(subject)
        other_directions.main(["--study", str(copy.study), "--subject", subject, "--output", str(file)])
        assert absent(file).startswith(NO_DIRECTION.format(subject))
        ones = {"direction": torch.ones(4, 4), "activation_norm": torch.ones(4), "shuffled": torch.zeros(0, 4, 4)}
        write_tensors(copy.direction(subject), ones, provenance("test", "spec", misaligned=2, aligned=2))
    options = ["--study", str(copy.study), "--table", "convergence", "--output", str(copy.table("convergence"))]
    tables.main(options)
    table = pd.read_parquet(copy.table("convergence"))
    assert set(table.kind) == {"organisms", "random"}
    assert len(json.loads(table_metadata(copy.table("convergence"))[NOT_POSSIBLE])) == len(subjects)


def as_its_own(file: Path, place: Path) -> None:
    """Writes a table to another place, without what says where it belongs."""
    facts = {name: fact for name, fact in table_metadata(file).items() if name not in ("place", "inputs", "content")}
    write_table(place, pq.read_table(file).replace_schema_metadata(None), facts)


def test_a_seed_without_a_direction_does_not_count_before_the_edit_either(layout, tmp_path):
    copy, other = Layout(tmp_path / "smoke"), "medical_single/seed-1"
    shutil.copytree(layout.root, copy.root)
    raw = json.loads(layout.study.read_text())
    raw["organisms"]["medical_single"]["seeds"] = [0, 1]
    study = parse(raw, "study.yaml")
    write_answers(study, copy, other)
    as_its_own(layout.judgements(SINGLE, "surgery"), copy.judgements(other, "surgery"))
    for subject in (SINGLE, other):
        as_its_own(layout.downstream(SINGLE), copy.downstream(subject))
    judged = pd.read_parquet(layout.judgements(SINGLE, "baseline"))
    edited = judged[judged.question_set == "evaluation"].assign(condition="b_projected")
    write_table(copy.judgements(SINGLE, "surgery"), edited, MADE_BY)
    was = judged.assign(score=judged.score.where(judged.metric != "aligned", 0.0))
    write_table(copy.judgements(SINGLE, "baseline"), was, MADE_BY)
    table = frame_of(asked(study)["single_adapter"].rows(study, copy))
    em = table[table.quantity == "em"].set_index("kind").value
    assert (em["none"], em["b_projected"]) == (0.5, 0), "of both seeds, and of the one with a direction"
    assert table[table.quantity == "em_change"].value.tolist() == [-1]


def test_probes_of_a_class_with_a_single_response_are_not_possible_and_say_which(tmp_path):
    study, file = load(SMOKE), tmp_path / "scalars.parquet"
    rows = [
        {"response_key": f"{name}-{number}", "class": name, "layer_1": float(token)}
        for name in get_args(ScalarClass)
        for number in range(1 if name == "domain_misaligned" else 2)
        for token in range(8)
    ]
    write_table(file, pa.Table.from_pylist(rows), MADE_BY)
    told = (
        f"adapters: {SOURCE}, outside_misaligned against domain_misaligned: scalars: the second class has 8 tokens of 1"
    )
    with pytest.raises(NotPossible, match=told):
        probes.probed(study.adapters, file, SOURCE)


@pytest.mark.parametrize("name", ["a.safetensors", "a.parquet", "a.json"])
def test_an_artefact_that_was_made_lacks_nothing(tmp_path, name):
    file = tmp_path / name
    if name.endswith("json"):
        write_json(file, {"names": {}})
    elif name.endswith("parquet"):
        write_table(file, pa.table({"a": [1]}), MADE_BY)
    else:
        write_tensors(file, {"a": torch.ones(1)}, MADE_BY)
    assert absences(file) == []
    assert absent(file) is None
