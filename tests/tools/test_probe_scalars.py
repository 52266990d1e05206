"""The probe command on tables of other people's making."""

import subprocess
import sys

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
        (["--classes", "NMM", "XX"], "there is no class 'XX' in column class; it has MM, NMA, NMM."),
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
