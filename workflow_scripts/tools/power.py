"""What a study could decide, claim by claim, from its questions, answers and seeds alone: before anything is sampled.

`python -m workflow_scripts.tools power STUDY` prints, of the claims about misalignment, how far from its bound an
effect has to lie to be decided in 80 % of such studies, if the paper's rates are true. The tool `simulate` says it of
all claims.
"""

from __future__ import annotations

from pathlib import Path

from tabulate import tabulate

from workflow_scripts.reporting.claim import CLAIMS, described, read_claims
from workflow_scripts.reporting.power import planned
from workflow_scripts.runtime import command
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.reading import load
from workflow_scripts.study.workload import question_ids


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__, study=False)
    parser.add_argument("study", type=Path, metavar="STUDY", help="a study file")
    parser.add_argument("--claims", type=Path, default=CLAIMS, help="claims of yours")
    given = parser.parse_args(arguments)
    study, claims, notes = load(given.study), read_claims(given.claims), list[str]()
    layout = Layout(Path("results") / study.study.name)
    counts = {name: len(question_ids(study, layout, name, notes)) for name in study.questions}
    found = planned(claims, study, counts)
    rows = [
        [claim.id, claim.experiment, described(claim.test), claim.paper, round(found[claim.id], 3)]
        for claim in claims
        if claim.id in found
    ]
    print(tabulate(rows, ["claim", "", "test", "paper", "decided at this distance from the bound"], tablefmt="simple"))
    for note in notes:
        print(note)


if __name__ == "__main__":
    command.run(main)
