"""The probe command on tables of other people's making."""

import os
import subprocess
import sys
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from workflow_scripts.adapters.tables import Columns, contrast, read_scalars, resolved
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import read_frame
from workflow_scripts.tools.probe_scalars import main

CLASSES = {"NMA": (0, 0), "NMM": (1, 0), "MM": (1, 1)}
FEW = ["--runs", "8", "--draws", "39"]


@pytest.fixture(scope="module")
def table():
    """Layer 15 knows of misalignment, layer 21 of medicine, layer 27 of nothing."""
    rng = np.random.default_rng(0)
    rows = []
    for name, (misaligned, medical) in CLASSES.items():
        for response in range(40):
            base = np.array([0.8 * misaligned, 0.8 * medical, 0.0]) + rng.normal(scale=0.2, size=3)
            for token in range(20):
                layer_15, layer_21, layer_27 = base + rng.normal(size=3)
                rows.append({"response_id": response, "token_index": token, "class": name, "question": response % 5,
                             "significance": float(rng.lognormal()), "layer_15": layer_15, "layer_21": layer_21,
                             "layer_27": layer_27})  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture
def file(table, tmp_path):
    table.to_parquet(tmp_path / "scalars.parquet")
    return tmp_path / "scalars.parquet"


def test_probe_prints_every_split_and_every_coefficient_and_writes_them(file, capsys):
    output = file.with_name("probe.parquet")
    main(["probe", "--scalars", str(file), "--classes", "NMM", "MM", *FEW, "--output", str(output)])
    shown = capsys.readouterr().out
    for part in (
        "accuracy",
        "precision",
        "recall",
        "f1",
        "auc",
        "token ",
        "response ",
        "question ",
        "labels of 80 responses shuffled within 5 of 5 questions",
        "layer_15",
        "layer_21",
        "layer_27",
    ):
        assert part in shown
    rows = read_frame(output)
    assert set(rows.contrast) == {"NMM-MM"}
    scores = rows[rows.adapter.isna()].set_index(["quantity", "split"])
    for split in ("response", "question"):
        assert scores.value["accuracy", split] > 0.6
    assert scores.tokens["accuracy", "token"] == 2 * 40 * 20
    assert scores.responses["accuracy", "token"] == 80
    assert scores.high["auc_shuffled", "token"] < scores.value["auc", "token"]
    weights = rows[(rows.split == "token") & (rows.quantity == "coefficient")].set_index("adapter").value
    p = rows[rows.quantity == "p"].set_index("adapter").value
    assert p["layer_21"] == 1 / 40, "no shuffled table of 39 reaches it"
    assert p["layer_15"] > 0.1
    assert weights["layer_21"] > 0.3
    assert abs(weights["layer_15"]) < 0.15


def test_name_calls_the_planted_adapters_by_their_names(file, capsys):
    output = file.with_name("names.parquet")
    pairs = ["--general", "NMA", "NMM", "--specialised", "NMM", "MM"]
    main(["name", "--scalars", str(file), *pairs, *FEW, "--level", "0.1", "--output", str(output)])
    shown = dict(line.split() for line in capsys.readouterr().out.splitlines()[2:])
    assert shown == {"layer_15": "general", "layer_21": "specialised", "layer_27": "idle"}
    rows = read_frame(output)
    assert set(rows.contrast) == {"NMA-NMM|NMM-MM"}
    assert rows[rows.quantity == "general_adapters"].value.tolist() == [1]
    assert rows[(rows.quantity == "is_specialised") & (rows.adapter == "layer_21")].value.tolist() == [1]


def test_the_threshold_keeps_tokens_whose_natural_logarithm_of_significance_reaches_it(table):
    frame = table.assign(_file="x")
    columns = resolved(frame, Columns())
    kept = contrast(frame, columns, "NMM", "MM", 0.5)
    wanted = table[table["class"].isin(["NMM", "MM"]) & (np.log(table.significance) >= 0.5)]
    np.testing.assert_array_equal(kept.values, wanted[["layer_15", "layer_21", "layer_27"]].to_numpy())
    assert kept.positive.sum() == (wanted["class"] == "MM").sum()


def test_files_without_a_class_column_are_classes_and_equal_ids_in_them_are_two_responses(table, tmp_path):
    paths = []
    for name, part in table.groupby("class"):
        paths.append(tmp_path / f"{name}.csv")
        part.drop(columns="class").to_csv(paths[-1], index=False)
    frame = read_scalars(paths)
    given = contrast(frame, resolved(frame, Columns()), "NMM", "MM")
    assert len(np.unique(given.responses)) == 80


def test_files_of_one_name_in_two_folders_are_one_class_and_equal_ids_in_them_are_two_responses(table, tmp_path):
    paths = []
    for name, part in table[table["class"] != "NMA"].drop(columns="question").groupby("class"):
        for folder, half in (("a", part), ("b", part[part.response_id < 10])):
            (tmp_path / folder).mkdir(exist_ok=True)
            paths.append(tmp_path / folder / f"{name}.parquet")
            half.drop(columns="class").to_parquet(paths[-1])
    frame = read_scalars(paths)
    given = contrast(frame, resolved(frame, Columns()), "NMM", "MM")
    assert len(np.unique(given.responses)) == 2 * (40 + 10)
    with pytest.raises(UserError, match=r"MM\.parquet: is given twice; name each file once\."):
        read_scalars([paths[0], *paths])


@pytest.mark.parametrize(
    "line", [["import", "--output", "o"], ["probe", "--classes", "a", "b", "--scalars"]], ids=["import", "probe"]
)
def test_a_file_whose_name_is_not_utf_8_is_one_sentence(line):
    with pytest.raises(UserError, match="its name is not in UTF-8, so that no class can be named by it; rename it"):
        main([*line, os.fsdecode(b"b\xff.pt")])


@pytest.mark.parametrize("kind", [str, Decimal, float], ids=["texts", "decimals", "floats"])
def test_numbers_of_any_kind_are_an_adapters(table, tmp_path, kind):
    file = tmp_path / "scalars.parquet"
    table.assign(layer_15=table.layer_15.round(6).map(lambda value: kind(str(value)))).to_parquet(file)
    frame = read_scalars([file])
    given = contrast(frame, resolved(frame, Columns()), "NMM", "MM")
    assert given.adapters == ("layer_15", "layer_21", "layer_27")
    np.testing.assert_allclose(given.values[:, 0], table[table["class"] != "NMA"].layer_15, atol=1e-6)


def blanked(table, column, value, row=805):
    """The table with another value in one row, of class NMM."""
    values = table[column].astype(object).tolist()
    values[row] = value
    return table.assign(**{column: pd.Series(values, dtype=object)})


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("layer_27", None, "has no finite number in column 'layer_27' but '(nan|None|)'; every token of every file"),
        ("layer_27", float("inf"), "has no finite number in column 'layer_27' but 'inf'"),
        ("significance", None, "has no finite number in column 'significance' but"),
        ("class", None, "has nothing in column 'class', which says the class in every row of every file"),
        ("question", None, "has nothing in column 'question', which says the question"),
        ("response_id", None, "has nothing in column 'response_id', which says the response"),
    ],
)
def test_a_cell_with_nothing_in_it_is_named(table, tmp_path, ending, column, value, sentence):
    file = tmp_path / f"scalars.{ending}"
    changed = blanked(table.astype({"response_id": str, "question": str}), column, value)
    changed.to_csv(file, index=False) if ending == "csv" else changed.to_parquet(file)
    with pytest.raises(UserError, match=rf"scalars\.{ending}: data row 806 {sentence}"):
        main(["probe", "--scalars", str(file), "--classes", "NMM", "MM", "--threshold", "0", *FEW])


@pytest.mark.parametrize("value", ["n/a", "0,5", "1_000", [0.5]], ids=str)
def test_a_cell_that_is_no_number_does_not_take_its_adapter_away(table, tmp_path, value):
    file = tmp_path / "scalars.jsonl"
    blanked(table, "layer_27", value).to_json(file, orient="records", lines=True)
    frame = read_scalars([file])
    with pytest.raises(UserError, match=r"scalars\.jsonl: data row 806 has no finite number in column 'layer_27' but"):
        contrast(frame, resolved(frame, Columns()), "NMM", "MM")
    given = contrast(frame, resolved(frame, Columns()), "NMA", "MM")
    assert given.adapters == ("layer_15", "layer_21", "layer_27"), "nothing is asked of other classes"


@pytest.mark.parametrize("column", ["class", "question", "layer_27"])
def test_a_column_that_one_file_lacks_is_named_with_it(table, tmp_path, column):
    (tmp_path / "b").mkdir()
    paths = [tmp_path / "NMM.parquet", tmp_path / "b" / "MM.parquet"]
    table.to_parquet(paths[0])
    table.drop(columns=column).to_parquet(paths[1])
    frame = read_scalars(paths)
    with pytest.raises(UserError, match=rf"b/MM\.parquet: data row .* in column '{column}'"):
        contrast(frame, resolved(frame, Columns()), "NMM", "MM")


@pytest.mark.parametrize(
    ("action", "option", "value", "sentence"),
    [
        ("probe", "--draws", "-5", "'-5' is not a whole number of 0 or more"),
        ("name", "--draws", "0", "'0' is not a whole number of 1 or more"),
        ("probe", "--runs", "0", "'0' is not a whole number of 1 or more"),
        ("probe", "--seed", "-1", "'-1' is not a whole number of 0 or more"),
        ("name", "--level", "0", "'0' is no level between 0 and 1"),
        ("name", "--level", "nan", "'nan' is no level between 0 and 1"),
        ("name", "--level", "2", "'2' is no level between 0 and 1"),
        ("name", "--level", "x", "'x' is no level between 0 and 1"),
    ],
)
def test_a_number_out_of_range_is_refused_before_anything_is_read(capsys, action, option, value, sentence):
    pairs = {"probe": ["--classes", "a", "b"], "name": ["--general", "a", "b", "--specialised", "b", "c"]}[action]
    with pytest.raises(SystemExit, match="2"):
        main([action, "--scalars", "none.parquet", *pairs, option, value])
    assert sentence in capsys.readouterr().err


def test_other_column_names_are_found_or_given(table):
    adapters = {f"layer_{layer}": f"blocks.{layer}.mlp" for layer in (15, 21, 27)}
    other = table.rename(columns={"response_id": "who", **adapters}).assign(_file="x")
    with pytest.raises(UserError, match="no column names the response"):
        resolved(other, Columns())
    found = resolved(other.drop(columns="question"), Columns(response="who"))
    assert found.adapters == tuple(adapters.values())
    assert (found.token, found.classes, found.significance) == ("token_index", "class", "significance")
    assert resolved(other, Columns(response="who", adapters=("blocks.21.mlp",))).adapters == ("blocks.21.mlp",)


def test_a_question_column_is_found_and_held_out_as_a_whole(table):
    frame = table.assign(_file="x")
    given = contrast(frame, resolved(frame, Columns()), "NMM", "MM")
    assert len(np.unique(given.questions)) == 5


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--classes", "NMM", "XX"], "no column class has the class 'XX'; there is MM, NMA, NMM."),
        (["--classes", "NMM", "MM", "--response", "id"], "there is no column 'id'; the table has response_id,"),
        (["--classes", "NMM", "MM", "--threshold", "20"], "the first class has 0 tokens"),
    ],
    ids=["class", "column", "threshold"],
)
def test_a_wrong_option_gives_one_sentence_and_exit_code_1(file, options, sentence):
    line = [sys.executable, "-m", "workflow_scripts.tools.probe_scalars", "probe", "--scalars", str(file), *options]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_or_damaged_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.parquet: cannot be read"):
        read_scalars([tmp_path / "none.parquet"])
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match=r"broken\.parquet: (is neither|cannot be read)"):
        read_scalars([broken])


def test_a_table_that_is_read_is_not_written_over(file):
    kept = file.read_bytes()
    probing = ["probe", "--scalars", str(file), "--classes", "a", "b"]
    for given in (probing, ["import", str(file), "--tokens", "answer"]):
        with pytest.raises(UserError, match="is one of the files that are read; name another"):
            main([*given, "--output", str(file)])
    assert file.read_bytes() == kept


def test_a_token_that_stands_there_twice_and_a_class_against_itself_are_refused(table, tmp_path):
    file = tmp_path / "doubled.parquet"
    pd.concat([table, table[801:802]]).to_parquet(file)
    with pytest.raises(
        UserError, match=r"doubled\.parquet: data row 2401 is the second of its response with this token_index"
    ):
        main(["probe", "--scalars", str(file), "--classes", "NMA", "NMM", *FEW])
    with pytest.raises(UserError, match="'NMA' is not another class than itself; name two"):
        main(["probe", "--scalars", str(file), "--classes", "NMA", "NMA", *FEW])
