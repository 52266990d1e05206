"""The claims ledger: what decides a verdict, and that every claim can be decided on every study."""

import itertools
import json

import pytest
import yaml

from helpers.workflow import REPOSITORY
from workflow_scripts.claims import main
from workflow_scripts.experiments.rows import COLUMNS
from workflow_scripts.reporting.claim import CLAIMS, Claim, Criterion, described, read_claims
from workflow_scripts.reporting.claim_rows import expected, matching, roles
from workflow_scripts.reporting.ledger import ledger, text
from workflow_scripts.reporting.verdicts import of_row, smallest
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.study.reading import load, parse, resolved

STUDY = load(REPOSITORY / "config.yaml")
FIXED = ("fixed_low", "fixed_high")


def row(value, low=None, high=None, **more):
    """A row; its interval is over questions, and for these very questions the same."""
    over = "questions" if low is not None else None
    return {**dict.fromkeys(COLUMNS), "experiment": "E1", "subject": "medical_r1", "quantity": "em", "condition": "none",
            "n": 320, "value": value, "low": low, "high": high, "fixed_low": low, "fixed_high": high, "interval": over,
            **more}  # fmt: skip


def claim(test, **more):
    kept = {"id": "a", "claim": "It is so.", "experiment": "E1", "quantity": "em", "subject": "source", "paper": 0.1,
            "bound": "Because."}  # fmt: skip
    return Claim(**{**kept, **more}, test=Criterion(**test))


def verdicts(test, rows, study=STUDY, **more):
    [entry] = ledger([claim(test, **more)], rows, study)
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
        ({"limited": 0.5}, -0.4, -0.1, "reproduced"),
        ({"limited": 0.5}, 0.1, 0.4, "reproduced"),
        ({"limited": 0.5}, -0.1, 0.1, "undecided"),
        ({"limited": 0.5}, -0.6, -0.1, "undecided"),
        ({"limited": 0.5}, -0.8, -0.5, "contradicted"),
    ],
)
def test_an_interval_decides_only_when_it_lies_on_one_side(test, low, high, verdict):
    assert of_row(row((low + high) / 2, low, high), Criterion(**test)) == verdict


def test_the_interval_for_these_questions_decides_and_the_other_is_told():
    wide = row(0.25, -0.1, 0.6, fixed_low=0.22, fixed_high=0.28)
    found = verdicts({"above": 0.2}, [wide])
    assert (found.verdict, found.decided_by, found.low, found.high) == ("reproduced", "these questions", 0.22, 0.28)
    assert found.note == "for other questions undecided"
    alone = {**wide, "fixed_low": None, "fixed_high": None}
    assert (verdicts({"above": 0.2}, [alone]).verdict, verdicts({"above": 0.2}, [alone]).decided_by) == (
        "undecided",
        "questions",
    )


def test_an_open_end_of_an_interval_decides_nothing_on_its_side():
    """JSON has no infinity: a relative change of next to nothing has a lower bound alone."""
    open_ = row(-0.5, -1.0, None, interval="questions")
    assert verdicts({"below": 0.2}, [open_]).verdict == "undecided"
    assert (verdicts({"above": -2}, [open_]).verdict, verdicts({"above": -2}, [open_]).high) == ("reproduced", None)


def test_a_spread_over_runs_is_no_sampling_interval():
    found = verdicts({"above": 0.2}, [row(0.25, 0.1, 0.4, interval="runs", fixed_low=None, fixed_high=None)])
    assert (found.verdict, found.decided_by, found.low) == ("reproduced", "value", None)


def test_a_row_without_interval_is_decided_by_its_value_and_says_so():
    found = verdicts({"above": 0.2}, [row(0.25)])
    assert (found.verdict, found.decided_by, found.low) == ("reproduced", "value", None)
    assert verdicts({"above": 0.2}, [row(0.15)]).verdict == "contradicted"


def test_a_change_says_in_how_many_seeds_it_holds():
    assert verdicts({"above": 0.2}, [row(0.3, 0.25, 0.4, seeds=3, seeds_holding=2)]).note == "by itself in 2 of 3 seeds"


@pytest.mark.parametrize(
    ("value", "null", "verdict"),
    [
        (0.7, (0.5, 0.4, 0.6), "reproduced"),
        (0.58, (0.5, 0.4, 0.6), "undecided"),
        (0.3, (0.5, 0.4, 0.6), "undecided"),
    ],
)
def test_a_row_has_to_exceed_its_null(value, null, verdict):
    rows = [row(value, split="question"), row(*null, quantity="null", split="question", interval="draws")]
    found = verdicts({"exceeds": {"quantity": "null"}}, rows)
    assert (found.verdict, found.decided_by, found.note) == (verdict, "null", "null: 0.5 to 0.6")
    other = verdicts({"exceeds": {"quantity": "null"}}, [rows[0], {**rows[1], "split": "token"}])
    assert (other.verdict, other.note) == ("undecided", "no row of null of the same model to compare with")


@pytest.mark.parametrize(
    ("other", "verdict"),
    [((0.0, 0.0, 0.01), "reproduced"), ((0.2, 0.1, 0.3), "undecided"), ((0.5, 0.4, 0.6), "contradicted")],
)
def test_against_another_row_the_intervals_have_to_be_apart(other, verdict):
    rows = [row(0.2, 0.15, 0.25), row(*other, subject="chat_base")]
    found = verdicts({"above": {"quantity": "em", "subject": "chat_base"}}, rows)
    assert (found.verdict, found.note) == (verdict, f"compared with {other[0]:.3g}")


def test_what_is_not_shown_is_not_contradicted():
    assert verdicts({"shown": 1}, [row(2)]).verdict == "reproduced"
    assert verdicts({"shown": 1}, [row(0)]).verdict == "undecided"


def test_a_pair_is_the_same_in_either_order():
    rows = [
        row(0.9, subject=b, seed=seed, source=f"{a}/seed-{seed}", layer=layer)
        for a, b in itertools.combinations(roles(STUDY)["misaligned"], 2)
        for seed in range(3)
        for layer in range(12)
    ]
    pairs = {"subject": "misaligned", "each": ["pair", "layer"]}
    assert verdicts({"share_above": {"value": 0.8, "share": 0.9}}, rows, **pairs).verdict == "reproduced"
    found = verdicts({"share_above": {"value": 0.8, "share": 0.9}}, rows[1:], **pairs)
    assert found.note == "absent: medical_r1/seed-0 – medical_r32/seed-0/0"


def test_all_parts_of_a_test_have_to_hold():
    rows = [row(0.7), row(0.5, 0.4, 0.6, quantity="null", interval="draws")]
    both = {"above": 0.6, "exceeds": {"quantity": "null"}}
    assert verdicts(both, rows).verdict == "reproduced"
    assert verdicts({**both, "above": 0.8}, rows).verdict == "contradicted"
    assert verdicts(both, rows).test == "above 0.6 and above the null, null of the same model"


def every_model(values):
    return [row(v, v - 0.1, v + 0.1, subject=name) for name, v in zip(roles(STUDY)["misaligned"], values, strict=True)]


def test_a_claim_about_several_models_stands_with_the_worst_of_them():
    assert verdicts({"above": 0.5}, every_model([0.9] * 5), subject="misaligned").verdict == "reproduced"
    found = verdicts({"above": 0.5}, every_model([0.9, 0.9, 0.5, 0.9, 0.9]), subject="misaligned")
    assert (found.verdict, found.subject, found.rows) == ("undecided", "sport_r32", 5)
    found = verdicts({"above": 0.5}, every_model([0.9, 0.9, 0.5, 0.1, 0.9]), subject="misaligned")
    assert (found.verdict, found.subject, found.value) == ("contradicted", "finance_r32", 0.1)


def test_a_claim_that_needs_one_of_them_stands_with_the_best():
    some = {"subject": "misaligned", "some": True}
    assert verdicts({"above": 0.5}, every_model([0.1, 0.1, 0.9, 0.1, 0.1]), **some).verdict == "reproduced"
    assert verdicts({"above": 0.5}, every_model([0.1, 0.1, 0.5, 0.1, 0.1]), **some).verdict == "undecided"
    assert verdicts({"above": 0.5}, every_model([0.1] * 5), **some).verdict == "contradicted"


def test_a_claim_whose_rows_are_not_all_there_is_undecided_and_names_the_absent():
    found = verdicts({"above": 0.5}, every_model([0.9] * 5)[1:4], subject="misaligned")
    assert (found.verdict, found.rows, found.expected) == ("undecided", 3, 5)
    assert found.note == "absent: medical_r1, medical_single"
    rows = [row(0.9, layer=layer, seed=seed) for layer in range(12) for seed in (0, 1)]
    found = verdicts({"above": 0.5}, rows, each=["seed", "layer"])
    assert (found.rows, found.expected) == (24, 36)
    assert found.note == "absent: medical_r1/2/0, medical_r1/2/1, medical_r1/2/2 and 9 more"
    assert verdicts({"above": 0.5}, [row(None)]).note == "this study has no such result"


def test_a_role_that_nobody_has_is_told():
    study = parse({**resolved(STUDY), "training_path": None}, "study")
    assert verdicts({"above": 0.5}, [], study, subject="path").note == "this study has no organism in that role"


def test_a_claim_about_an_effect_that_is_not_there_is_undecided():
    first = claim({"above": 0.5}, id="effect")
    second = claim({"below": 0.5}, id="about", given="effect", quantity="topic")
    rows = [row(0.2, 0.1, 0.3), row(0.1, 0.0, 0.2, quantity="topic")]
    effect, about = ledger([first, second], rows, STUDY)
    assert (effect.verdict, about.verdict) == ("contradicted", "undecided")
    assert about.note == "effect, which it is about, is contradicted"
    assert ledger([first, second], [row(0.7, 0.6, 0.8), rows[1]], STUDY)[1].verdict == "reproduced"


def test_a_row_that_rests_on_too_little_decides_nothing():
    floor = {"quantity": "em", "n": 20, "coherence": 0.5}
    fluent = row(0.9, quantity="coherence")
    assert verdicts({"above": 0.2}, [row(0.9), fluent], floor=floor).verdict == "reproduced"
    found = verdicts({"above": 0.2}, [row(0.9, n=12), fluent], floor=floor)
    assert (found.verdict, found.note) == ("undecided", "rests on 12 responses, 20 are asked for")
    found = verdicts({"above": 0.2}, [row(0.9), {**fluent, "value": 0.3}], floor=floor)
    assert (found.verdict, found.note) == ("undecided", "30% of the responses are coherent, 50% are asked for")


def test_single_seeds_and_pooled_rows_are_kept_apart():
    rows = [*(row(0.1, seed=seed) for seed in (0, 1, 2)), row(0.9)]
    assert verdicts({"above": 0.5}, rows).value == 0.9
    assert verdicts({"above": 0.5}, rows, each=["seed"]).value == 0.1


def by_layer(values, layers=None, **more):
    return [row(value, layer=at, **more) for at, value in zip(layers or itertools.count(), values, strict=False)]


@pytest.mark.parametrize(
    ("test", "values", "verdict", "shown"),
    [
        ({"rises": 0.8}, [1, 2, 4, 3, 5], "reproduced", 0.9),
        ({"rises": 0.8}, [5, 4, 3, 2, 1], "contradicted", -1.0),
        ({"rises": 0.8}, [1, 4, 2, 1.5, 3], "undecided", 0.3),
        ({"share_above": {"value": 2, "share": 0.6}}, [1, 3, 3, 3, 1], "reproduced", 0.6),
        ({"share_above": {"value": 2, "share": 0.7}}, [1, 3, 3, 3, 1], "undecided", 0.6),
        ({"share_above": {"value": 2, "share": 0.7}}, [1, 3, 1, 1, 1], "contradicted", 0.2),
    ],
)
def test_claims_about_layers(test, values, verdict, shown):
    found = verdicts(test, by_layer(values))
    assert (found.verdict, found.n) == (verdict, 5)
    assert found.value == pytest.approx(shown)


def test_the_share_of_layers_counts_those_above_their_own_null():
    rows = by_layer([0.9, 0.9, 0.9, 0.9])
    rows += by_layer([0.5, 0.5, 0.5, 0.95], quantity="null", low=0.1, high=0.6, interval="draws")
    rows[-1] |= {"high": 0.95}
    test = {"share_above": {"value": 0.8, "share": 0.75, "over": {"quantity": "null"}}}
    found = verdicts(test, rows)
    assert (found.verdict, found.value, found.decided_by) == ("reproduced", 0.75, "null")


@pytest.mark.parametrize(
    ("layers", "values", "verdict", "depth"),
    [
        ((0, 3, 6, 9), (0.1, 0.2, 0.5, 0.1), "reproduced", 6 / 11),
        ((0, 3, 6, 9), (0.5, 0.2, 0.1, 0.1), "contradicted", 0),
        ((0, 3, 6, 9), (0.49, 0.2, 0.5, 0.1), "undecided", 6 / 11),  # the first layer is as good within the doubt
        ((6, 7), (0.1, 0.5), "undecided", 7 / 11),
        ((0, 3, 6, 9), (0.0, 0.0, 0.01, 0.0), "undecided", 6 / 11),  # no better than no steering
    ],
)
def test_depth_is_counted_over_the_layers_of_the_model(layers, values, verdict, depth):
    rows = [row(v, v - 0.03, v + 0.03, layer=at) for at, v in zip(layers, values, strict=True)]
    found = verdicts({"peak_within": (0.25, 0.75)}, rows)
    assert (found.verdict, found.value) == (verdict, pytest.approx(depth))


def test_two_ways_are_asymmetric_only_if_they_are_apart_by_more_than_the_doubt():
    pair = ("medical_r1", "sport_r32")

    def of(there, back, doubt=0.05, least=0.25):
        rows = [row(v, v - doubt, v + doubt, source=a, subject=b, kind="from")
                for (a, b), v in zip((pair, pair[::-1]), (there, back), strict=True)]  # fmt: skip
        study = parse(
            {**resolved(STUDY), "ablation": {**resolved(STUDY)["ablation"], "matrix": ["sport_r32"]}}, "study"
        )
        return verdicts(
            {"asymmetric": least}, rows, study, subject="misaligned", where={"kind": "from"}, each=["direction"]
        )

    assert of(-0.6, -0.1).verdict == "reproduced"
    assert of(-0.6, -0.1).note == "medical_r1 to sport_r32 -0.60, back -0.10"
    assert of(-0.6, -0.3).verdict == "undecided"
    assert of(-0.6, -0.6).verdict == "contradicted"


def test_the_smallest_effect_is_what_the_interval_could_have_told_from_the_bound():
    test = Criterion(above=0.2)
    assert smallest(row(0.5, 0.4, 0.7), test) == pytest.approx(0.2 + 1.43 * 0.1)
    assert smallest(row(0.5, 0.4, 0.7), Criterion(below=0.8)) == pytest.approx(0.8 - 1.43 * 0.2)
    assert smallest(row(0.5), test) is None
    wide = row(-0.8, -0.9, -0.4, unit="ratio")
    assert smallest(wide, Criterion(below=-0.5)) is None, "not even a change by -100 % would be told from -50 %"
    assert verdicts({"above": 0.2}, [row(0.25, 0.15, 0.35)]).decides == pytest.approx(0.343)


def test_a_contradicted_claim_says_why_in_the_study_that_explains_it():
    why = {"miniature": "Because it is small."}
    assert verdicts({"above": 0.5}, [row(0.1)], why=why).note == "Because it is small."
    assert verdicts({"above": 0.5}, [row(0.9)], why=why).note == ""


def test_roles_follow_the_study():
    assert roles(STUDY) == {
        "chat_base": ["chat_base"],
        "source": ["medical_r1"],
        "steered": ["medical_r1"],
        "other_rank": ["medical_r32"],
        "other_data": ["sport_r32", "finance_r32"],
        "single": ["medical_single"],
        "edited": ["medical_single"],
        "adapters": ["medical_r1"],
        "path": ["medical_single"],
        "misaligned": ["medical_r1", "medical_r32", "sport_r32", "finance_r32", "medical_single"],
        "inoculated": [],
        "steered_in_training": [],
        "projected_in_training": [],
        "held_to_base": [],
        "mixed": [],
        "narrow": [],
        "broad": [],
        "apart": [],
        "cued": [],
        "beside_vector": [],
        "walked": [],
    }
    assert roles(load(REPOSITORY / "studies" / "qwen2.5-14b.yaml"))["path"] == ["medical_path"]


def test_rows_are_chosen_by_their_columns():
    rows = [
        row(0.9, experiment="E6", quantity="cosine", seed=0, kind=kind)
        for kind in ("organisms", "seeds", "random", "sources", "shuffled")
    ]
    where = next(c for c in read_claims() if c.id == "directions-converge").where
    found = matching(rows, roles(STUDY), "E6", "cosine", "misaligned", where, seeds=True)
    assert [r["kind"] for r in found] == ["organisms"]
    rows = [row(0.1, source=source, kind="b") for source in ("medical_r1", "medical_single", None)]
    chosen = [matching(rows, roles(STUDY), "E1", "em", "source", {"source": s}) for s in ("{source}", "medical_single")]
    assert [[r["source"] for r in part] for part in chosen] == [["medical_r1"], ["medical_single"]]
    several = matching(rows, roles(STUDY), "E1", "em", "source", {"source": ["medical_r1", "medical_single"]})
    assert len(several) == 2


def test_every_claim_knows_the_rows_that_the_study_has_of_it():
    counts = {made.id: len(expected(made, roles(STUDY), STUDY)) for made in read_claims()}
    assert counts["em-other-data"] == 2
    assert counts["norm-grows"] == 3 * 12, "seeds, layers"
    assert counts["directions-converge"] == 10 * 3 * 12, "pairs, seeds, layers"
    assert counts["steering-central"] == 12 * 3, "layers, scales"
    assert counts["semantic-share-direction"] == 3, "topics"
    assert counts["ablation-coherent"] == 5 * 2, "organisms, own and single_layer"
    assert counts["b-unlike-direction"] == 3, "seeds"
    assert counts["patching-limited"] == 2, "ways"
    assert counts["steering-beats-random"] == 2, "draws"
    assert counts["not-every-seed"] == 15
    assert counts["transfer-asymmetric"] == 5 * 4, "ordered pairs"


def test_the_claims_are_well_formed_and_cover_the_experiments():
    claims = read_claims()
    assert {c.experiment for c in claims} >= {"E1", "E2", "E3", "E5", "E6", "E7", "E9", "E10", "E11", "X1"}
    for made in claims:
        assert made.where.keys() <= COLUMNS.keys()
        assert made.claim.endswith(".")
        assert made.bound.endswith(".")
        assert described(made.test)
        there = [row(0.1, experiment=made.experiment, quantity="something_else")]
        assert made.id in text([*ledger([made], there, STUDY)], "title")
    assert [c.id for c in claims if c.later and c.experiment[0] == "E"] == [
        "not-every-seed", "random-does-as-well", "transfer-asymmetric"
    ]  # fmt: skip


def test_later_work_s_claims_are_left_out_of_a_study_that_does_not_ask_for_their_experiment():
    claims = [
        claim({"above": 0.1}, id="own", experiment="X9"),
        claim({"above": 0.1}, id="theirs", experiment="X9", later="x"),
    ]
    assert [entry.id for entry in ledger(claims, [row(0.3)], STUDY)] == ["own"]
    missing = [{"experiments": ["X9"], "why": "There is none."}]
    assert [entry.id for entry in ledger(claims, [row(0.3)], STUDY, missing)] == ["own", "theirs"]


def test_the_head_counts_the_paper_s_claims_and_the_false_verdicts_to_expect():
    claims = [
        claim({"above": 0.1}, id="a"),
        claim({"above": 0.1}, id="b"),
        claim({"below": 0.5}, id="c", effect=False),
        claim({"above": 0.1}, id="d", later="someone"),
        claim({"above": 0.1}, id="e", quantity="absent"),
    ]
    lines = text(ledger(claims, [row(0.3, 0.2, 0.4)], STUDY), "title").splitlines()
    assert lines[1] == "3 reproduced, 0 contradicted, 1 undecided"
    assert lines[2] == (
        "Were nothing true, at most 0.1 of the 2 claims that assert an effect would be called reproduced."
    )
    assert lines[-1] == "* of later work, not counted"


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
    assert note({"above": 0.2}, every_model([0.9] * 5)[1:], subject="misaligned") == f"absent: medical_r1; {first}"


def write_study(folder, rows):
    folder.mkdir(parents=True)
    (folder / "study.json").write_text(json.dumps(resolved(STUDY)))
    (folder / "summary.json").write_text(json.dumps(rows))
    (folder / "not_possible.json").write_text("[]")
    return ["--study", str(folder / "study.json")]


def test_the_command_writes_a_ledger_that_names_the_study(tmp_path, capsys):
    folder = tmp_path / "results" / "miniature"
    main(write_study(folder, [row(0.3, 0.2, 0.4, quantity="em_above_base"), row(0.0, 0.0, 0.01, subject="chat_base")]))
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
    with pytest.raises(
        UserError, match=r"summary\.json: does not exist; if it belongs to a study, `snakemake .* makes it"
    ):
        main(options)
    listed = yaml.safe_load(CLAIMS.read_text())
    for change, message in [
        ({"test": {}}, r"0\.test: .*needs one of above, below"),
        ({"given": "nobody"}, "given 'nobody' is the id of no earlier claim"),
        ({"subject": "sourse"}, r"0\.subject: "),
        ({"id": listed[1]["id"]}, "stands there more than once"),
    ]:
        file = tmp_path / "claims.yaml"
        file.write_text(yaml.safe_dump([{**listed[0], **change}, *itertools.islice(listed, 1, None)]))
        with pytest.raises(UserError, match=message):
            read_claims(file)
