"""Checks a study file, plans it, or prints the settings that one may hold: with defaults, or as the editors' schema."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.study.costs import COSTS
from workflow_scripts.study.defaults import defaults
from workflow_scripts.study.judge import announced_end
from workflow_scripts.study.layout import CHAT_BASE
from workflow_scripts.study.panel import judge_names, place_of_judge, read_by
from workflow_scripts.study.plan import plan_of, written
from workflow_scripts.study.reading import check_files, load
from workflow_scripts.study.schema import editor_schema


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__, study=False)
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("schema", help="print the JSON schema that editors use (config.schema.json)")
    actions.add_parser("defaults", help="print every setting with its default and what it means, as YAML")
    check = actions.add_parser("check", help="check a study file, and whether the files that it names are there")
    check.add_argument("file", type=Path)
    planned = actions.add_parser("plan", help="print what a study asks for and takes: calls, money, memory, hours")
    planned.add_argument("file", type=Path)
    planned.add_argument("--gpu", choices=list(COSTS.gpus), help="kind of GPU; h100, or cpu for a float32 base")
    planned.add_argument("--gpus", type=int, default=1, help="how many; 1 when absent")
    given = parser.parse_args(arguments)
    if given.action == "schema":
        print(json.dumps(editor_schema(), indent=1, sort_keys=True, ensure_ascii=False))
    elif given.action == "defaults":
        print(defaults())
    elif given.action == "plan":
        study = load(given.file)
        kind = given.gpu or ("cpu" if study.base.dtype == "float32" else "h100")
        if given.gpus < 1:
            raise UserError(f"--gpus: {given.gpus} is not a number of GPUs; give at least 1.")
        print(written(plan_of(study, kind, given.gpus)))
        print(f"What it can decide, claim by claim: python -m workflow_scripts.tools power {given.file}")
    else:
        study = load(given.file)
        check_files(study, str(given.file))
        subjects = 1 + sum(len(organism.seeds) for organism in study.organisms.values())
        print(f"{given.file}: a valid study with {subjects} subjects ({CHAT_BASE} and organisms).")
        for name in judge_names(study):
            if end := announced_end(read_by(study, name).judge, place_of_judge(name)):
                print(f"warning: {end}", file=sys.stderr)


if __name__ == "__main__":
    command.run(main)
