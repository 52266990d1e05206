"""The report, gathered by Snakemake itself from what the jobs before have recorded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from workflow_scripts.runtime import command

SNAKEFILE = Path(__file__).parents[1] / "Snakefile"


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    workflow = ["--snakefile", str(SNAKEFILE), "--configfile", str(given.study), "--workflow-profile", "none"]
    report = ["--nolock", "--cores", "1", "--report", str(given.output)]
    sys.exit(subprocess.run([sys.executable, "-m", "snakemake", "results", *workflow, *report]).returncode)


if __name__ == "__main__":
    command.run(main)
