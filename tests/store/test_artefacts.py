import random
from contextlib import contextmanager

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store import artefacts
from workflow_scripts.store.artefacts import (
    canonical,
    digest,
    provenance,
    read_frame,
    read_tensors,
    replacing,
    write_table,
    write_tensors,
)

FRAME = pd.DataFrame({"a": range(1000), "b": ["text"] * 1000})


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.parquet"
    artefacts.write_table(path, FRAME, provenance("test", "{}", seed=3))
    return path


def test_a_table_comes_back_with_its_provenance(table):
    pd.testing.assert_frame_equal(read_frame(table), FRAME, check_dtype=False)
    facts = artefacts.table_metadata(table)
    assert (facts["stage"], facts["spec"], facts["seed"]) == ("test", "{}", "3")
    assert "torch" in facts["packages"]


@pytest.mark.parametrize("kept", [0, 4, 100, 0.5, -1])
def test_a_truncated_table_is_refused_by_name(table, kept):
    data = table.read_bytes()
    table.write_bytes(data[: int(len(data) * kept) if isinstance(kept, float) else kept])
    with pytest.raises(UserError, match=f"{table}: cannot be read, it is truncated or damaged"):
        read_frame(table)


def test_a_truncated_tensor_file_is_refused_by_name(tmp_path):
    path = tmp_path / "direction.safetensors"
    artefacts.write_tensors(path, {"direction": torch.ones(3, 4)}, provenance("test", "{}"))
    assert read_tensors(path, ["direction"])[0]["direction"].shape == (3, 4)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(UserError, match="truncated or damaged"):
        read_tensors(path)


def test_a_missing_column_and_another_schema_version_are_refused(table, monkeypatch):
    with pytest.raises(UserError, match="lacks the column 'c'"):
        read_frame(table, ["c"])
    monkeypatch.setattr(artefacts, "SCHEMA_VERSION", "2")
    with pytest.raises(UserError, match="written by another version of the workflow"):
        read_frame(table)


def test_a_missing_file_names_the_command_that_makes_it(tmp_path):
    with pytest.raises(UserError, match="does not exist; if it belongs to a study, `snakemake"):
        read_frame(tmp_path / "none.parquet")


def test_a_failed_write_leaves_the_old_file_and_no_other(table):
    before = table.read_bytes()
    with pytest.raises(RuntimeError), replacing(table) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert table.read_bytes() == before
    assert list(table.parent.iterdir()) == [table]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "old").touch()
    with replacing(folder) as temporary:
        temporary.mkdir()
        (temporary / "new").touch()
    assert [file.name for file in folder.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [folder]


def test_canonical_ignores_order_of_keys_and_keeps_order_of_lists():
    assert canonical({"b": [1, 2], "a": 0.5}) == canonical({"a": 0.5, "b": [1, 2]})
    assert canonical([1, 2]) != canonical([2, 1])
    assert digest("a", "bc") != digest("ab", "c")
    with pytest.raises(ValueError, match="JSON"):
        canonical(float("nan"))


def test_json_that_says_the_same_is_not_rewritten(tmp_path):
    path = tmp_path / "study.json"
    artefacts.write_json(path, {"a": 1})
    before = path.stat().st_mtime_ns
    artefacts.write_json(path, {"a": 1})
    assert path.stat().st_mtime_ns == before


def test_provenance_survives_in_the_files_own_metadata(table):
    assert b"schema_version" in pq.read_schema(table).metadata


@pytest.mark.parametrize("seed", range(20))
def test_a_flipped_bit_of_a_table_never_yields_other_numbers(tmp_path, seed):
    dice = random.Random(seed)
    path = tmp_path / "table.parquet"
    frame = pd.DataFrame(
        {"value": [dice.random() for _ in range(500)], "text": [str(dice.random()) for _ in range(500)]}
    )
    write_table(path, frame, provenance("test", "{}"))
    flip(path, dice)
    with refused_by_name(path):
        pd.testing.assert_frame_equal(read_frame(path, ["value", "text"]), frame)


def test_columns_of_every_kind_that_is_written_are_read_as_what_they_were(tmp_path):
    kinds = {
        "text": pa.string(), "long": pa.large_string(), "tokens": pa.list_(pa.int32()), "of lists": pa.list_(pa.list_(pa.int8())),
        "word": pa.dictionary(pa.int32(), pa.string()), "when": pa.timestamp("us"), "parts": pa.struct({"a": pa.float32()}),
        "by name": pa.map_(pa.string(), pa.float64()), "true": pa.bool_(), "nothing": pa.null(), "bytes": pa.binary(),
    }  # fmt: skip
    written = pa.Table.from_pylist([dict.fromkeys(kinds), dict.fromkeys(kinds)], pa.schema(kinds))
    write_table(tmp_path / "table.parquet", written, provenance("test", "{}"))
    assert artefacts.read_table(tmp_path / "table.parquet").to_pylist() == written.to_pylist()


def test_a_flipped_bit_behind_a_table_s_data_changes_no_name_and_no_number_of_rows(tmp_path):
    """The end of a parquet file says what its columns are called, of what type they are, and how many rows there are."""
    dice, path = random.Random(0), tmp_path / "table.parquet"
    frame = pd.DataFrame({"loss": [0.5] * 40, "step": range(40)})
    write_table(path, frame, provenance("test", "{}"))
    whole = path.read_bytes()
    names = [place for name in (b"loss", b"step") for place in range(whole.rfind(name), whole.rfind(name) + 4)]
    end = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    for place in [*names, *dice.choices(range(end, len(whole)), k=500)]:
        data = bytearray(whole)
        data[place] ^= 1 << dice.randrange(8)
        path.write_bytes(data)
        with refused_by_name(path):
            pd.testing.assert_frame_equal(read_frame(path), frame)


@pytest.mark.parametrize("seed", range(20))
def test_a_flipped_bit_of_tensors_never_yields_other_numbers(tmp_path, seed):
    dice = random.Random(seed)
    path = tmp_path / "tensors.safetensors"
    tensors = {"a": torch.randn(40, 30), "b": torch.arange(50).bfloat16()}
    write_tensors(path, tensors, provenance("test", "{}"))
    flip(path, dice)
    with refused_by_name(path):
        found, _ = read_tensors(path, ["a", "b"])
        assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


@contextmanager
def refused_by_name(path):
    """What happens within may end in a sentence about the file."""
    try:
        yield
    except UserError as error:
        if str(path) not in str(error):
            raise


def flip(path, dice):
    data = bytearray(path.read_bytes())
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    path.write_bytes(data)


def test_a_group_is_read_without_the_others_and_held_against_its_own_digest(tmp_path):
    path = tmp_path / "groups.safetensors"
    groups = {"one": torch.arange(8.0), "two": torch.ones(8)}
    write_tensors(path, {f"{name}/x": tensor for name, tensor in groups.items()}, provenance("test", "{}"))
    assert artefacts.read_group(path, "three") == {}
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"\x01")  # the last number of the last tensor
    assert torch.equal(artefacts.read_group(path, "one")["x"], groups["one"]), "what is damaged is not read"
    with pytest.raises(UserError, match="was changed or damaged after it was made"):
        artefacts.read_group(path, "two")
