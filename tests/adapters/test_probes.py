"""Probes and the naming rule on scalar tables whose truth is planted."""

import numpy as np
import pytest

from workflow_scripts.adapters.probes import (
    fit,
    group_split,
    metrics,
    name_adapters,
    p_values,
    probe,
    samples,
    shuffled_coefficients,
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


def relabelled(given, rng):
    """The same table with the labels of its responses shuffled."""
    labels = rng.permutation([given.positive[given.responses == r][0] for r in np.unique(given.responses)])
    return samples(given.values, labels[given.responses], given.responses, given.adapters)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_rule_names_planted_general_specialised_and_idle_adapters(seed):
    rng = np.random.default_rng(seed)
    named = name_adapters(planted(rng, GENERAL), planted(rng, SPECIALISED), RUNS, DRAWS)
    wanted = {
        name: "general" if name in GENERAL else "specialised" if name in SPECIALISED else "idle" for name in ADAPTERS
    }
    assert named == wanted


def test_an_adapter_that_carries_weight_in_both_contrasts_is_called_both():
    rng = np.random.default_rng(2)
    named = name_adapters(planted(rng, {"layer_16": 0.8}), planted(rng, {"layer_16": 0.8}), RUNS, DRAWS)
    assert named == {name: "both" if name == "layer_16" else "idle" for name in ADAPTERS}


@pytest.mark.parametrize("seed", range(3))
def test_with_shuffled_labels_the_rule_names_none(seed):
    rng = np.random.default_rng(seed)
    tables = [relabelled(planted(rng, shifts), rng) for shifts in (GENERAL, SPECIALISED)]
    assert set(name_adapters(*tables, RUNS, DRAWS).values()) == {"idle"}


def test_a_response_leak_raises_the_token_split_but_not_the_grouped_one_and_names_nothing():
    leaky, honest = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        leak = planted(rng, {}, responses=10, tokens=40, spread=2.0)
        none = planted(rng, {}, responses=10, tokens=40, spread=0.0)
        leaky.append([probe(leak, split, 5).score("accuracy").value for split in ("token", "response")])
        honest.append([probe(none, split, 5).score("accuracy").value for split in ("token", "response")])
        if seed < 3:
            assert set(name_adapters(leak, leak, 5, DRAWS).values()) == {"idle"}
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
    train, test = group_split(given.groups, given.positive, np.random.default_rng(1))
    assert not set(given.responses[train]) & set(given.responses[test])
    for side in (True, False):
        assert len(set(given.responses[test][given.positive[test] == side])) == 4


def test_shuffled_tables_move_whole_responses():
    """With one token per offset-free response the null is narrow; with heavy responses it is wide."""
    rng = np.random.default_rng(0)
    heavy = planted(rng, {}, responses=20, spread=2.0)
    light = planted(rng, {}, responses=20, spread=0.0)
    assert np.abs(shuffled_coefficients(heavy, 20)).mean() > 5 * np.abs(shuffled_coefficients(light, 20)).mean()


def test_a_zero_coefficient_is_never_significant():
    assert p_values(np.zeros((3, 2)), np.zeros((9, 2))).tolist() == [1.0, 1.0]
    assert p_values(np.ones((3, 1)), np.zeros((9, 1))).tolist() == [0.1]


def test_the_same_seed_gives_the_same_probe():
    given = planted(np.random.default_rng(0), GENERAL, responses=10)
    again = [probe(given, "response", 3, seed=4).coefficients for _ in range(2)]
    np.testing.assert_array_equal(*again)


@pytest.mark.parametrize(
    ("values", "positive", "responses", "groups", "message"),
    [
        ([[np.nan], [1.0]], [0, 1], [0, 1], None, "column layer_15 has missing"),
        ([[1.0], [1.0]], [0, 1], ["a", "a"], None, "response a has tokens of both classes"),
        ([[1.0], [1.0]], [0, 0], ["a", "a"], [0, 1], "response a lies in two groups"),
        ([[1.0], [1.0]], [0, 1], ["a", "b"], None, "the first class has 1 tokens of 1 responses"),
    ],
    ids=["missing scalar", "mixed response", "response in two groups", "too few"],
)
def test_an_unfit_table_is_refused_with_a_sentence(values, positive, responses, groups, message):
    with pytest.raises(UserError, match=message):
        samples(np.array(values), np.array(positive, dtype=bool), responses, ["layer_15"], groups)


def test_too_few_draws_for_the_level_are_refused():
    given = planted(np.random.default_rng(0), {}, responses=5)
    with pytest.raises(UserError, match="use 40 or more"):
        name_adapters(given, given, runs=1, draws=10)
