"""A new experiment is a file and a line of the registry: its table, figure, report entry and reruns come by themselves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from helpers.workflow import REPOSITORY, Run, jobs_in

TOY = '''"""Toy: how long the answers of the chat base are."""

from workflow_scripts.experiments.experiment import Experiment, Figure, always
from workflow_scripts.experiments.rows import point, row
from workflow_scripts.reporting.style import make_axes
from workflow_scripts.store.artefacts import read_frame
from workflow_scripts.study.layout import CHAT_BASE


def inputs(study, layout):
    return [layout.responses(CHAT_BASE, "baseline")]


def rows(study, layout):
    tokens = read_frame(layout.responses(CHAT_BASE, "baseline"), ["tokens"]).tokens
    return [row("X99", CHAT_BASE, "answer_tokens", "none", point(float(tokens.mean()), len(tokens)), "tokens")]


def shown(table):
    return table.quantity == "answer_tokens"


def draw(study, layout):
    figure, (axis,) = make_axes(1, 1, (3, 2))
    axis.bar(0, read_frame(layout.table("toy")).value)
    return figure


EXPERIMENT = Experiment(
    table="toy", labels=("X99",), asked=always, reads=(), inputs=inputs, rows=rows, shown=shown,
    figures={"toy": Figure("X99 Length of the answers", draw)},
)
'''


def a_workflow_with_a_toy(folder: Path) -> Path:
    folder.mkdir()
    for part in ("Snakefile", "rules", "workflow_scripts", "profiles", "envs", "config.yaml"):
        source = REPOSITORY / part
        shutil.copytree(source, folder / part) if source.is_dir() else shutil.copy(source, folder / part)
    package = folder / "workflow_scripts" / "experiments"
    (package / "x99_toy.py").write_text(TOY)
    (folder / "rules" / "captions" / "toy.rst").write_text("Tokens per answer.\n")
    registry = (package / "__init__.py").read_text()
    registry = registry.replace("import (\n", "import (\n    x99_toy,\n", 1)
    line = "EXPERIMENTS: tuple[Experiment, ...] = (\n"
    (package / "__init__.py").write_text(registry.replace(line, f"{line}    x99_toy.EXPERIMENT,\n"))
    return folder


def test_a_file_and_a_line_of_the_registry_are_an_experiment(copied_run: Run, tmp_path: Path):
    workflow = a_workflow_with_a_toy(tmp_path / "workflow")

    def command(*options: str) -> list[str]:
        return [part.replace(str(REPOSITORY / "Snakefile"), str(workflow / "Snakefile"))
                for part in copied_run.command(*options)]  # fmt: skip

    planned = copied_run.start(command("-n"))
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert jobs_in(planned.stdout + planned.stderr) == {
        "tables": 1, "summary": 1, "claims": 1, "figures": 1, "report": 1, "all": 1,
    }, "the other tables stay as they are"  # fmt: skip
    done = copied_run.start(command())
    assert done.returncode == 0, done.stdout + done.stderr
    [row] = [r for r in json.loads((copied_run.results / "summary.json").read_text()) if r["experiment"] == "X99"]
    assert row["value"] > 1
    assert "answer_tokens" in (copied_run.results / "summary.txt").read_text()
    assert (copied_run.results / "figures" / "toy.svg").is_file()
    assert "X99 Length of the answers" in (copied_run.results / "report.html").read_text()
    again = copied_run.start(command("-n"))
    assert "Nothing to be done" in again.stdout + again.stderr
    toy = workflow / "workflow_scripts" / "experiments" / "x99_toy.py"
    toy.write_text(toy.read_text().replace("float(tokens.mean())", "float(tokens.median())"))
    edited = copied_run.start(command("-n"))
    assert jobs_in(edited.stdout + edited.stderr)["tables"] == 1
