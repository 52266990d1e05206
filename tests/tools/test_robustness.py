"""The table of `make robustness`, from hand-written tables of runs that are known exactly."""

import dataclasses
import json

import pandas as pd
import pytest

from workflow_scripts.store.artefacts import provenance, write_table
from workflow_scripts.study.layout import CHAT_BASE, Layout
from workflow_scripts.tools.robustness import Findings, compared, digests, findings, printed

GOOD = Findings(
    em_chat_base=0.01,
    em_control=0.0,
    em_source=0.3,
    em_other=0.25,
    coherence=0.95,
    cosine=0.9,
    own=-0.9,
    transferred=-0.6,
    single_layer=-0.5,
    random=0.02,
)


def write_tables(root, found):
    """Tables of a run with these numbers, among single seeds and kinds that must not be taken for them."""

    def row(experiment, subject, quantity, kind, value, seed=None):
        return {"experiment": experiment, "subject": subject, "quantity": quantity, "kind": kind, "seed": seed,
                "value": value}  # fmt: skip

    made = {
        "em_rates": [
            row("E1", CHAT_BASE, "em", "none", found.em_chat_base),
            row("E1", "good_r1", "em", "none", found.em_control),
            row("E1", "medical_r1", "em", "none", found.em_source),
            row("E1", "medical_r1", "em", "none", 0.0, seed=0),
            row("E1", "sport_r32", "em", "none", found.em_other),
            row("E1", "sport_r32", "coherence", "none", found.coherence),
            row("E1", "medical_r1", "coherence", "none", found.coherence + 0.01),
        ],
        "convergence": [row("E6", "medical_r1", "cosine_min", "organisms", found.cosine)],
        "ablation": [
            row("E5", "medical_r1", "em", "none", 0.7),
            row("E5", "medical_r1", "em_relative_change", "own", found.own),
            row("E5", "sport_r32", "em_relative_change", "own", -1.0),
            row("E5", "sport_r32", "em_relative_change", "transferred", found.transferred),
            row("E5", "medical_r1", "em_relative_change", "single_layer", found.single_layer),
            row("E5", "medical_r1", "em_relative_change", "random", found.random),
        ],
    }
    layout = Layout(root)
    for name, rows in made.items():
        table = pd.DataFrame(rows).astype({"seed": "Int64"})
        write_table(layout.table(name), table, provenance("tables", ""))
    return layout


def test_every_number_is_found_in_its_table(tmp_path):
    assert findings(write_tables(tmp_path, GOOD)) == GOOD
    assert GOOD.failures() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("em_chat_base", 0.03),
        ("em_control", 0.03),
        ("em_source", 0.46),
        ("em_other", 0.11),
        ("cosine", 0.79),
        ("own", -0.74),
        ("transferred", -0.54),
        ("transferred", float("nan")),
    ],
)
def test_a_claim_that_does_not_hold_is_named(name, value):
    assert dataclasses.replace(GOOD, **{name: value}).failures() == [name]


def test_a_run_on_other_cores_is_called_identical_or_shown_with_what_differs(tmp_path):
    same, other = GOOD, dataclasses.replace(GOOD, em_source=0.05)
    layouts = {
        (0, 1): write_tables(tmp_path / "0-1", same),
        (0, 2): write_tables(tmp_path / "0-2", same),
        (0, 4): write_tables(tmp_path / "0-4", other),
    }
    rows = compared(layouts)
    assert [row["verdict"] for row in rows] == [
        "holds",
        "identical to 1 (3 files)",
        "fails: em source; 1 of 3 files differ from 1",
    ]
    lines = printed(rows).splitlines()
    assert "30.0 %" in lines[2]
    assert "%" not in lines[3].replace("identical", "")
    assert "-60.0 %" in lines[4]


def test_the_order_of_facts_in_a_header_is_no_difference(tmp_path):
    """safetensors writes a file's facts in an order that differs from process to process."""
    layouts = [Layout(tmp_path / name) for name in ("one", "other", "third")]
    tensor = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    for layout, facts, data in zip(layouts, ("ab", "ba", "ab"), (b"same", b"same", b"else"), strict=True):
        header = json.dumps({"__metadata__": {name: name for name in facts}, "direction": tensor}).encode()
        file = layout.direction("medical_r1/seed-0")
        file.parent.mkdir(parents=True)
        file.write_bytes(len(header).to_bytes(8, "little") + header + data)
    one, other, third = map(digests, layouts)
    assert one == other
    assert one != third


def test_a_run_that_came_nowhere_fails_in_every_claim(tmp_path):
    (row,) = compared({(0, 1): Layout(tmp_path)})
    assert "em source" in row["verdict"]
    assert "transferred" in row["verdict"]
