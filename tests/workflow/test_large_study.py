"""The DAG of a study of the paper's size is there before one has poured a coffee."""

import copy
import time

import pytest
import yaml

from helpers.workflow import SMOKE, Run


def large_study():
    """48 layers, five organisms at three seeds, every layer steered at seven scales from each seed."""
    study = yaml.safe_load(SMOKE.read_text())
    study["base"]["layers"] = 48
    first = study["organisms"]["medical_r1"]
    study["organisms"] = {f"organism_{n}": copy.deepcopy(first) | {"seeds": [0, 1, 2]} for n in range(5)}
    study["steering"].update(
        source="organism_0", seeds=[0, 1, 2], layers=list(range(48)), scales=[0.5, 1, 2, 3, 4, 6, 8]
    )
    study["ablation"].update(
        source="organism_0", single_layer=24, random_draws=3, matrix=[f"organism_{n}" for n in range(5)]
    )
    study["adapters"]["source"] = "organism_0"
    for section in (
        "single_adapter",
        "training_path",
        "specificity",
        "dynamics",
    ):  # the smoke study's, about one organism of another kind
        del study[section]
    return study


@pytest.mark.timeout(120, func_only=True)
def test_a_study_of_the_papers_size_is_planned_and_does_not_hang(tmp_path):
    run = Run(tmp_path, large_study())
    started = time.monotonic()
    planned = run.quickly_planned()
    seconds = time.monotonic() - started
    print(f"{sum(planned.values())} jobs planned in {seconds:.1f} s")
    assert planned["organisms"] == planned["directions"] == 15
    assert planned["responses"] == 16 + 1 + 1 + 16 + 1 + 1 + 1, "in_context and traits among them"
    assert planned["judgements"] == planned["responses"] + 1, "patching makes its responses itself"
