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
        (steering_tables, [], "the condition 'a' is none that --pattern reads, as it reads 'layer-24:scale-1.5' when"),
        (
            steering_tables,
            ["--pattern", "(?P<scale>)(?P<type>a|b)"],
            "the condition 'a' tells no layer; give --pattern",
        ),
        (steering_tables, ["--layer", "1", "--pattern", "(?P<scale>)(?P<type>a|b)"], "tells no scale; give --pattern"),
        (steering_tables, ["--pattern", "("], "is no regular expression"),
        (steering_tables, ["--pattern", "a"], "has no named group"),
        (
            steering_tables,
            ["--layer", "1", "--pattern", "(?P<none>x)?"],
            "the condition 'a' is none that --pattern reads",
        ),
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
        (
            adapter_share_tables,
            ["--sets", "none=a", "--domain-metric", "aligned"],
            "aligned tells of no domain; name the",
        ),
        (patching_tables, ["--pairs", "tokens=a"], "'tokens' is not one of clean:outside_to_domain"),
        (patching_tables, ["--pairs", "tokens:domain_to_outside=a"], "clean:domain_to_outside=… is needed"),
    ],
)
def test_what_the_files_do_not_say_is_asked_for_in_one_sentence(imported, tool, options, sentence):
    file = imported([*rows_of("M", type="a"), *rows_of("A", type="b")], "--condition-from", "type")
    with pytest.raises(UserError) as caught:
        tool.main([file, *options])
    assert sentence in str(caught.value)


@pytest.mark.parametrize("scale", ["0,5", "1/2", "1_000", "50%", "x2"])
def test_a_number_that_is_read_in_part_is_no_scale(imported, scale):
    """Read as far as its digits go, 0,5 would be λ 0, the model as it is."""
    file = imported(
        [*rows_of("A", layer=24, scale="0"), *rows_of("M", layer=24, scale=scale)], "--condition-from", "layer", "scale"
    )
    with pytest.raises(UserError, match=f"the condition 'layer-24:scale-{scale}' is none that --pattern reads"):
        steering_tables.main([file])
    pattern = r"layer-(?P<layer>\d+):scale-(?P<scale>\d+)"
    if scale in ("0,5", "1_000"):
        with pytest.raises(UserError, match=f"it reads scale as '{scale[0]}', a part of a number"):
            steering_tables.main([file, "--pattern", pattern])


def test_a_layer_that_a_table_with_gaps_wrote_as_a_float_is_that_layer(imported, tmp_path):
    rows = [*rows_of("A"), *rows_of("M", layer=24, scale=1.5)]  # a row without a layer makes the column float
    file, output = imported(rows, "--condition-from", "layer", "scale"), tmp_path / "steering.parquet"
    assert "layer-24.0:scale-1.5" in set(pd.read_parquet(file).condition)
    steering_tables.main([file, "--base", "none", "--output", str(output)])
    table = pd.read_parquet(output).set_index(["quantity", "kind", "layer", "scale"]).value
    assert table["em", "add", 24, 1.5] == 1


def test_files_named_by_a_decimal_scale_are_told_apart_and_read(tmp_path):
    files = []
    for name, word in (
        ("layer-3:scale-0.csv", "AA"),
        ("layer-3:scale-0.5.csv", "MA"),
        ("layer-3:scale-1.5.csv.gz", "MM"),
    ):
        files.append(str(tmp_path / name))
        pd.DataFrame(rows_of(word)).to_csv(files[-1], index=False)
    import_judged.main([*files, "--output", str(tmp_path / "all.parquet")])
    steering_tables.main([str(tmp_path / "all.parquet"), "--output", str(tmp_path / "steering.parquet")])
    table = pd.read_parquet(tmp_path / "steering.parquet").set_index(["quantity", "kind", "layer", "scale"]).value
    assert (table["em", "add", 3, 0.5], table["em", "add", 3, 1.5]) == (0.5, 1)


def test_directions_whose_names_no_file_can_have_get_figures_of_their_own(imported, tmp_path):
    names = ["a_b-2", "a/b", "a:b", "x" * 250]
    rows = [row for name in names for row in rows_of("M A", kind=f"{name}/layer-1:scale-2")]
    file = imported(rows, "--condition-from", "kind")
    pattern = r"(?P<direction>.+)/layer-(?P<layer>\d+):scale-(?P<scale>\d+)"
    figures, output = tmp_path / "figures", tmp_path / "steering.parquet"
    steering_tables.main([file, "--pattern", pattern, "--figures", str(figures), "--output", str(output)])
    assert len(list(figures.glob("steering-*.svg"))) == 4
    assert set(pd.read_parquet(output).source.dropna()) == set(names)


def test_a_domain_that_no_response_of_a_set_is_scored_for_is_refused_and_a_low_scale_asked_about(imported, caplog):
    rows = [*rows_of("M", kind="a"), *rows_of("A", kind="b")]
    low = imported([{**row, "medical": 0.9} for row in rows], "--condition-from", "kind")
    adapter_share_tables.main([low, "--sets", "none=a", "domain=b"])
    assert "No score of medical is above 0.9 of 100" in caplog.text
    blank = imported(
        [{**row, "medical": 90 if row["kind"] == "a" else None} for row in rows], "--condition-from", "kind"
    )
    with pytest.raises(UserError, match="no response of domain has a score for medical; import them with it"):
        adapter_share_tables.main([blank, "--sets", "none=a", "domain=b"])


@pytest.mark.parametrize("tool", [steering_tables, adapter_share_tables, patching_tables, em_rates, import_judged])
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_read(tmp_path, tool):
    file = tmp_path / "judged.csv"
    pd.DataFrame(rows_of("M A")).to_csv(file, index=False)
    kept = file.read_bytes()
    more = {adapter_share_tables: ["--sets", "none=a"], patching_tables: ["--pairs", "a=b"]}.get(tool, [])
    (tmp_path / "link.csv").symlink_to(file)
    for output, sentence in [
        (file, "is one of the files that are read; name another"),
        (tmp_path / "link.csv", "is one of the files that are read; name another"),
        (tmp_path, "is a folder; name a file in it"),
        (file / "below.parquet", "judged.csv, which is a file; name another place"),
        (tmp_path / ("x" * 250), "is longer than 200 bytes; shorten it"),
        (tmp_path / ("x" * 300) / "y", "cannot be written"),
    ]:
        with pytest.raises(UserError, match=sentence):
            tool.main([str(file), *more, "--output", str(output)])
    assert file.read_bytes() == kept
    if tool in (steering_tables, adapter_share_tables, patching_tables):
        with pytest.raises(UserError, match=r"--figures: .*judged\.csv is a file; name a folder"):
            tool.main([str(file), *more, "--figures", str(file)])
