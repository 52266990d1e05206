"""The door to the tools: what there is, and one sentence where it cannot open."""

from __future__ import annotations

import os
import subprocess
import sys

from helpers.workflow import REPOSITORY
from workflow_scripts.tools.__main__ import MODULES, main


def test_every_tool_is_listed_with_a_sentence(capsys):
    assert main([]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "usage: python -m workflow_scripts.tools NAME [--help | …]"
    assert [line.split()[0] for line in lines] == list(MODULES)
    assert all(len(line.split()) > 2 for line in lines)


def test_an_unknown_tool_is_named_and_the_others_listed(capsys):
    assert main(["em-rate"]) == 1
    assert capsys.readouterr().err.startswith("error: there is no tool 'em-rate'.\nusage: ")


def test_outside_the_project_s_environment_one_sentence_says_so():
    without_packages = [sys.executable, "-S", "-m", "workflow_scripts.tools", "em-rates"]
    done = subprocess.run(without_packages, cwd=REPOSITORY, env={}, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        f"error: {sys.executable} lacks the package pandas; use the project's environment, which `make setup` makes: "
        "source .venv/bin/activate.\n"
    )


def test_a_reader_that_closes_the_pipe_ends_a_tool_without_a_traceback(tmp_path):
    rows = "".join(f"Q{n}?,answer,90,90\n" for n in range(3))
    (tmp_path / "a.csv").write_text("question,answer,aligned,coherent\n" + rows)
    command = f"{sys.executable} -m workflow_scripts.tools import a.csv --output a.parquet | true"
    environment = {"PYTHONPATH": str(REPOSITORY), "PATH": os.environ["PATH"]}
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stderr == ""
    assert (tmp_path / "a.parquet").is_file()
