import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from helpers.workflow import SMOKE, write_study
from workflow_scripts.engines.plan import planned
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.adapter_files import CONFIG, adapter_facts
from workflow_scripts.store.artefacts import canonical, digest, provenance, write_json, write_table, write_tensors
from workflow_scripts.store.response_tables import STORED
from workflow_scripts.store.responses import ResponseStore
from workflow_scripts.study.layout import CHAT_BASE, Layout
from workflow_scripts.study.reading import load
from workflow_scripts.tools import prune

SUBJECT = "medical_r1/seed-0"

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


def small_study(folder: Path) -> Path:
    """A study of the chat base and one organism, as after its training: no manifest names what it samples."""
    raw = yaml.safe_load(SMOKE.read_text())
    sections = ("study", "base", "datasets", "questions", "sampling", "judge")
    file = write_study(
        folder, {name: raw[name] for name in sections} | {"organisms": {"medical_r1": raw["organisms"]["medical_r1"]}}
    )
    layout = Layout.of(file)
    for path, text in ((layout.adapter(SUBJECT), "weights"), (layout.adapter(SUBJECT).with_name(CONFIG), '{"r": 1}')):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    write_tensors(layout.gate(SUBJECT), {}, provenance("organisms", "{}", **adapter_facts(layout.adapter(SUBJECT))))
    write_json(layout.fingerprint, {"id": digest(canonical({"model": "0"})), "model": "0"})
    return file


def hashes(file: Path) -> list[str]:
    study, layout = load(file), Layout.of(file)
    return [plan.store_hash for subject in (CHAT_BASE, SUBJECT) for plan in planned(study, layout, "baseline", subject)]


def test_what_a_study_asks_for_is_kept_although_no_manifest_names_it(tmp_path, capsys):
    file = small_study(tmp_path)
    store = ResponseStore(tmp_path / "results" / "store")
    for condition in (*hashes(file), "unused"):
        store.add(condition, [ROW])
    prune.main(["--results", str(tmp_path / "results"), "--delete"])
    assert "1 conditions with 1 responses" in capsys.readouterr().out
    assert [folder.name for folder in store.conditions()] == sorted(hashes(file))


@pytest.mark.parametrize(
    ("broken", "how"),
    [
        *((part, how) for part in ("gate", "adapter", "fingerprint") for how in ("missing", "damaged")),
        ("study", "damaged"),
    ],
)
def test_nothing_is_removed_while_a_studys_conditions_cannot_be_told(tmp_path, broken, how):
    file = small_study(tmp_path)
    layout = Layout.of(file)
    store = ResponseStore(tmp_path / "results" / "store")
    for condition in (*hashes(file), "unused"):
        store.add(condition, [ROW])
    path = {"gate": layout.gate(SUBJECT), "adapter": layout.adapter(SUBJECT), "fingerprint": layout.fingerprint,
            "study": file}[broken]  # fmt: skip
    if how == "damaged":
        path.write_bytes(b"\xff damaged")
    else:
        path.unlink()
    with pytest.raises(
        UserError, match=r"results/smoke: what it needs of the store cannot be told .* nothing is removed"
    ):
        prune.main(["--results", str(tmp_path / "results"), "--delete"])
    assert len(store.conditions()) == 3


def test_a_part_of_another_condition_is_named(tmp_path):
    store = ResponseStore(tmp_path)
    for condition in ("one", "other"):
        store.add(condition, [ROW])
    (part,) = (tmp_path / "responses" / "one").iterdir()
    part.replace(tmp_path / "responses" / "other" / part.name)
    for read in (store.present, store.read):
        with pytest.raises(UserError, match=r"holds responses of the condition one, it was copied or exchanged"):
            read("other")
