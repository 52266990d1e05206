"""Figures of studies that miss what the figure is about."""

import pandas as pd
import pytest

from helpers.workflow import REPOSITORY
from workflow_scripts.experiments.e05_ablation import transfer
from workflow_scripts.store.artefacts import provenance, write_table
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.reading import load


@pytest.mark.parametrize("changed", [True, False], ids=["one misaligned", "nobody misaligned"])
def test_the_transfer_figure_stands_and_says_where_there_is_nothing_to_be_changed(tmp_path, changed):
    organisms = ["medical_r1", "sport_r32"]
    kept = {"kind": "from", "seed": None, "n": 32, "low": -0.9, "high": -0.5}
    rows = [
        {"subject": subject, "source": origin, "quantity": quantity, "value": value, **kept}
        for subject in organisms
        for origin in organisms
        for quantity, value in (("em", 0.0), *((("em_relative_change", -0.7),) if changed else ()))
    ]
    layout = Layout(tmp_path)
    frame = pd.DataFrame(rows).astype({"seed": "Int64"})
    write_table(layout.table("ablation"), frame, provenance("test", "spec"))
    (matrix, _) = transfer(load(REPOSITORY / "config.yaml"), layout).axes
    said = [text.get_text() for text in matrix.texts]
    if changed:
        assert said == ["-70 %\n[-90, -50]"] * 4
    else:
        assert said == ["no organism's EM is above zero"]
    assert [label.get_text() for label in matrix.get_xticklabels()] == organisms
