"""Checks a study file, or prints the settings that one may hold: with their defaults, or as the schema for editors."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from workflow_scripts.runtime import command
from workflow_scripts.study.defaults import defaults
from workflow_scripts.study.judge import announced_end
from workflow_scripts.study.layout import CHAT_BASE
from workflow_scripts.study.reading import load
from workflow_scripts.study.schema import editor_schema


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__, study=False)
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("schema", help="print the JSON schema that editors use (config.schema.json)")
    actions.add_parser("defaults", help="print every setting with its default and what it means, as YAML")
    check = actions.add_parser("check", help="check a study file")
    check.add_argument("file", type=Path)
    given = parser.parse_args(arguments)
    if given.action == "schema":
        print(json.dumps(editor_schema(), indent=1, sort_keys=True, ensure_ascii=False))
    elif given.action == "defaults":
        print(defaults())
    else:
        study = load(given.file)
        subjects = 1 + sum(len(organism.seeds) for organism in study.organisms.values())
        print(f"{given.file}: a valid study with {subjects} subjects ({CHAT_BASE} and organisms).")
        if end := announced_end(study.judge):
            print(f"warning: {end}", file=sys.stderr)


if __name__ == "__main__":
    command.run(main)
