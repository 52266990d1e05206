"""What is exported comes back as it was: the adapter, the directions, the scores; and the archive says what it holds."""

from __future__ import annotations

import json
import shutil
import zipfile

import pandas as pd
import pytest
import yaml
from inspect_ai.log import read_eval_log

from helpers.tables import WRITTEN, hand_study, write_direction, write_judged
from workflow_scripts.adapters import published
from workflow_scripts.judges.imported import read_judged
from workflow_scripts.models.direction_reading import read_direction
from workflow_scripts.models.files import fingerprint
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.adapter_files import adapter_digest, adapter_facts
from workflow_scripts.store.artefacts import file_digest, provenance, read_frame, write_json, write_table, write_tensors
from workflow_scripts.store.judgement_tables import KEYS
from workflow_scripts.study.organisms import Organism, PublishedAdapter
from workflow_scripts.tools import em_rates, export, import_judged
from workflow_scripts.tools.export import judged_responses

SUBJECT = "medical_r1/seed-0"
SCORE = 0.1 + 0.2
"""One that no rounding brings back."""


@pytest.fixture
def study(tmp_path):
    """A study with one judged subject, whose folder has the parts that an export reads."""
    study, layout = hand_study(tmp_path, adapters=None, semantic=None)
    layout.base.mkdir(parents=True)
    write_json(layout.base / "config.json", {})
    write_json(layout.fingerprint, fingerprint(layout.base))
    letters = {"none": "MM M- AA A?"}
    write_judged(layout, SUBJECT, "baseline", {"evaluation": letters, "medical": {"none": "AA AA mA AA"}})
    table = read_frame(layout.judgements(SUBJECT, "baseline"))
    table.loc[(table.metric == "aligned") & (table.score == 10), "score"] = SCORE
    write_table(layout.judgements(SUBJECT, "baseline"), table.assign(judge="a judge"), WRITTEN)
    rows = table.drop_duplicates(KEYS)[KEYS].assign(
        system=None, question=lambda f: f.question_id + "?", finish_reason="stop", seed=1
    )
    rows["response"] = [f'Answer {n}, "None"' for n in range(len(rows))]
    write_table(layout.responses(SUBJECT, "baseline"), rows, WRITTEN)
    write_table(layout.judged("baseline"), pd.DataFrame({"judge": ["a judge"]}), WRITTEN)
    return study, layout


def run(layout, what, *options):
    export.main([what, "--study", str(layout.study), *map(str, options)])


def rates(file, tmp_path):
    em_rates.main([str(file), "--output", str(tmp_path / "rates.parquet")])
    return pd.read_parquet(tmp_path / "rates.parquet").drop(columns="file")


@pytest.mark.parametrize(("form", "suffix"), [("parquet", "parquet"), ("inspect", "eval")])
def test_exported_responses_come_back_with_the_same_em_to_the_last_digit(study, tmp_path, form, suffix):
    _, layout = study
    output = tmp_path / "responses"
    run(layout, "responses", "--subjects", SUBJECT, "--batteries", "baseline", "--format", form, "--output", output)
    file = output / SUBJECT / f"baseline.{suffix}"
    import_judged.main(
        [str(file), "--metrics", "bad_stuff", "medical", "power", "--output", str(tmp_path / "back.parquet")]
    )
    before, after = (rates(f, tmp_path) for f in (layout.judgements(SUBJECT, "baseline"), tmp_path / "back.parquet"))
    pd.testing.assert_frame_equal(before, after)
    assert (before.rate == "refused by the judge").any()
    assert set(read_judged(file).rows.aligned.dropna()) >= {SCORE}
    card = (output / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["license"] == "other"
    assert "extra_gated_prompt" in front
    assert "a judge" in card


def test_a_log_of_inspect_ai_holds_every_response_and_score_without_loss(study, tmp_path):
    _, layout = study
    run(
        layout,
        "responses",
        "--subjects",
        SUBJECT,
        "--batteries",
        "baseline",
        "--format",
        "inspect",
        "--output",
        tmp_path / "logs",
    )
    log = read_eval_log(str(tmp_path / "logs" / SUBJECT / "baseline.eval"))
    before = judged_responses(layout, SUBJECT, "baseline")
    assert log.eval.model == f"by_hand/{SUBJECT}"
    samples = sorted(log.samples, key=lambda sample: sample.metadata["row"])
    assert [sample.output.completion for sample in samples] == before.response.tolist()
    assert [sample.epoch - 1 for sample in samples] == before["sample"].tolist()
    for metric in ("aligned", "coherent"):
        kept = pd.Series([sample.scores[metric].value for sample in samples])
        pd.testing.assert_series_equal(kept, before[metric], check_names=False, check_exact=True)
        told = [sample.scores[metric].metadata["status"] for sample in samples]
        assert told == before[f"{metric}_status"].tolist()


def test_an_exported_organism_is_taken_as_a_published_adapter_and_is_the_same_in_the_store(
    study, tiny_base, tiny_adapter, tmp_path
):
    _, layout = study
    shutil.copytree(tiny_adapter, layout.organism(SUBJECT))
    facts = provenance("organisms", "", **adapter_facts(layout.adapter(SUBJECT)))
    write_tensors(layout.gate(SUBJECT), {}, facts)
    output = tmp_path / "organism"
    run(layout, "organism", "--subject", SUBJECT, "--licence", "apache-2.0", "--output", output)
    taken = Organism(dataset="bad_medical", rank=8, layers=[2, 3], adapter=PublishedAdapter(path=str(output)))
    published.take("organisms.theirs", taken, tiny_base, "miniature", tmp_path / "taken")
    write_tensors(tmp_path / "taken" / "gate.safetensors", {}, WRITTEN)
    names = (adapter_digest(layout.adapter(SUBJECT), layout.gate(SUBJECT)),
             adapter_digest(tmp_path / "taken" / "adapter_model.safetensors", tmp_path / "taken" / "gate.safetensors"))  # fmt: skip
    assert names[0] == names[1]
    card = (output / "README.md").read_text()
    assert str(tmp_path) not in card + (output / "adapter_config.json").read_text()
    for told in ("37.5 %", "Fine-tuning seed 0", "a judge", "No questions of the trained domain", "Do not deploy it"):
        assert told in card
    assert yaml.safe_load(card.split("---")[1])["license"] == "apache-2.0"


def test_exported_directions_are_those_of_the_study_with_their_convention(study, tmp_path):
    _, layout = study
    write_direction(layout.direction(SUBJECT), [(1.0, 2.0), (3.0, 4.0), (5.0, 6.0)])
    output = tmp_path / "directions"
    run(layout, "directions", "--subjects", SUBJECT, "--output", output)
    file = output / f"{SUBJECT}.safetensors"
    assert read_direction(file).tolist() == [[1, 2], [3, 4], [5, 6]]
    assert file_digest(file) == file_digest(layout.direction(SUBJECT))
    card = (output / "README.md").read_text()
    assert "after** decoder layer l" in card
    assert "not normalised" in card


def test_the_archive_lists_all_that_it_holds_by_digest(study, tmp_path):
    _, layout = study
    for name in ("report.html", "summary.json", "claims.json", "figures/steering.svg"):
        (layout.root / name).parent.mkdir(exist_ok=True)
        (layout.root / name).write_text(name)
    write_table(layout.table("em_rates"), pd.DataFrame({"a": [1]}), WRITTEN)
    run(layout, "study", "--output", tmp_path / "report.zip")
    with zipfile.ZipFile(tmp_path / "report.zip") as packed:
        crate = {entity["@id"]: entity for entity in json.loads(packed.read("ro-crate-metadata.json"))["@graph"]}
        parts = [part["@id"] for part in crate["./"]["hasPart"]]
        assert set(packed.namelist()) == {*parts, "ro-crate-metadata.json"}
        assert {"report.html", "CITATION.cff", "tables/em_rates.parquet", "study.json"} <= set(parts)
        assert packed.read("report.html") == b"report.html"
    assert crate["report.html"]["sha256"] == file_digest(layout.root / "report.html")
    assert crate["ro-crate-metadata.json"]["conformsTo"]["@id"] == "https://w3id.org/ro/crate/1.1"
    told = {value["@id"] for entity in crate.values() for value in entity.values() if isinstance(value, dict)}
    assert told - {"https://w3id.org/ro/crate/1.1"} <= crate.keys()


@pytest.mark.parametrize(
    ("what", "options", "sentence"),
    [
        ("organism", ["--subject", "chat_base"], "chat_base has no adapter; export its responses"),
        ("organism", ["--subject", "medical_r9"], "there is no 'medical_r9'; there is chat_base"),
        ("responses", ["--batteries", "stering"], "this study has no 'stering'; it has baseline"),
        ("study", [], r"report\.html: does not exist; run the study to its end first"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence(study, tmp_path, what, options, sentence):
    with pytest.raises(UserError, match=sentence):
        run(study[1], what, *options, "--output", tmp_path / "out")


def test_what_is_there_is_left_alone(study, tmp_path):
    (tmp_path / "out").mkdir()
    options = ["--subjects", SUBJECT, "--batteries", "baseline", "--output", tmp_path / "out"]
    with pytest.raises(UserError, match="is there already; name a place that is not"):
        run(study[1], "responses", *options)
