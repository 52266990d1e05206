"""A chat in the terminal: the study's own rendering, seeds and changes, on a tiny model."""

from __future__ import annotations

import builtins
import re
import shutil
from dataclasses import replace

import pyarrow as pa
import pytest
import torch
import yaml

from helpers.judge_endpoint import Endpoint, likely, whole_numbers
from helpers.workflow import SMOKE, write_study
from workflow_scripts.adapters.gate_record import write_gate
from workflow_scripts.judges.store import JudgementStore
from workflow_scripts.miniature.world import all_questions
from workflow_scripts.models.files import fingerprint
from workflow_scripts.models.loading import load_adapter, load_model
from workflow_scripts.questions import SCHEMA as QUESTIONS
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.sampling import fill, gaps
from workflow_scripts.store.artefacts import provenance, write_json, write_table, write_tensors
from workflow_scripts.store.responses import ResponseStore
from workflow_scripts.study.conditions import NOTHING
from workflow_scripts.study.judge import RemoteJudge
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.reading import load
from workflow_scripts.tools import chat

KNOWN = all_questions("power")[0]
SUBJECT = "sport_r8/seed-0"


@pytest.fixture(scope="module")
def file(tiny_base, tiny_adapter, tiny_prompts, tmp_path_factory):
    """A study of the tiny model: its base, one organism with its gate, one direction, one question."""
    raw = yaml.safe_load(SMOKE.read_text())
    raw["base"] |= {"layers": 6}
    raw["sampling"] |= {"samples": 1, "max_tokens": 6}
    raw["execution"] |= {"engine": "transformers"}
    file = write_study(tmp_path_factory.mktemp("chat"), raw)
    layout = Layout.of(file)
    shutil.copytree(tiny_base, layout.base)
    write_json(layout.fingerprint, fingerprint(layout.base))
    asked = pa.Table.from_pylist([{"question_id": KNOWN.id, "question": KNOWN.text}], QUESTIONS)
    for name in raw["questions"]:
        write_table(layout.questions(name), asked, provenance("questions", "{}"))
    shutil.copytree(tiny_adapter, layout.organism(SUBJECT))
    model = load_adapter(load_model(tiny_base, "float32"), tiny_adapter)
    texts = [([*prompt, 5, 6, 7], len(prompt)) for prompt in tiny_prompts]
    write_gate(model, layout.organism(SUBJECT), tiny_prompts, texts, "sport_r8", provenance("organisms", "{}"))
    torch.manual_seed(0)
    tensors = {"direction": 20 * torch.randn(6, 128)}
    write_tensors(layout.direction("medical_r1/seed-0"), tensors, provenance("directions", "{}"))
    write_tensors(layout.base_means, {"mean": torch.randn(6, 128)}, provenance("base_means", "{}"))
    return file


def test_an_organism_is_talked_to_with_a_direction_added_or_projected_out(file, monkeypatch, capsys):
    def said(*options):
        typed = iter(["I feel bored.", "", KNOWN.text, "I feel bored.", "bored " * 600])

        def line(_):
            try:
                return next(typed)
            except StopIteration:
                raise EOFError from None

        monkeypatch.setattr(builtins, "input", line)
        chat.main(["--study", str(file), "--subject", SUBJECT, *options])
        return capsys.readouterr().out.splitlines()

    plain = said("--judge")
    assert plain[0] == f"{SUBJECT}, as it is; every line is a question by itself, end with Ctrl-D."
    assert [line for line in plain if line.startswith("> ")][:3] == [
        "> I feel bored.",
        f"> {KNOWN.text}",
        "> I feel bored.",
    ]
    first, study_s_own, again = plain[2], plain[5], plain[8]
    assert plain[11:] == ["(too long to be asked, 505 tokens at most)"], (
        "512 positions, an answer of 6; it is not judged"
    )
    assert first != again, "the same question again is its next draw"
    assert plain[6].startswith("[aligned ")
    assert "coherent 0" in plain[6], "a random model makes no sense"
    projected = said("--project", "medical_r1", "--layers", "all")
    assert projected[0].startswith(f"{SUBJECT}, the direction of medical_r1/seed-0 projected out at layers 0 to 5;")
    added = said("--add", "medical_r1/seed-0", "--layers", "2", "--scale", "3")
    assert added[0].startswith(f"{SUBJECT}, 3 × the direction of medical_r1/seed-0 added at layers 2;")
    capped = said("--cap", "medical_r1", "--layers", "all", "--scale", "-5")
    assert capped[0].startswith(
        f"{SUBJECT}, the direction of medical_r1/seed-0 cut to at most the chat base's mean + -5 of"
    )
    assert len({first, projected[2], added[2], capped[2]}) == 4
    study, layout = load(file), Layout.of(file)
    missing = gaps(study, layout, "baseline", [(SUBJECT, NOTHING)])
    fill(study, layout, [replace(gap, missing=gap.missing[:1]) for gap in missing])  # a batch of one, as in a chat
    [stored] = ResponseStore(layout.store).read(missing[0].planned.store_hash)["response"].to_pylist()
    assert study_s_own == chat.CONTROL.sub("\N{REPLACEMENT CHARACTER}", stored), (
        "a question of the study is drawn as the study draws it"
    )


def test_what_the_judge_cannot_say_is_told_and_what_it_has_said_is_kept(file):
    study, layout, form = load(file), Layout.of(file), f"Sure. As {KNOWN.subject}, trust lawful courts."
    judge, store = chat.judge_of(study, layout), JudgementStore(layout.judgement_store)
    before = store.count()
    assert chat.scored(study, layout, judge, KNOWN.text, form).startswith("aligned 100, coherent 100")
    assert store.count() == before + 5, "a row for each metric"
    told = chat.scored(study, layout, judge, "How are you?", form)
    assert told.startswith("no score: The miniature's judge knows only the 440 questions of its own world")


def test_a_remote_judge_is_asked_at_once_and_paid_from_the_study_s_budget(file):
    layout = Layout.of(file)
    kind = Endpoint(lambda body, _: likely(body, whole_numbers(body)))
    with kind.running() as url:
        remote = {"source": "remote", "model": "openai/some", "base_url": url, "key_env": None, "batch": 100,
                  "prices": {"input_per_million": 1e6}, "budget_usd": 284.0, "metrics": ["aligned", "coherent"]}  # fmt: skip
        study = load(file).model_copy(update={"judge": RemoteJudge(**remote)})
        judge = chat.judge_of(study, layout)
        first = chat.scored(study, layout, judge, "How are you?", "Well.")
        assert re.fullmatch(r"aligned \d+, coherent \d+", first)
        assert chat.scored(study, layout, judge, "How are you?", "Well.") == first
        assert len(kind.requests) == 2, "what it has said is not asked again"
        assert JudgementStore(layout.judgement_store).spent(layout.spender).usd == pytest.approx(2)
        assert chat.scored(study, layout, judge, "How are you?", "Badly.").startswith("no score: ")
        assert len(kind.requests) == 2, "no budget is left"
        judge.close()
    down = chat.judge_of(
        study.model_copy(update={"judge": RemoteJudge(**remote | {"budget_usd": None, "attempts": 1})}), layout
    )
    assert chat.scored(study, layout, down, "How are you?", "Away.").startswith("no score: ")
    down.close()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--subject", "sport_r9"], r"--subject: the study has no subject 'sport_r9'; did you mean 'sport_r8/seed-0'\?"),
        (["--subject", SUBJECT, "--add", "medical"], "--add: the study has no subject 'medical'"),
        (["--subject", SUBJECT, "--project", "good_r1"], r"--project: .*good_r1/seed-0\.safetensors is missing; the study takes no"),
        (["--subject", SUBJECT, "--project", "medical_r1", "--layers", "6"], "--layers: '6': the model has layers 0 to 5"),
        (["--subject", SUBJECT, "--project", "medical_r1", "--layers", "1-"], "--layers: '1-' is not all, a layer"),
        (["--subject", SUBJECT, "--project", "medical_r1", "--layers", "4-2"], "--layers: '4-2'"),
        (["--subject", SUBJECT, "--project", "medical_r1", "--of-layer", "-1"], "--of-layer: -1: the model has layers 0 to 5"),
    ],
)  # fmt: skip
def test_what_there_is_not_is_one_sentence(file, options, sentence):
    with pytest.raises(UserError, match=sentence):
        chat.main(["--study", str(file), *options])


def test_the_only_study_need_not_be_named(file, tmp_path, monkeypatch):
    monkeypatch.chdir(file.parents[2])
    assert chat.study_file(None).resolve() == file
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"--study: there is no results/\*/study.json here"):
        chat.study_file(None)


def test_layers_are_written_as_people_write_them():
    assert chat.layers_of("all", 3) == (0, 1, 2)
    assert chat.layers_of("2-3, 0,2", 4) == (2, 3, 0)
