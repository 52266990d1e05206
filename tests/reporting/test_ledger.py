"""The claims ledger: what decides a verdict, and that every claim can be decided on every study."""

import itertools
import json

import pytest
import yaml

from helpers.workflow import REPOSITORY
from workflow_scripts.claims import main
from workflow_scripts.experiments.rows import COLUMNS
from workflow_scripts.reporting.ledger import (
    CLAIMS,
    Claim,
    Criterion,
    against,
    ledger,
    matching,
    read_claims,
    roles,
    text,
)
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.study.reading import load, resolved

STUDY = load(REPOSITORY / "config.yaml")


def row(value, low=None, high=None, **more):
    return {**dict.fromkeys(COLUMNS), "experiment": "E1", "subject": "medical_r1", "quantity": "em", "condition": "none",
            "n": 320, "value": value, "low": low, "high": high, **more}  # fmt: skip


def claim(test, **more):
    kept = {"id": "a", "claim": "It is so.", "experiment": "E1", "quantity": "em", "subject": "source", "paper": 0.1}
    return Claim(**{**kept, **more}, test=Criterion(**test))


def verdicts(test, rows, **more):
    [entry] = ledger([claim(test, **more)], rows, STUDY)
    return entry


@pytest.mark.parametrize(
    ("test", "low", "high", "verdict"),
    [
        ({"above": 0.2}, 0.21, 0.4, "reproduced"),
        ({"above": 0.2}, 0.2, 0.4, "undecided"),
        ({"above": 0.2}, 0.1, 0.2, "contradicted"),
        ({"below": 0.2}, 0.1, 0.19, "reproduced"),
        ({"below": 0.2}, 0.1, 0.3, "undecided"),
        ({"below": 0.2}, 0.2, 0.3, "contradicted"),
        ({"within": (-0.1, 0.1)}, -0.1, 0.1, "reproduced"),
        ({"within": (-0.1, 0.1)}, 0.0, 0.2, "undecided"),
        ({"within": (-0.1, 0.1)}, 0.11, 0.2, "contradicted"),
    ],
)
def test_an_interval_decides_only_when_it_lies_on_one_side(test, low, high, verdict):
    assert against(row((low + high) / 2, low, high), Criterion(**test)) == verdict


def test_a_row_without_interval_is_decided_by_its_value_and_says_so():
    found = verdicts({"above": 0.2}, [row(0.25)])
    assert (found.verdict, found.decided_by, found.low) == ("reproduced", "value", None)
    assert verdicts({"above": 0.2}, [row(0.15)]).verdict == "contradicted"
    assert verdicts({"above": 0.2}, [row(0.25, 0.22, 0.28)]).decided_by == "interval"


@pytest.mark.parametrize(
    ("other", "verdict"),
    [((0.0, 0.0, 0.01), "reproduced"), ((0.2, 0.1, 0.3), "undecided"), ((0.5, 0.4, 0.6), "contradicted")],
)
def test_against_another_row_the_intervals_have_to_be_apart(other, verdict):
    rows = [row(0.2, 0.15, 0.25), row(*other, subject="chat_base")]
    found = verdicts({"above": {"quantity": "em", "subject": "chat_base"}}, rows)
    assert found.verdict == verdict
    assert found.note == f"compared with {other[0]:.3g} of em of chat_base"


def test_a_claim_about_several_models_stands_with_the_worst_of_them():
    rows = [row(0.9, 0.8, 1.0, subject=name) for name in ("medical_r1", "medical_r32")]
    assert verdicts({"above": 0.5}, rows, subject="misaligned").verdict == "reproduced"
    mixed = [*rows, row(0.5, 0.4, 0.6, subject="sport_r32")]
    found = verdicts({"above": 0.5}, mixed, subject="misaligned")
    assert (found.verdict, found.subject, found.rows) == ("undecided", "sport_r32", 3)
    worst = [*mixed, row(0.1, 0.0, 0.2, subject="finance_r32")]
    found = verdicts({"above": 0.5}, worst, subject="misaligned")
    assert (found.verdict, found.subject, found.value) == ("contradicted", "finance_r32", 0.1)


def test_same_compares_within_each_model():
    changes = {
        ("medical_r1", "own"): -0.9,
        ("medical_r1", "random"): 0.0,
        ("sport_r32", "own"): 0.5,
        ("sport_r32", "random"): 0.6,
    }
    rows = [row(v, v - 0.01, v + 0.01, subject=name, kind=done) for (name, done), v in changes.items()]
    test = {"below": {"quantity": "em", "subject": "same", "where": {"kind": "random"}}}
    assert verdicts(test, rows, subject="misaligned", where={"kind": "own"}).verdict == "reproduced"


def test_without_rows_or_a_row_to_compare_with_a_claim_is_undecided_and_says_why():
    assert verdicts({"above": 0.5}, []).note == "this study has no such result"
    found = verdicts({"above": {"quantity": "em", "subject": "chat_base"}}, [row(0.2, 0.1, 0.3)])
    assert (found.verdict, found.note) == ("undecided", "no row of em of chat_base to compare with")
    assert verdicts({"above": 0.5}, [row(None)]).verdict == "undecided"


def test_single_seeds_and_pooled_rows_are_kept_apart():
    rows = [row(0.1, seed=0), row(0.9)]
    assert verdicts({"above": 0.5}, rows).value == 0.9
    assert verdicts({"above": 0.5}, rows, seeds=True).value == 0.1


def by_layer(values, **more):
    return [row(value, layer=layer, **more) for layer, value in enumerate(values)]


@pytest.mark.parametrize(
    ("test", "values", "verdict", "shown"),
    [
        ({"rises": 0.8}, [1, 2, 4, 3, 5], "reproduced", 0.9),
        ({"rises": 0.8}, [5, 4, 3, 2, 1], "contradicted", -1.0),
        ({"rises": 0.8}, [1, 4, 2, 1.5, 3], "undecided", 0.3),
        ({"peak_within": (0.25, 0.75)}, [0, 1, 5, 1, 0], "reproduced", 0.5),
        ({"peak_within": (0.25, 0.75)}, [9, 1, 5, 1, 0], "contradicted", 0.0),
        ({"share_above": {"value": 2, "share": 0.6}}, [1, 3, 3, 3, 1], "reproduced", 0.6),
        ({"share_above": {"value": 2, "share": 0.7}}, [1, 3, 3, 3, 1], "contradicted", 0.6),
    ],
)
def test_claims_about_layers(test, values, verdict, shown):
    found = verdicts(test, by_layer(values))
    assert (found.verdict, found.n) == (verdict, 5)
    assert found.value == pytest.approx(shown)


def test_a_contradicted_claim_says_why_in_the_study_that_explains_it():
    why = {"miniature": "Because it is small."}
    assert verdicts({"above": 0.5}, [row(0.1)], why=why).note == "Because it is small."
    assert verdicts({"above": 0.5}, [row(0.9)], why=why).note == ""


def test_roles_follow_the_study():
    assert roles(STUDY) == {
        "chat_base": ["chat_base"],
        "source": ["medical_r1"],
        "other_rank": ["medical_r32"],
        "other_data": ["sport_r32", "finance_r32"],
        "single": ["medical_single"],
        "misaligned": ["medical_r1", "medical_r32", "sport_r32", "finance_r32", "medical_single"],
    }


def test_rows_are_chosen_by_their_columns():
    rows = [
        row(0.9, experiment="E6", quantity="cosine", seed=0, kind=kind) for kind in ("organisms", "seeds", "random")
    ]
    where = next(c for c in read_claims() if c.id == "directions-converge").where
    found = matching(rows, roles(STUDY), "E6", "cosine", "misaligned", where, seeds=True)
    assert [r["kind"] for r in found] == ["organisms"]
    rows = [row(0.1, source=source, kind="b") for source in ("medical_r1", "medical_single", None)]
    chosen = [matching(rows, roles(STUDY), "E1", "em", "source", {"source": s}) for s in ("{source}", "medical_single")]
    assert [[r["source"] for r in part] for part in chosen] == [["medical_r1"], ["medical_single"]]
    several = matching(rows, roles(STUDY), "E1", "em", "source", {"source": ["medical_r1", "medical_single"]})
    assert len(several) == 2


def test_the_claims_are_well_formed_and_cover_the_experiments():
    claims = read_claims()
    assert {c.experiment for c in claims} >= {"E1", "E2", "E3", "E5", "E6", "E7", "E9", "E10", "E11"}
    for made in claims:
        assert made.where.keys() <= COLUMNS.keys()
        assert made.claim.endswith(".")
        assert made.id in text([*ledger([made], [], STUDY)], "title")


def test_the_paper_s_own_numbers_reproduce_its_claims_where_they_are_one_number():
    """A study whose every row is the paper's number contradicts no claim with a bound."""
    claims = [c for c in read_claims() if c.paper is not None]
    rows = []
    for made in claims:
        facts = {column: value[0] if isinstance(value, list) else value for column, value in made.where.items()}
        facts = {column: "medical_r1" if value == "{source}" else value for column, value in facts.items()}
        for subject in roles(STUDY)[made.subject]:
            rows.append(row(made.paper, experiment=made.experiment, quantity=made.quantity, subject=subject, **facts))
    for entry, made in zip(ledger(claims, rows[::-1], STUDY), claims, strict=True):
        bound = [b for b in (made.test.above, made.test.below) if isinstance(b, float | int)]
        if bound:
            assert entry.verdict == "reproduced", entry


def test_a_claim_without_rows_says_what_was_not_possible_and_one_with_rows_does_not():
    missing = [
        {"experiments": ["E1", "E2"], "why": "directions: a gave 0 of 8; 2 are needed. Sample more."},
        {"experiments": ["E2"], "why": "directions: b gave 1 of 8; 2 are needed. Sample more."},
    ]

    def note(test, rows, **more):
        [entry] = ledger([claim(test, **more)], rows, STUDY, missing)
        assert (entry.verdict == "undecided") == ("not possible" in entry.note)
        return entry.note

    first = "not possible: directions: a gave 0 of 8; 2 are needed"
    assert note({"above": 0.2}, []) == first
    assert note({"above": 0.2}, [], experiment="E2") == f"{first}, and 1 more, see not_possible.json"
    assert note({"above": 0.2}, [row(0.3, 0.25, 0.4)]) == ""
    reference = {"above": {"quantity": "em", "subject": "chat_base"}}
    assert note(reference, [row(0.3, 0.25, 0.4)]) == f"no row of em of chat_base to compare with; {first}"


def write_study(folder, rows):
    folder.mkdir(parents=True)
    (folder / "study.json").write_text(json.dumps(resolved(STUDY)))
    (folder / "summary.json").write_text(json.dumps(rows))
    (folder / "not_possible.json").write_text("[]")
    return ["--study", str(folder / "study.json")]


def test_the_command_writes_a_ledger_that_names_the_study(tmp_path, capsys):
    folder = tmp_path / "results" / "miniature"
    main(write_study(folder, [row(0.3, 0.2, 0.4), row(0.0, 0.0, 0.01, subject="chat_base")]))
    shown = capsys.readouterr().out
    assert shown.startswith("Claims of the paper, held against the study miniature. A small Qwen2 model")
    assert "not evidence about large models" in shown
    assert "2 reproduced, 0 contradicted" in shown
    entries = {e["id"]: e for e in json.loads((folder / "claims.json").read_text())}
    assert entries["em-many-rank-1"]["verdict"] == "reproduced"
    assert (entries["em-many-rank-1"]["value"], entries["em-many-rank-1"]["n"]) == (0.3, 320)
    assert entries["b-unlike-direction"]["verdict"] == "undecided"
    assert "em-many-rank-1" in (folder / "claims.html").read_text()
    assert (folder / "claims.txt").read_text() == shown.removesuffix("\n")


def test_a_missing_summary_and_a_damaged_list_are_named(tmp_path):
    options = write_study(tmp_path / "results" / "miniature", [])
    (tmp_path / "results" / "miniature" / "summary.json").unlink()
    with pytest.raises(UserError, match=r"summary\.json: cannot be read; run `snakemake"):
        main(options)
    listed = yaml.safe_load(CLAIMS.read_text())
    for change, message in [
        ({"test": {"above": 1, "below": 2}}, r"0\.test: .*needs exactly one of above, below"),
        ({"subject": "sourse"}, r"0\.subject: "),
        ({"id": listed[1]["id"]}, "stands there more than once"),
    ]:
        file = tmp_path / "claims.yaml"
        file.write_text(yaml.safe_dump([{**listed[0], **change}, *itertools.islice(listed, 1, None)]))
        with pytest.raises(UserError, match=message):
            read_claims(file)
