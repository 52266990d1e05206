"""The experiments' tables and figures of judged files, without a study."""

from __future__ import annotations

import pandas as pd
import pytest

from helpers.tables import LETTERS, METRICS
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.tools import adapter_share_tables, em_rates, import_judged, patching_tables, steering_tables


def rows_of(letters, **facts):
    """Judged responses as a published file has them: a word a question, a letter a response."""
    return [
        {"question": f"Q{q}?", "answer": f"{letter}{n}", **dict(zip(METRICS, LETTERS[letter], strict=True)), **facts}
        for q, word in enumerate(letters.split())
        for n, letter in enumerate(word)
    ]


@pytest.fixture
def imported(tmp_path):
    """A published file as a judgement table."""

    def make(rows, *options):
        pd.DataFrame(rows).to_csv(tmp_path / "judged.csv", index=False)
        import_judged.main([str(tmp_path / "judged.csv"), *options, "--output", str(tmp_path / "judged.parquet")])
        return str(tmp_path / "judged.parquet")

    return make


SWEEP = [
    *rows_of("AA AA", layer=24, scale=0),
    *rows_of("MA AA", layer=24, scale=6),
    *rows_of("MM MS", layer=24, scale=8.5),
    *rows_of("XX XX", layer=30, scale=6),
]


def test_a_steering_sweep_becomes_the_study_s_table_and_figures(imported, tmp_path, capsys):
    file = imported(SWEEP, "--condition-from", "layer", "scale")
    output, figures = tmp_path / "steering.parquet", tmp_path / "figures"
    steering_tables.main([file, "--output", str(output), "--figures", str(figures)])
    table = pd.read_parquet(output).set_index(["quantity", "kind", "layer", "scale"]).value
    assert table["em", "add", 24, 6] == 0.25
    assert table["em", "add", 24, 8.5] == 0.75
    assert table["em_above_base", "add", 24, 8.5] == 0.75
    assert table["coherence", "add", 30, 6] == 0
    assert table["self_correction", "add", 24, 8.5] == 0.25
    assert {path.name for path in figures.iterdir()} == {
        f"{name}.{form}" for name in ("steering", "self_correction") for form in ("svg", "png")
    }
    assert "layer-24:scale-8.5" in capsys.readouterr().out


def test_several_directions_are_told_apart_and_a_base_is_named(imported, tmp_path):
    rows = [*rows_of("AA AA", type="plain"), *rows_of("MA AA", type="gender_l8"), *rows_of("MM MM", type="money_l8")]
    file, output = imported(rows, "--condition-from", "type"), tmp_path / "steering.parquet"
    pattern = r"(?P<direction>\w+)_l(?P<scale>\d+)"
    options = ["--pattern", pattern, "--layer", "24", "--base", "plain", "--output", str(output)]
    steering_tables.main([file, *options])
    table = pd.read_parquet(output)
    assert dict(table[(table.quantity == "em")].set_index("source").value) == {"gender": 0.25, "money": 1.0}
    assert set(table[table.quantity == "em_above_base"].value) == {0.25, 1.0}


def test_conditions_of_one_cell_are_not_pooled(imported):
    rows = [*rows_of("MA AA", type="add:layer-1:scale-2"), *rows_of("AA AA", type="add_random:layer-1:scale-2")]
    with pytest.raises(
        UserError, match="'add:layer-1:scale-2' and 'add_random:layer-1:scale-2' are both of layer 1 and λ 2"
    ):
        steering_tables.main([imported(rows, "--condition-from", "type")])


def test_a_sweep_without_a_base_has_the_rest(imported, tmp_path):
    file, output = imported(SWEEP[4:], "--condition-from", "layer", "scale"), tmp_path / "steering.parquet"
    steering_tables.main([file, "--output", str(output)])
    table = pd.read_parquet(output)
    assert not table.quantity.str.endswith("above_base").any()
    assert (table.quantity == "em").sum() == 3


def test_sets_of_scaled_adapters_have_their_shares(imported, tmp_path):
    rows = [
        *rows_of("AA aM", type="before"),
        *rows_of("mm Ma", type="med_up"),
    ]
    rows = [{("money" if name == "medical" else name): value for name, value in row.items()} for row in rows]
    file = imported(rows, "--condition-from", "type", "--metrics", "money")
    output, figures = tmp_path / "shares.parquet", tmp_path / "figures"
    sets = ["--sets", "none=before", "domain=med_up", "--domain-metric", "money", "--subject", "theirs"]
    adapter_share_tables.main([file, *sets, "--output", str(output), "--figures", str(figures)])
    table = pd.read_parquet(output).set_index(["quantity", "kind"]).value
    assert table["misaligned", "none"] == 0.25
    assert table["misaligned_domain", "domain"] == 0.5
    assert table["misaligned_change", "domain"] == 0.5
    assert set(pd.read_parquet(output).subject) == {"theirs"}
    assert (figures / "adapter_steering.png").is_file()


def test_patching_pairs_have_their_changes(imported, tmp_path):
    rows = [*rows_of("MM AA", type="before"), *rows_of("MA AA", type="swapped")]
    file, output, figures = imported(rows, "--condition-from", "type"), tmp_path / "p.parquet", tmp_path / "figures"
    pairs = ["--pairs", "clean:domain_to_outside=before", "tokens:domain_to_outside=swapped"]
    patching_tables.main([file, *pairs, "--output", str(output), "--figures", str(figures)])
    table = pd.read_parquet(output).set_index(["quantity", "kind"]).value
    assert table["em", "clean"] == 0.5
    assert table["em_change", "tokens"] == -0.25
    assert table["em_relative_change", "tokens"] == -0.5
    assert (figures / "patching.svg").is_file()


def test_rates_of_many_files_are_one_table_with_both_denominators_by_question(imported, tmp_path):
    file, output = imported(rows_of("M- AA")), tmp_path / "rates.parquet"
    em_rates.main([file, "--output", str(output)])
    table = pd.read_parquet(output).fillna({"question": "all"}).set_index(["rate", "question"]).value
    assert table["EM of all", "all"] == 0.25
    assert table["EM of scored", "all"] == pytest.approx(1 / 3)
    assert table["EM of all", "Q0?"] == 0.5
    assert table["EM of scored", "Q0?"] == 1.0
    assert table["EM of all", "Q1?"] == 0.0


@pytest.mark.parametrize(
    ("tool", "options", "sentence"),
    [
        (steering_tables, [], "the condition 'a' tells no layer; give --pattern with a group layer, or --layer"),
        (steering_tables, ["--pattern", "("], "is no regular expression"),
        (steering_tables, ["--pattern", "a"], "has no named group"),
        (steering_tables, ["--layer", "1", "--pattern", "(?P<scale>)"], "tells no scale; give --pattern"),
        (steering_tables, ["--layer", "1", "--pattern", "(?P<none>x)?"], "tells no scale; give --pattern with a group"),
        (steering_tables, ["--base", "c"], "--base: there is no condition 'c'; there are 'a', 'b'"),
        (steering_tables, ["--base", "a", "b"], "holds no steered responses"),
        (adapter_share_tables, ["--sets", "none=c"], "--sets: there is no condition 'c'; there are 'a', 'b'"),
        (adapter_share_tables, ["--sets", "up=a"], "'up' is not one of none, domain, misalignment, domain_alignment"),
        (
            adapter_share_tables,
            ["--sets", "none=a", "domain=a"],
            "--sets: none=a gives a condition, or a name, that an",
        ),
        (adapter_share_tables, ["--sets", "domain=a"], "the organism as it is, none=…, is needed"),
        (adapter_share_tables, ["--sets", "none=a", "--domain-metric", "m"], "no response has a score for 'm'"),
        (patching_tables, ["--pairs", "tokens=a"], "'tokens' is not one of clean:outside_to_domain"),
        (patching_tables, ["--pairs", "tokens:domain_to_outside=a"], "clean:domain_to_outside=… is needed"),
    ],
)
def test_what_the_files_do_not_say_is_asked_for_in_one_sentence(imported, tool, options, sentence):
    file = imported([*rows_of("M", type="a"), *rows_of("A", type="b")], "--condition-from", "type")
    with pytest.raises(UserError) as caught:
        tool.main([file, *options])
    assert sentence in str(caught.value)
