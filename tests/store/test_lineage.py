"""Artefacts that were exchanged, edited, or left behind by what they were made from are named by whoever reads them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import provenance, read_json, read_table, table_writer, write_json, write_table
from workflow_scripts.store.lineage import data_digest, facts_of, origin

Paths = dict[str, Path]


@pytest.fixture
def chain(tmp_path) -> Paths:
    """A study's results: responses of two subjects, their judgements, names in JSON, a table of all."""
    return made(tmp_path / "results" / "study", "yes")


def made(root: Path, response: str) -> Paths:
    write_json(root / "study.json", {})
    paths: Paths = {}

    def add(name: str, read: list[str], value: str) -> None:
        path = paths[name] = root / name
        facts = provenance("stage", "{}", **origin(root, path, [paths[of] for of in read]))
        if path.suffix == ".json":
            write_json(path, {"value": value}, facts)
        else:
            write_table(path, pa.table({"value": [value] * 50}), facts)

    for subject in ("a", "b"):
        add(f"responses/{subject}/baseline.parquet", [], response + subject)
        add(f"judgements/{subject}/baseline.parquet", [f"responses/{subject}/baseline.parquet"], f"score {subject}")
    add("probes/a.json", ["judgements/a/baseline.parquet"], "general")
    add("tables/em_rates.parquet", ["judgements/a/baseline.parquet", "judgements/b/baseline.parquet"], "0.5")
    return paths


def read(path: Path) -> object:
    return read_json(path) if path.suffix == ".json" else read_table(path)


def test_what_lies_where_it_was_made_is_read(chain):
    for path in chain.values():
        read(path)


def test_also_from_elsewhere_and_when_the_whole_study_has_another_name(chain, tmp_path, monkeypatch):
    (tmp_path / "results" / "study").rename(tmp_path / "results" / "other")
    monkeypatch.chdir(tmp_path / "results" / "other")
    for name in chain:
        read(Path(name))
        read(tmp_path / "results" / "other" / name)


def test_a_copy_outside_a_study_is_read_wherever_it_lies(chain, tmp_path):
    for name, path in chain.items():
        read(Path(shutil.copy(path, tmp_path / Path(name).name)))


@pytest.mark.parametrize("name", ["responses/{}/baseline.parquet", "judgements/{}/baseline.parquet"])
def test_exchanged_files_name_each_other(chain, name):
    one, other = chain[name.format("a")], chain[name.format("b")]
    kept = one.with_name("kept")
    one.rename(kept)
    other.rename(one)
    kept.rename(other)
    for path in (one, other):
        with pytest.raises(UserError, match=r"holds what belongs to .* it was copied or exchanged") as refused:
            read(path)
        assert {str(one), str(other)} <= set(str(refused.value).replace("`", " ").split())


def rewritten(path: Path) -> None:
    """Other values in a valid file, with all that its reader shows of its provenance."""
    table = pq.read_table(path)
    changed = table.set_column(0, "value", pa.array(["other"] * table.num_rows))
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), path)


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[8] ^= 1
    path.write_bytes(data)


def in_an_editor(path: Path) -> None:
    path.write_text(path.read_text().replace("general", "specialised"))


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        (name, edit)
        for edit in (rewritten, flipped)
        for name in ("judgements/a/baseline.parquet", "tables/em_rates.parquet")
    ]
    + [("probes/a.json", in_an_editor)],
)
def test_an_edited_file_is_named_with_the_rerun_that_mends_it(chain, name: str, edit: Callable[[Path], None]):
    edit(chain[name])
    with pytest.raises(UserError, match=r"was changed or damaged after it was made|truncated or damaged") as refused:
        read(chain[name])
    assert f"`--forcerun {chain[name]}`" in str(refused.value)
    assert "delete" not in str(refused.value)


@pytest.mark.parametrize("reader", ["judgements/a/baseline.parquet", "probes/a.json", "tables/em_rates.parquet"])
def test_a_file_of_another_run_in_the_same_place_is_noticed_by_all_that_follow_it(chain, tmp_path, reader):
    other = made(tmp_path / "elsewhere" / "study", "no")
    name = "responses/a/baseline.parquet"
    shutil.copy(other[name], chain[name])
    with pytest.raises(
        UserError, match=r"judgements/a/baseline\.parquet: was made from another .*responses/a/baseline"
    ) as refused:
        read(chain[reader])
    assert f"`--forcerun {chain['judgements/a/baseline.parquet']}`" in str(refused.value)


def test_what_was_made_anew_with_the_same_content_or_is_not_there_any_more_is_no_difference(chain, tmp_path):
    other = made(tmp_path / "elsewhere" / "study", "yes")
    shutil.copy(other["responses/a/baseline.parquet"], chain["responses/a/baseline.parquet"])
    chain["responses/b/baseline.parquet"].unlink()
    for name in ("judgements/a/baseline.parquet", "tables/em_rates.parquet"):
        read(chain[name])


def test_files_without_these_facts_are_read_as_they_are(tmp_path):
    table = pa.table({"value": [1]}).replace_schema_metadata(provenance("stage", "{}"))
    path = tmp_path / "judgements" / "a.parquet"
    path.parent.mkdir()
    pq.write_table(table, path)
    write_json(tmp_path / "study.json", {})
    assert read_table(path)["value"].to_pylist() == [1]
    assert origin(tmp_path, tmp_path / "table.parquet", [path, tmp_path / "none.parquet"])["inputs"] == "{}"
    assert origin(tmp_path, tmp_path.parent / "table.parquet", []) == {}


@pytest.mark.parametrize("rows", [[], [3], [3, 0, 2]])
def test_a_table_carries_the_digest_of_all_its_data(tmp_path, rows):
    path = tmp_path / "table.parquet"
    with table_writer(path, pa.schema([("a", pa.int64())]), {"stage": "x"}) as writer:
        for count in rows:
            writer.write_table(pa.table({"a": range(count)}, schema=writer.schema))
    assert facts_of(path)["content"] == data_digest(path)
    assert facts_of(path)["stage"] == "x"
