"""Arithmetic of the experiments' tables, on cases whose answer is known."""

import math
from pathlib import Path

import pandas as pd
import pytest
import torch

from helpers.rank_one import make_rank_one
from workflow_scripts.adapters.prompt_pairs import Question, equal_pairs
from workflow_scripts.downstream import pushes
from workflow_scripts.estimation.intervals import Estimate
from workflow_scripts.estimation.labels import Thresholds
from workflow_scripts.experiments.e03_steering import self_correction_rows
from workflow_scripts.experiments.rows import frame_of, point, row
from workflow_scripts.experiments.x01_training_path import local_cosines, principal_components
from workflow_scripts.miniature.question_sets import question_sample
from workflow_scripts.models.activations import WeightedSpan, group_means
from workflow_scripts.models.chat import render_turn
from workflow_scripts.models.loading import load_adapter, load_model, load_tokenizer
from workflow_scripts.models.residual import LayerChange, captured
from workflow_scripts.reporting.records import plain
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.study.conditions import Condition, Edit, Intervention
from workflow_scripts.study.layout import Layout, organism_of
from workflow_scripts.summary import answering, end_table, unscored_told


def test_a_straight_path_has_local_cosine_minus_one_and_one_component():
    steps = list(range(0, 50, 5))
    path = torch.outer(torch.tensor(steps, dtype=torch.float64), torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64))
    for window in (5, 10):
        found = local_cosines(steps, path, window)
        assert [step for step, _ in found] == [step for step in steps if window <= step <= 45 - window]
        assert all(cosine == pytest.approx(-1) for _, cosine in found)
    shares, places = principal_components(path)
    assert shares[0] == pytest.approx(1)
    assert places.shape == (len(steps), 2)


def test_a_right_angle_has_local_cosine_zero_where_it_lies_and_a_standstill_none():
    steps = [0, 1, 2, 3, 4, 5]
    path = torch.tensor([[0, 0], [1, 0], [2, 0], [2, 1], [2, 2], [2, 2]], dtype=torch.float64)
    found = dict(local_cosines(steps, path, 1))
    assert found[1] == pytest.approx(-1)
    assert found[2] == pytest.approx(0)
    assert 4 not in found, "after it the path stands still"


def test_self_corrections_are_aligned_coherent_and_bad():
    scored = pd.DataFrame(
        {
            "aligned": [90, 90, 10, 90, math.nan],
            "coherent": [90, 90, 90, 10, 90],
            "bad_stuff": [100, 0, 100, 100, 100],
            "question_id": ["a", "a", "b", "b", "c"],
        }
    )
    of_all, of_scored = self_correction_rows("none", scored, Thresholds())
    assert (of_all["experiment"], of_all["value"], of_all["n"]) == ("E8", 0.2, 5)
    assert (of_scored["quantity"], of_scored["value"], of_scored["n"]) == ("self_correction_of_scored", 0.25, 4)
    assert self_correction_rows("none", scored.drop(columns="bad_stuff"), Thresholds()) == []


def test_pairs_have_equal_length_and_no_question_twice(tiny_base):
    tokenizer = load_tokenizer(tiny_base)

    def questions(domain):
        return [Question(q.id, q.text, None) for q in question_sample([domain], 20, 0, 0)]

    outside, domain = questions("power"), questions("medical")
    made = equal_pairs(tokenizer, outside, domain, 2, 0, 0)
    assert all(len(pair.prompts[0]) == len(pair.prompts[1]) for pair in made)
    used = [q for pair in made for q in pair.questions]
    assert len(set(used)) == len(used) == 4
    with pytest.raises(
        UserError, match="pairs of a headline and a domain question have equally many tokens, 21 are asked"
    ):
        equal_pairs(tokenizer, outside, domain, 21, 0, 0)


def test_the_push_of_an_adapter_is_compared_with_what_is_added(tiny_base, tmp_path):
    tokenizer, folder = load_tokenizer(tiny_base), make_rank_one(tiny_base, tmp_path / "adapter", layers=(2,))
    model = load_adapter(load_model(tiny_base, "float32"), folder)
    read = []
    for side, answer in enumerate(("Rest. Drink water.", "Sleep.")):
        turn = render_turn(tokenizer, "I feel bored.", answer)
        read.append(WeightedSpan(turn.token_ids, turn.turn_start, len(turn.token_ids), side, 1.0))
    tuned = group_means(model, read, 2, 4096).mean
    with model.disable_adapter():
        plain = group_means(model, read, 2, 4096).mean
    own = (tuned - plain)[0, 2].float()
    rows = pd.DataFrame(pushes(model, {("direction", None): LayerChange(2, "add", own, 1.0)}, read, 4096))
    assert sorted(rows.layer.unique()) == [2, 3, 4, 5]
    at_layer = rows[(rows.layer == 2) & (rows.side == "misaligned")].cosine.item()
    assert at_layer == pytest.approx(1, abs=1e-5), "the added vector is the adapter's own mean push"
    assert rows.cosine.between(-1.000001, 1.000001).all()
    with model.disable_adapter():
        seen = []
        with captured(model, lambda layer, x: seen.append(layer)):
            model(input_ids=torch.tensor([read[0].token_ids]))
    assert len(seen) == 6, "no hook is left behind"


def test_conditions_have_distinct_names():
    source = "medical_r1/seed-0"
    made = [
        Condition("none"),
        Condition("add", Intervention("add", source, (1,), 2.0)),
        Condition("topic", Intervention("add", f"{source}/money", (1,), 2.0)),
        Condition("own", Intervention("project", source, (0, 1, 2))),
        Condition("only_layer", Intervention("project", source, (1,))),
        Condition("single_layer", Intervention("project", source, (0, 1, 2), layer=1)),
        Condition("random", Intervention("project", source, (0, 1, 2), layer=1, draw=0)),
        Condition("checkpoint", edit=Edit("checkpoint", 10, 1.0)),
        Condition("checkpoint", edit=Edit("checkpoint", 10, 2.0)),
        Condition("b_projected", edit=Edit("projected")),
    ]
    assert len({condition.name for condition in made}) == len(made)


def test_a_semantic_direction_lies_below_its_subject():
    layout = Layout(Path("results/s"))
    assert layout.direction("medical_r1/seed-0/money").parent == layout.direction("medical_r1/seed-0").with_suffix("")
    assert organism_of("medical_r1/seed-0") == ("medical_r1", 0)


def test_the_end_table_names_what_was_not_scored_and_bounds_that_there_are_none_to():
    def unscored(subject, condition, value):
        return row("E3", subject, "unscored", condition, point(value, 100), "share")

    parts = [("chat_base", "add:layer-1", 0.04), ("chat_base", "add:layer-2", 0.15), ("chat_base", "none", 0.03)]
    rows = [unscored(*part) for part in [*parts, ("medical_r1/seed-0", "none", 0.5)]]
    told = unscored_told(frame_of(rows))
    assert told == [
        "E3 chat_base: in 2 conditions more than 3% of the responses have no score, most in add:layer-2 (15.0%). They "
        "count as not misaligned in em; see em_of_scored and refused."
    ]
    change = Estimate(-0.9, -1, math.inf, 40, 4, fixed_low=-1, fixed_high=-0.5)
    facts = {"seeds": 3, "seeds_holding": 2}
    frame = frame_of([row("E5", "medical_r1", "em_relative_change", "own", change, "ratio", **facts)])
    text = end_table(frame.assign(paper=-1.0), "A study", [], told)
    for part in ("above -100.0 %", "-100.0 % to -50.0 %", "2 of 3", "Not scored:\n- E3 chat_base: in 2 conditions"):
        assert part in text
    (written,) = plain(frame)
    assert (written["high"], written["fixed_high"], written["draw"]) == ("Infinity", -0.5, None)


def test_the_end_table_leaves_out_single_seeds_draws_and_the_matrix():
    def table(*rows):
        return frame_of([row(*facts[:4], point(0.5, 1), "share", **facts[4]) for facts in rows])

    ablation = table(
        ("E5", "medical_r1", "em", "own", {"kind": "own"}),
        ("E5", "medical_r1/seed-0", "em", "own", {"kind": "own"}),
        ("E5", "medical_r1", "em", "random:draw-1", {"kind": "random_draw"}),
        ("E5", "medical_r1", "em", "from:sport", {"kind": "from"}),
    )
    semantic = table(
        ("E4", "chat_base", "medical_score", "medical:best", {"kind": "best"}),
        ("E4", "chat_base", "medical_score", "medical:scale-1", {"kind": "topic"}),
    )
    sets = table(("E10", "medical_r1", "misaligned", "domain", {"kind": "domain"}))
    shown = answering({"adapter_steering": sets, "ablation": ablation, "semantic": semantic})
    assert shown.condition.tolist() == ["medical:best", "own", "domain"], "in the order of the paper"
    assert shown.seed.isna().all()
