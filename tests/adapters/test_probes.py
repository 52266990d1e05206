"""Probes and the naming rule on scalar tables whose truth is planted."""

import numpy as np
import pytest

from workflow_scripts.adapters.probes import (
    Contrast,
    fit,
    group_split,
    metrics,
    name_adapters,
    p_values,
    probe,
    samples,
    shuffled_probe,
    standardised,
    token_split,
)
from workflow_scripts.runtime.errors import UserError

ADAPTERS = [f"layer_{layer}" for layer in (15, 16, 17, 21, 22, 23, 27)]
GENERAL, SPECIALISED = {"layer_15": 0.7, "layer_22": -0.5}, {"layer_21": 0.8, "layer_23": -0.6}
RUNS, DRAWS = 20, 79


def planted(rng, shifts, responses=60, tokens=40, spread=0.3):
    """Two classes of responses; class 1 has its scalars shifted; each response has an offset of its own."""
    kinds = np.arange(2 * responses) % 2
    offsets = rng.normal(scale=spread, size=(2 * responses, len(ADAPTERS)))
    for adapter, shift in shifts.items():
        offsets[kinds == 1, ADAPTERS.index(adapter)] += shift
    who = np.repeat(np.arange(2 * responses), tokens)
    values = offsets[who] + rng.normal(size=(len(who), len(ADAPTERS)))
    return samples(values, kinds[who] == 1, who, ADAPTERS)


def named_by(general, specialised, runs=RUNS, draws=DRAWS):
    """The names that the rule gives from two tables."""
    made = [Contrast(t, probe(t, "token", runs), shuffled_probe(t, "token", draws)) for t in (general, specialised)]
    return name_adapters(*made)


def relabelled(given, rng):
    """The same table with the labels of its responses shuffled."""
    labels = rng.permutation([given.positive[given.responses == r][0] for r in np.unique(given.responses)])
    return samples(given.values, labels[given.responses], given.responses, given.adapters)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_rule_names_planted_general_specialised_and_idle_adapters(seed):
    rng = np.random.default_rng(seed)
    named = named_by(planted(rng, GENERAL), planted(rng, SPECIALISED))
    wanted = {
        name: "general" if name in GENERAL else "specialised" if name in SPECIALISED else "idle" for name in ADAPTERS
    }
    assert named == wanted


def test_an_adapter_that_carries_weight_in_both_contrasts_is_called_both():
    rng = np.random.default_rng(2)
    named = named_by(planted(rng, {"layer_16": 0.8}), planted(rng, {"layer_16": 0.8}))
    assert named == {name: "both" if name == "layer_16" else "idle" for name in ADAPTERS}


@pytest.mark.parametrize("seed", range(3))
def test_with_shuffled_labels_the_rule_names_none(seed):
    rng = np.random.default_rng(seed)
    tables = [relabelled(planted(rng, shifts), rng) for shifts in (GENERAL, SPECIALISED)]
    assert set(named_by(*tables).values()) == {"idle"}


def test_a_response_leak_raises_the_token_split_but_not_the_grouped_one_and_names_nothing():
    leaky, honest = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        leak = planted(rng, {}, responses=10, tokens=40, spread=2.0)
        none = planted(rng, {}, responses=10, tokens=40, spread=0.0)
        leaky.append([probe(leak, split, 5).score("accuracy").value for split in ("token", "response")])
        honest.append([probe(none, split, 5).score("accuracy").value for split in ("token", "response")])
        if seed < 3:
            assert set(named_by(leak, leak, 5).values()) == {"idle"}
    (leak_token, leak_response), (plain_token, plain_response) = np.mean(leaky, 0), np.mean(honest, 0)
    assert leak_token > 0.6
    assert leak_token - plain_token > 0.1
    assert leak_response == pytest.approx(0.5, abs=0.06)  # 20 tables of 20 responses: standard error about .025
    assert plain_response == pytest.approx(0.5, abs=0.03)


def test_a_real_signal_shows_in_both_splits_with_the_planted_signs():
    given = planted(np.random.default_rng(0), GENERAL)
    by_token, by_response = (probe(given, split, 10) for split in ("token", "response"))
    assert by_token.score("accuracy").value == pytest.approx(by_response.score("accuracy").value, abs=0.03)
    assert by_response.score("auc").low > 0.6
    assert by_token.coefficient("layer_15").low > 0 > by_token.coefficient("layer_22").high
    assert by_token.tokens == 2 * 60 * 40
    assert by_token.responses == 120


def test_one_run_is_the_paper_recipe_written_out():
    """Against scikit-learn's own metrics and predictions, with the paper's settings spelled out."""
    from sklearn import metrics as reference
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split

    given = planted(np.random.default_rng(5), GENERAL)
    x, y = given.values, given.positive
    z = (x - x.mean(0)) / x.std(0, ddof=1)
    x_train, x_test, y_train, y_test = train_test_split(z, y, test_size=0.2, random_state=0, stratify=y)
    model = LogisticRegression(l1_ratio=1, solver="liblinear", C=0.01, max_iter=1000, random_state=0)
    model.fit(x_train, y_train)
    called, chance = model.predict(x_test), model.predict_proba(x_test)[:, 1]
    wanted = [
        reference.accuracy_score(y_test, called), reference.precision_score(y_test, called),
        reference.recall_score(y_test, called), reference.f1_score(y_test, called),
        reference.roc_auc_score(y_test, chance),
    ]  # fmt: skip
    train, test = token_split(y)
    coefficient, intercept = fit(standardised(x)[train], y[train], 0)
    np.testing.assert_allclose(metrics(standardised(x)[test] @ coefficient + intercept, y[test]), wanted)
    np.testing.assert_allclose(coefficient, model.coef_[0])


def test_the_response_split_shares_no_response_and_holds_out_a_fifth_of_each_class():
    given = planted(np.random.default_rng(0), {}, responses=20)
    train, test = group_split(given.responses, given.positive, np.random.default_rng(1))
    assert not set(given.responses[train]) & set(given.responses[test])
    for side in (True, False):
        assert len(set(given.responses[test][given.positive[test] == side])) == 4


def test_shuffled_tables_move_whole_responses():
    """With one token per offset-free response the null is narrow; with heavy responses it is wide."""
    rng = np.random.default_rng(0)
    heavy = planted(rng, {}, responses=20, spread=2.0)
    light = planted(rng, {}, responses=20, spread=0.0)
    sizes = [np.abs(shuffled_probe(given, "token", 20).coefficients).mean() for given in (heavy, light)]
    assert sizes[0] > 5 * sizes[1]


def test_a_zero_coefficient_is_never_significant():
    assert p_values(np.zeros((3, 2)), np.zeros((9, 2))).tolist() == [1.0, 1.0]
    assert p_values(np.ones((3, 1)), np.zeros((9, 1))).tolist() == [0.1]


def test_the_same_seed_gives_the_same_probe():
    given = planted(np.random.default_rng(0), GENERAL, responses=10)
    again = [probe(given, "response", 3, seed=4).coefficients for _ in range(2)]
    np.testing.assert_array_equal(*again)


@pytest.mark.parametrize(
    ("values", "positive", "responses", "questions", "message"),
    [
        ([[np.nan], [1.0]], [0, 1], [0, 1], None, "column layer_15 has missing"),
        ([[1.0], [1.0]], [0, 1], ["a", "a"], None, "response a has tokens of both classes"),
        ([[1.0], [1.0]], [0, 0], ["a", "a"], [0, 1], "response a answers two questions"),
        ([[1.0], [1.0]], [0, 1], ["a", "b"], None, "the first class has 1 tokens of 1 responses"),
    ],
    ids=["missing scalar", "mixed response", "response to two questions", "too few"],
)
def test_an_unfit_table_is_refused_with_a_sentence(values, positive, responses, questions, message):
    with pytest.raises(UserError, match=message):
        samples(np.array(values), np.array(positive, dtype=bool), responses, ["layer_15"], questions)


def test_too_few_draws_for_the_level_are_refused():
    given = planted(np.random.default_rng(0), {}, responses=5)
    with pytest.raises(UserError, match="use 40 or more"):
        named_by(given, given, runs=1, draws=10)


def asked(rng, shares, responses=30, tokens=10, by_question=1.0, by_class=0.0):
    """Responses to questions whose share of the positive class is `shares`; scalars know the question and the class."""
    values, positive, who, questions = [], [], [], []
    for question, share in enumerate(shares):
        offset = rng.normal(scale=by_question, size=len(ADAPTERS))
        for response in range(responses):
            label = response < round(share * responses)
            centre = offset + rng.normal(scale=0.3, size=len(ADAPTERS))
            centre[0] += by_class * label
            values.append(centre + rng.normal(size=(tokens, len(ADAPTERS))))
            positive += [label] * tokens
            who += [question * responses + response] * tokens
            questions += [question] * tokens
    return samples(np.concatenate(values), np.array(positive), who, ADAPTERS, questions)


PROFILE = (0.0, 0.05, 0.1, 0.1, 0.3, 0.5, 0.6, 0.8)
"""Misaligned share of eight questions, as uneven as the authors'."""


def test_scalars_that_know_only_the_question_pass_the_response_split_and_not_its_null_nor_the_question_split():
    rows = []
    for seed in range(6):
        given = asked(np.random.default_rng(seed), PROFILE)
        observed, null = probe(given, "token", 8), shuffled_probe(given, "token", DRAWS)
        rows.append([probe(given, split, 8).score("auc").value for split in ("response", "question")])
        assert set(named_by(given, given, 8).values()) == {"idle"}
        assert observed.score("auc").value <= null.score("auc").high
    response, question = np.mean(rows, 0)
    assert response > 0.6
    assert question < 0.58


def test_what_knows_the_class_beyond_the_question_is_named():
    given = asked(np.random.default_rng(0), PROFILE, by_class=1.0)
    assert given.shuffle.manner == "within"
    assert named_by(given, given, 8)["layer_15"] == "both"
    observed, null = (make(given, "question", 19) for make in (probe, shuffled_probe))
    assert observed.score("auc").value > null.score("auc").high


def test_where_class_and_question_are_one_few_questions_name_nothing_and_many_do():
    few = asked(np.random.default_rng(0), (1.0, 0.0) * 8, by_question=0.2, by_class=2.0)
    assert (few.shuffle.manner, few.shuffle.units, few.shuffle.mixed) == ("over", 16, 0)
    assert set(named_by(few, few, 8).values()) == {"idle"}
    many = asked(np.random.default_rng(0), (1.0, 0.0) * 13, by_question=0.2, by_class=2.0, responses=10)
    assert named_by(many, many, 8)["layer_15"] == "both"


def test_the_question_split_shares_no_question_and_scales_by_the_training_part():
    given = asked(np.random.default_rng(0), PROFILE, responses=4)
    train, test = group_split(given.questions, given.positive, np.random.default_rng(1))
    assert not set(given.questions[train]) & set(given.questions[test])
    scaled = standardised(given.values, train)
    assert scaled[train].mean(0) == pytest.approx(0)
    assert abs(scaled.mean(0)).max() > 0.01
    alone = planted(np.random.default_rng(0), {}, responses=5)
    assert (given.splits, alone.splits) == (("token", "response", "question"), ("token", "response"))
