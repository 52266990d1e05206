import subprocess
import sys

import pyarrow as pa

from workflow_scripts.store.artefacts import provenance, write_table
from workflow_scripts.store.response_tables import STORED
from workflow_scripts.store.responses import ResponseStore

ROW = {"row_key": "k", "prompt_token_ids": [1], "response": "r", "response_token_ids": [2], "tokens": 1,
       "finish_reason": "stop", "seed": 0}  # fmt: skip


def test_pruning_is_dry_by_default_and_keeps_what_a_study_uses(tmp_path):
    store = ResponseStore(tmp_path / "results" / "store")
    for condition in ("used", "patched", "unused"):
        store.add(condition, [ROW])
    manifest = tmp_path / "results" / "study" / "sampling" / "baseline-0.parquet"
    write_table(manifest, pa.table({"store_hash": ["used"]}), provenance("sampling", "{}"))
    table = tmp_path / "results" / "study" / "responses" / "organism" / "seed-0" / "patching.parquet"
    write_table(table, pa.table({"response": ["r"]}), provenance("patched_responses", "{}", **{STORED: ["patched"]}))

    def prune(*options):
        command = [sys.executable, "-m", "workflow_scripts.tools.prune", *options]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert "1 conditions with 1 responses" in prune()
    assert len(store.conditions()) == 3
    assert "removed" in prune("--delete")
    assert [folder.name for folder in store.conditions()] == ["patched", "used"]


def test_a_store_keeps_parts_apart_and_reads_them_together(tmp_path):
    store = ResponseStore(tmp_path)
    store.add("condition", [ROW])
    store.add("condition", [ROW | {"row_key": "other"}])
    assert store.present("condition") == {"k", "other"}
    assert store.read("condition").num_rows == 2
    assert store.read("unknown").num_rows == 0
