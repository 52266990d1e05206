"""Pruning of the store: what no study under results/ needs any more.

Dry by default: lists and counts. What a study needs is told by the study itself, since a sampling job that failed, was
killed or still runs has no manifest; manifests of earlier forms of it count beside. While the conditions of any study
cannot all be told, because something that they are made of is missing or damaged, nothing is removed. Judgements are
small and were paid for, they are never pruned.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from workflow_scripts.engines.plan import planned
from workflow_scripts.patched_responses import stored_names
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import read_table, table_metadata
from workflow_scripts.store.response_tables import STORED
from workflow_scripts.store.responses import ResponseStore, stored_rows
from workflow_scripts.study.conditions import battery_subjects, sampled_batteries, subject_of
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.reading import load


def named(results: Path) -> set[str]:
    """Store hashes in the manifests of sampling runs and the tables of patched responses."""
    sampled = {
        condition
        for manifest in results.glob("*/sampling/*.parquet")
        for condition in read_table(manifest, ["store_hash"], only=True).column("store_hash").to_pylist()
    }
    patched = (table_metadata(table) for table in results.glob("*/responses/*/*/patching.parquet"))
    return sampled.union(*(json.loads(facts[STORED]) for facts in patched))


def needed(study_file: Path) -> set[str]:
    """Store hashes of every condition that a study asks for, whether its jobs have run or not.

    Raises:
        UserError: if what a condition is made of is missing or damaged, so that its hash cannot be told.
    """
    try:
        study, layout = load(study_file), Layout.of(study_file)
        found = {
            plan.store_hash
            for battery in sampled_batteries(study)
            for subject in battery_subjects(study, battery)
            for plan in planned(study, layout, battery, subject)
        }
        patched = subject_of(study.adapters, study)
        if patched and study.adapters and study.adapters.patching:
            found.update(stored_names(study, layout, patched))
    except Exception as error:  # whatever it is, the study's responses must not be taken for unused
        why = " ".join(f"{error}".split()).rstrip(".") or type(error).__name__
        raise UserError(
            f"{study_file.parent}: what it needs of the store cannot be told ({why}), so nothing is removed; finish "
            "its run, or move its folder out of the results if it is given up, and prune again."
        ) from error
    return found


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__, study=False)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--delete", action="store_true", help="remove what is listed")
    given = parser.parse_args(arguments)
    if not given.results.is_dir():
        raise UserError(f"--results: there is no folder {given.results}; name the one that holds store/ and studies.")
    # listed first: what a run beside this one adds from now on is not among them
    stored = ResponseStore(given.results / "store").conditions()
    kept = named(given.results).union(*map(needed, sorted(given.results.glob("*/study.json"))))
    unused = [folder for folder in stored if folder.name not in kept]
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
