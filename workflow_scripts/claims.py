"""The claims ledger: what the paper says, held against a study's own numbers; the rules are reporting/ledger.py's."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from workflow_scripts.reporting.claim import CLAIMS, read_claims
from workflow_scripts.reporting.ledger import ledger, text
from workflow_scripts.reporting.pages import table_page
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import replacing, write_json
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.reading import load


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--claims", type=Path, default=CLAIMS, help="another list of claims")
    given = parser.parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    rows, missing = (_read(file) for file in (layout.root / "summary.json", layout.not_possible))
    entries = ledger(read_claims(given.claims), rows, study, missing)
    about = f"Claims of the paper, held against the study {study.study.name}. {study.study.description}".strip()
    write_json(layout.root / "claims.json", [asdict(entry) for entry in entries])
    with replacing(layout.root / "claims.txt") as temporary:
        temporary.write_text(text(entries, about))
    with replacing(layout.root / "claims.html") as temporary:
        frame = pd.DataFrame([asdict(entry) for entry in entries]).round(4)
        intro = (
            "Verdicts speak of this study. Value and interval are of the row that stands worst for the claim; "
            "`decides` is the value that a study of this size tells from the bound in 80 % of cases. Claims with "
            "`later` are of later work against the paper."
        )
        temporary.write_text(
            table_page(frame, about, intro, ["verdict", "experiment", "decided_by"], ["claim", "bound", "note"])
        )
    print(text(entries, about))


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read; run `snakemake --cores 2 {file}` to make it.") from error


if __name__ == "__main__":
    command.run(main)
