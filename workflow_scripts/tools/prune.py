"""Pruning of the store: what no study under results/ refers to any more.

Dry by default: lists and counts. A study refers to a condition through the manifests of its sampling runs, and through
its tables of patched responses. Judgements are small and were paid for, they are never pruned.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from workflow_scripts.runtime import command
from workflow_scripts.store.artefacts import read_table, table_metadata
from workflow_scripts.store.response_tables import STORED
from workflow_scripts.store.responses import ResponseStore, stored_rows


def referred(results: Path) -> set[str]:
    """Store hashes that any study below a results folder names."""
    sampled = {
        condition
        for manifest in results.glob("*/sampling/*.parquet")
        for condition in read_table(manifest, ["store_hash"], only=True).column("store_hash").to_pylist()
    }
    patched = (table_metadata(table) for table in results.glob("*/responses/*/*/patching.parquet"))
    return sampled.union(*(json.loads(facts[STORED]) for facts in patched))


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__, study=False)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--delete", action="store_true", help="remove what is listed")
    given = parser.parse_args(arguments)
    kept = referred(given.results)
    unused = [folder for folder in ResponseStore(given.results / "store").conditions() if folder.name not in kept]
    rows = size = 0
    for folder in unused:
        parts = list(folder.glob("*.parquet"))
        rows += sum(stored_rows(part) for part in parts)
        size += sum(part.stat().st_size for part in parts)
        print(folder)
        if given.delete:
            shutil.rmtree(folder)
    verb = "removed" if given.delete else "would be removed (--delete does it)"
    print(f"{len(unused)} conditions with {rows} responses, {size / 2**20:.1f} MiB: {verb}; {len(kept)} are in use.")


if __name__ == "__main__":
    command.run(main)
