"""What could not be made of a study's results, and why: a null result is a result.

An organism that gives too few misaligned answers has no direction. The stage that should have taken it still writes its
file, without tensors or rows, and says why in the file's provenance. What needs the file skips it and says so likewise,
down to the tables, the summary and the report's first page.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from workflow_scripts.runtime.errors import NotPossible
from workflow_scripts.store.adapter_files import WEIGHTS
from workflow_scripts.store.artefacts import (
    canonical,
    read_json,
    table_metadata,
    tensor_metadata,
    write_json,
    write_table,
    write_tensors,
)

ABSENT = "absent"
"""Key of an artefact's provenance, and of a JSON file."""


@dataclass(frozen=True)
class Absence:
    """What an artefact lacks."""

    why: str
    """A sentence, with the counts that it rests on."""
    kind: str | None = None
    """Kind of the conditions that are missing; None where nothing could be made at all."""


def recorded(absences: Iterable[Absence]) -> dict[str, list[dict[str, Any]]]:
    """Absences as a fact for an artefact's provenance, each once."""
    return {ABSENT: [asdict(absence) for absence in dict.fromkeys(absences)]}


def write_absent(path: Path, lack: NotPossible, made_by: Mapping[str, str], schema: pa.Schema | None = None) -> None:
    """Writes an artefact that could not be made: safetensors, a table (of `schema`) or JSON, with nothing in it.

    The provenance `made_by` is completed by the reason and its counts.
    """
    fact = recorded([Absence(str(lack))])
    facts = {**made_by, ABSENT: canonical(fact[ABSENT]), **{name: str(count) for name, count in lack.counts.items()}}
    if path.suffix == ".safetensors":
        write_tensors(path, {}, facts)
    elif path.suffix == ".parquet":
        write_table(path, pa.Table.from_pylist([], schema or pa.schema([])), facts)
    else:
        write_json(path, fact, made_by)


def absences(path: Path) -> list[Absence]:
    """What an artefact lacks, as its own stage recorded it."""
    if path.name == WEIGHTS:  # of PEFT's own form, without our provenance; an adapter is never absent
        return []
    if path.suffix == ".json":
        found = read_json(path).get(ABSENT, [])
    else:
        facts = tensor_metadata(path) if path.suffix == ".safetensors" else table_metadata(path)
        found = json.loads(facts.get(ABSENT, "[]"))
    return [Absence(**entry) for entry in found]


def absent(path: Path) -> str | None:
    """Why an artefact could not be made at all; None if it was."""
    return next((absence.why for absence in absences(path) if absence.kind is None), None)


def require(path: Path) -> None:
    """Raises NotPossible, with the artefact's own reason, if it could not be made."""
    why = absent(path)
    if why:
        raise NotPossible(why)
