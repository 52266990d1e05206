"""The claims ledger: what the paper says, held against a study's own numbers; the rules are reporting/ledger.py's."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pandas as pd

from workflow_scripts.reporting.claim import CLAIMS, read_claims
from workflow_scripts.reporting.ledger import ledger, text
from workflow_scripts.reporting.pages import table_page
from workflow_scripts.runtime import command
from workflow_scripts.store.artefacts import read_json, replacing, write_json
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.made_by import made_by
from workflow_scripts.study.reading import load


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--claims", type=Path, default=CLAIMS, help="another list of claims")
    given = parser.parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    read = [layout.root / "summary.json", layout.not_possible]
    rows, missing = map(read_json, read)
    entries = ledger(read_claims(given.claims), rows, study, missing)
    about = f"Claims of the paper, held against the study {study.study.name}. {study.study.description}".strip()
    output = layout.root / "claims.json"
    write_json(output, [asdict(entry) for entry in entries], made_by("claims", study, layout, output, read))
    with replacing(layout.root / "claims.txt") as temporary:
        temporary.write_text(text(entries, about))
    with replacing(layout.root / "claims.html") as temporary:
        frame = pd.DataFrame([asdict(entry) for entry in entries]).round(4)
        intro = (
            "Verdicts speak of this study. Value and interval are of the row that stands worst for the claim; "
            "`decides` is the value that a study of this size tells from the bound in 80 % of cases. Claims with "
            "`later` are of later work, not counted."
        )
        temporary.write_text(
            table_page(frame, about, intro, ["verdict", "experiment", "decided_by"], ["claim", "bound", "note"])
        )
    print(text(entries, about))


if __name__ == "__main__":
    command.run(main)
