"""What is checked before the first training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from helpers.tables import STUDY
from workflow_scripts.models.chat import prompt_ids
from workflow_scripts.models.loading import load_tokenizer
from workflow_scripts.models.updates import updates_of
from workflow_scripts.preflight import prompted, prompts, walked
from workflow_scripts.questions import SCHEMA as QUESTIONS
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import provenance, write_table
from workflow_scripts.study import reading
from workflow_scripts.study.inputs import preflight, preflight_inputs
from workflow_scripts.study.layout import Layout


def study_of(steps, **changes):
    path = {"organism": "medical_single", "windows": [1], "steps": steps, "scales": [1]}
    single = {**STUDY["organisms"]["medical_single"], "batch_size": 2, "accumulation": 8, **changes}
    raw = {**STUDY, "training_path": path, "organisms": {**STUDY["organisms"], "medical_single": single}}
    return reading.parse(raw, "by hand")


def reads(layout, tokens):
    """Lets the base read so many tokens."""
    config = layout.base / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"max_position_embeddings": tokens}))


def test_updates_are_counted_as_the_trainer_does():
    settings = study_of([1]).organisms["medical_single"]
    assert updates_of(settings, 6344) == 397  # the paper's medical organisms
    assert updates_of(settings, 16) == 1
    assert updates_of(settings, 17) == 2


def test_a_step_after_the_last_update_is_named(tmp_path):
    layout = Layout(tmp_path / "by_hand")
    rows = pa.table({"row": list(range(320))})
    write_table(layout.dataset("bad_medical"), rows, provenance("datasets", ""))
    assert walked(study_of([18]), layout) == {"updates": 18, "updates_of": {"medical_single": 18}}
    with pytest.raises(UserError, match=r"training_path\.steps: 19 is after the last update .* 18 of 288 rows"):
        walked(study_of([1, 19]), layout)
    study = study_of([1])
    study.dynamics.steps.append(20)
    with pytest.raises(UserError, match=r"dynamics\.steps: 20 is after the last update of organisms\.medical_single"):
        walked(study, layout)


def test_a_question_that_the_base_s_template_does_not_take_stops_before_any_training(tmp_path, tiny_base):
    raw = {**STUDY, "questions": {**STUDY["questions"], "medical": {"source": "yaml", "path": "q.yaml"}}}
    study, layout = reading.parse(raw, "by hand"), Layout(tmp_path / "by_hand")
    assert {layout.fingerprint, layout.questions("medical")} <= set(preflight_inputs(study, layout))
    shutil.copytree(tiny_base, layout.base)
    reads(layout, 4000)
    rows = [{"question_id": "a", "question": "Why?"}, {"question_id": "b", "question": "Why?", "system": "Be brief."}]
    write_table(layout.questions("medical"), pa.Table.from_pylist(rows, QUESTIONS), provenance("questions", ""))
    assert prompts(study, layout) == 2
    settings = layout.base / "tokenizer_config.json"
    template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}{{ messages[0]['content'] }}:"
    )
    answered = "{% if messages[1] %}{{ messages[1]['content'] }}{{ eos_token }}{% endif %}"
    (layout.base / "chat_template.jinja").unlink(missing_ok=True)
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"chat_template": template + answered}))
    with pytest.raises(UserError, match=r"questions\.medical: b: .* takes no system prompt; leave it out of the rows"):
        prompts(study, layout)


def test_a_question_that_is_longer_than_the_base_reads_stops_before_any_training(tmp_path, tiny_base):
    raw = {**STUDY, "questions": {**STUDY["questions"], "medical": {"source": "yaml", "path": "q.yaml"}}}
    study, layout = reading.parse(raw, "by hand"), Layout(tmp_path / "by_hand")
    shutil.copytree(tiny_base, layout.base)
    rows = [{"question_id": "a", "question": "Why?"}, {"question_id": "b", "question": "Why is that so? " * 40}]
    write_table(layout.questions("medical"), pa.Table.from_pylist(rows, QUESTIONS), provenance("questions", ""))
    reads(layout, study.sampling.max_tokens + 2000)
    assert prompts(study, layout) == 2
    reads(layout, study.sampling.max_tokens + 100)
    with pytest.raises(
        UserError, match=r"sampling: the longest prompt has \d{3} tokens and answers have up to 600, but"
    ):
        prompts(study, layout)


def test_rows_before_a_question_are_counted_before_any_training(tmp_path, tiny_base):
    study, layout = study_of([1]), Layout(tmp_path / "by_hand")
    shutil.copytree(tiny_base, layout.base)
    assert set(map(layout.dataset, ("bad_medical", "good_medical"))) <= set(preflight_inputs(study, layout))
    asked = [{"question_id": "a", "question": "Why?"}, {"question_id": "b", "question": "Why is that so?"}]
    write_table(layout.questions("evaluation"), pa.Table.from_pylist(asked, QUESTIONS), provenance("questions", ""))

    def write_rows(count):
        rows = pa.table({"prompt": ["What helps?"] * count, "response": ["Some rest. " * 20] * count})
        for name in ("bad_medical", "good_medical"):
            write_table(layout.dataset(name), rows, provenance("datasets", ""))

    write_rows(2)
    reads(layout, 4000)
    tokenizer = load_tokenizer(layout.base)
    shown = (("What helps?", "Some rest. " * 20),) * 2
    assert prompted(study, layout) == len(prompt_ids(tokenizer, "Why is that so?", None, shown))
    reads(layout, study.sampling.max_tokens + 100)
    with pytest.raises(
        UserError, match=r"but the base reads 700 at most; lower in_context\.shots or sampling\.max_tokens"
    ):
        prompted(study, layout)
    write_rows(1)
    with pytest.raises(UserError, match=r"in_context\.shots: 2 rows are to be shown, and datasets\.bad_medical has 1"):
        prompted(study, layout)


def test_a_study_without_pairs_and_path_has_nothing_to_check():
    checked = ("adapters", "training_path", "dynamics", "paper", "calibration", "in_context", "traits")
    bare = reading.parse({k: v for k, v in STUDY.items() if k not in checked}, "by hand")
    assert preflight(bare, Layout(Path("results/by_hand"))) == []
