"""The example of docs/adding_an_experiment.md, run as it stands there."""

import re
import sys
from types import ModuleType, SimpleNamespace

import pandas as pd
import pytest
import yaml

from helpers.workflow import REPOSITORY, SMOKE
from workflow_scripts.experiments.experiment import Experiment
from workflow_scripts.experiments.rows import frame_of
from workflow_scripts.reporting.claim import read_claims
from workflow_scripts.store.artefacts import provenance, write_table
from workflow_scripts.study.fields import Count, Section
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.reading import load

DOCUMENT = (REPOSITORY / "docs" / "adding_an_experiment.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT, re.S | re.M)


@pytest.fixture
def documented(monkeypatch):
    """The section and the module of the document."""
    section, module = blocks("python")
    names = {"Section": Section, "Count": Count, "__name__": __name__}
    exec(section, names)
    made = ModuleType("workflow_scripts.experiments.x90_lengths")
    monkeypatch.setitem(sys.modules, made.__name__, made)
    exec(module, made.__dict__)
    return names["Lengths"], made


@pytest.fixture
def study(documented):
    """The smoke study with one organism, and the document's section."""
    smoke = load(SMOKE)
    sections = {name: getattr(smoke, name) for name in type(smoke).model_fields}
    sections["organisms"] = {"medical_r1": smoke.organisms["medical_r1"]}
    return SimpleNamespace(**sections, lengths=documented[0](words=3))


def test_the_documented_experiment_counts_short_answers_by_class(documented, study, tmp_path):
    experiment, layout = documented[1].EXPERIMENT, Layout(tmp_path)
    assert isinstance(experiment, Experiment)
    assert experiment.module == "experiments.x90_lengths"
    answers = [  # question, text, aligned: two short of three misaligned, one short of three others
        ("a", "no", 10), ("a", "just do it", 10), ("b", "not now", 10),
        ("b", "please see a doctor", 90), ("c", "rest a day", 90), ("c", "drink water", 90),
    ]  # fmt: skip
    responses = pd.DataFrame(
        {"response_key": str(n), "condition": "none", "question_set": "evaluation", "question_id": question, "sample": n,
         "response": text, "aligned": aligned, "coherent": 90.0}
        for n, (question, text, aligned) in enumerate(answers)
    )  # fmt: skip
    keys = ["response_key", "condition", "question_set", "question_id", "sample"]
    judgements = responses.melt(keys, ["aligned", "coherent"], "metric", "score").assign(status="scored")
    made_by = provenance("responses", "{}")
    write_table(layout.responses("medical_r1/seed-0", "baseline"), responses[[*keys, "response"]], made_by)
    write_table(layout.judgements("medical_r1/seed-0", "baseline"), judgements, made_by)
    table = frame_of(experiment.rows(study, layout))
    assert table.value.tolist() == pytest.approx([2 / 3, 1 / 3])
    assert table.n.tolist() == [3, 3]
    assert table.clusters.tolist() == [2, 2]
    assert table[experiment.shown(table)].condition.tolist() == ["misaligned"]
    write_table(layout.table("lengths"), table, provenance("tables", "{}"))
    (figure,) = experiment.figures.values()
    left, right = figure.draw(study, layout).axes
    assert [patch.get_height() for axis in (left, right) for patch in axis.patches] == pytest.approx([200 / 3, 100 / 3])


def test_the_documented_claim_is_one(tmp_path):
    (claims,) = blocks("yaml")
    (tmp_path / "claims.yaml").write_text(claims)
    (claim,) = read_claims(tmp_path / "claims.yaml")
    assert claim.experiment == yaml.safe_load(claims)[0]["experiment"] == "X90"
