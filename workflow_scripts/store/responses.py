"""The shard store: every sampled response, under the hash of what produced it.

store/responses/<condition hash>/<part>.parquet. The hash covers the base's fingerprint, the adapter, the change of the
residual stream with the digest of its vectors, the number format and the sampling settings; a row within it is one
(question, sample, seed). Parts are only ever added, whole, so that a killed job loses what is in flight at most
and a grown grid, a new question or more samples sample only what is missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import (
    canonical,
    digest,
    provenance,
    read_table,
    write_table,
)

SCHEMA = pa.schema(
    [
        ("row_key", pa.string()),
        ("prompt_token_ids", pa.list_(pa.int32())),
        ("response", pa.string()),
        ("response_token_ids", pa.list_(pa.int32())),
        ("tokens", pa.int32()),
        ("finish_reason", pa.string()),
        ("seed", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Wanted:
    """One response that a condition needs. The prompt's tokens follow from its text and the base's fingerprint."""

    question_id: str
    system: str | None
    question: str
    sample: int
    seed: int

    @property
    def row_key(self) -> str:
        return digest(canonical([self.question_id, self.system, self.question, self.sample, self.seed]))


def request_seed(seed: int, question_id: str, sample: int, run: int = 0) -> int:
    """Seed of one response, the same in every condition, so that conditions are compared on common random numbers.

    Another one for each fine-tuning seed (`run`): else the luck of the draw would be the same in all of them, and their
    mean no better known than one. Seed 0 is left out of what is hashed.
    """
    what = [seed, question_id, sample, *([run] if run else [])]
    return int.from_bytes(hashlib.sha256(canonical(what).encode()).digest()[:4], "big") >> 1


def condition_hash(fingerprint: str, adapter: str | None, change: Any, settings: dict[str, Any], dtype: str) -> str:
    """Name of a condition's folder in the store.

    Args:
        fingerprint: the base's.
        adapter: digest of the adapter's file, None for the plain base.
        change: the residual-stream change as plain data, with the digest of its vectors; None for none.
        settings: of sampling, those that are set (`engines.plan.settings`).
        dtype: number format of the weights.
    """
    what = {"base": fingerprint, "adapter": adapter, "change": change, "sampling": settings, "dtype": dtype}
    return digest(canonical(what))


class ResponseStore:
    """The store below one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root / "responses"

    def present(self, condition: str) -> set[str]:
        """Row keys that a condition already holds."""
        return {
            key
            for part in self._parts(condition)
            for key in self._part(condition, part, ["row_key"]).column("row_key").to_pylist()
        }

    def add(self, condition: str, rows: Sequence[dict[str, Any]], **facts: Any) -> None:
        """Adds finished responses as one part, in one step; `facts` of how they were made go into its provenance."""
        part = digest(*(row["row_key"] for row in rows))
        path = self._root / condition / f"{part}.parquet"
        write_table(path, pa.Table.from_pylist(list(rows), SCHEMA), provenance("sampling", condition, **facts))

    def read(self, condition: str) -> pa.Table:
        """All responses of a condition; the parts never overlap in what a reader takes, the first of a key wins."""
        tables = [self._part(condition, part, SCHEMA.names) for part in self._parts(condition)]
        return pa.concat_tables(tables) if tables else pa.Table.from_pylist([], SCHEMA)

    def conditions(self) -> list[Path]:
        """Folder of every condition in the store."""
        return sorted(self._root.iterdir()) if self._root.is_dir() else []

    def _part(self, condition: str, part: Path, columns: Sequence[str]) -> pa.Table:
        """Columns of a part.

        Raises:
            UserError: if it cannot be read, or holds responses of another condition.
        """
        table = read_table(part, columns, only=True)
        made_under = (table.schema.metadata or {}).get(b"spec", b"").decode()
        if made_under != condition:
            raise UserError(
                f"{part}: holds responses of the condition {made_under}, it was copied or exchanged; put it back, "
                "or move it out of the store and run again."
            )
        return table

    def _parts(self, condition: str) -> list[Path]:
        return sorted((self._root / condition).glob("[!.]*.parquet"))


def stored_rows(path: Path) -> int:
    """Rows of a part, from its footer."""
    return int(pq.read_metadata(path).num_rows)
