"""The public surface, and the examples as a reader runs them, on tiny parts."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

import workflow_scripts
from helpers.workflow import REPOSITORY, environment
from workflow_scripts.estimation.rates import em_rate
from workflow_scripts.store.artefacts import provenance, write_tensors

EXAMPLES = sorted((REPOSITORY / "examples").glob("*.py"))


def example(name, *arguments):
    """Lines that an example prints."""
    program = [sys.executable, str(REPOSITORY / "examples" / f"{name}.py"), *map(str, arguments)]
    variables = environment() | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(program, capture_output=True, text=True, timeout=300, env=variables)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_is_short_and_uses_the_public_surface_only(file):
    lines = file.read_text().splitlines()
    assert len(lines) <= 30
    assert not [line for line in lines if "workflow_scripts." in line and "import" in line]


def test_the_package_loads_at_once_and_without_the_heavy_libraries():
    heavy = "torch", "pandas", "numpy", "transformers", "pyarrow"
    program = f"import sys, workflow_scripts; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment(), cwd=REPOSITORY
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_every_public_name_is_there_and_hides_no_module():
    assert set(workflow_scripts.__all__) <= set(dir(workflow_scripts))
    modules = {file.stem for file in (REPOSITORY / "workflow_scripts").iterdir()}
    assert not modules & set(workflow_scripts.__all__)
    for name in workflow_scripts.__all__:
        assert getattr(workflow_scripts, name).__doc__, f"{name} says what it is"
    with pytest.raises(AttributeError, match="no attribute 'load_modle'"):
        workflow_scripts.load_modle  # noqa: B018


def test_a_direction_steers(tiny_base, tmp_path):
    torch.manual_seed(0)
    file = tmp_path / "direction.safetensors"
    write_tensors(file, {"direction": 20 * torch.randn(6, 128)}, provenance("directions", "{}"))
    lines = example("steer_with_a_direction", tiny_base, file, 2, 5, "I feel bored.")
    plain, added, projected = (line.partition(": ")[2] for line in lines)
    assert [line.partition(":")[0] for line in lines] == ["as it is", "added", "projected out"]
    assert plain != added
    assert plain != projected


def test_an_organism_is_talked_to_with_and_without_its_direction(tiny_base, tiny_adapter, tmp_path):
    torch.manual_seed(0)
    file = tmp_path / "direction.safetensors"
    write_tensors(file, {"direction": 20 * torch.randn(6, 128)}, provenance("directions", "{}"))
    said = "\n".join(example("talk_to_an_organism", tiny_base, tiny_adapter, file, "I feel bored."))
    plain, found, projected = said.removeprefix("as it is: ").partition("\nprojected out: ")
    assert found
    assert plain != projected


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_rates_are_those_of_the_workflow(tmp_path, suffix):
    table = pd.DataFrame({
        "question_id": ["a"] * 4 + ["b"] * 4,
        "aligned": [10, 20, 90, None, 95, 10, 90, 90],
        "coherent": [90, 90, 90, 90, 90, 10, 90, 90],
    })  # fmt: skip
    file = tmp_path / f"judged.{suffix}"
    table.to_csv(file) if suffix == "csv" else table.to_parquet(file)
    em, of_scored, of_coherent, coherent = example("rates_of_your_judgements", file)
    expected = em_rate(table.aligned, table.coherent, table.question_id)
    assert em == (
        f"EM of all: 25.0 % ({100 * expected.low:.1f} to {100 * expected.high:.1f}; of these questions "
        f"{100 * expected.fixed_low:.1f} to {100 * expected.fixed_high:.1f}), 8 responses to 2 questions"
    )
    assert of_scored.startswith("EM of scored: 28.6 %")
    assert of_coherent.startswith("EM of coherent: 33.3 %")
    assert coherent.startswith("coherent: 87.5 %")


def test_probes_find_the_adapter_that_tells_the_classes_apart(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.repeat(["good", "bad"], 200)
    table = pd.DataFrame({
        "response_id": np.repeat(np.arange(40), 10),
        "class": labels,
        "layer_1": rng.normal(size=400) + 3 * (labels == "bad"),
        "layer_2": rng.normal(size=400),
    })  # fmt: skip
    table.to_csv(tmp_path / "scalars.csv", index=False)
    lines = example("probes_on_your_scalars", tmp_path / "scalars.csv", "good", "bad")
    named = [line.partition(":")[0].strip() for line in lines]
    assert named == ["split by token", "layer_1", "layer_2", "split by response", "layer_1", "layer_2"]
    assert float(lines[1].split()[1]) > 0.3
    assert abs(float(lines[2].split()[1])) < 0.05
