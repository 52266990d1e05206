"""E11 of judged responses under patched scalars: `python -m workflow_scripts.tools patching FILE… --pairs …`.

FILE is a judgement table. `--pairs MODE:WAY=CONDITION` says which condition is which: the mode is clean (nothing
patched, needed for each way), tokens, prompt, prompt_only or own_prompt; the way is outside_to_domain (domain questions
answered with scalars of others) or domain_to_outside.
"""

from __future__ import annotations

from workflow_scripts.experiments import e11_patching
from workflow_scripts.judges.imported import named_column
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.study.layout import seed_subject
from workflow_scripts.tools import file_studies
from workflow_scripts.tools.file_studies import (
    ORGANISM,
    TOPIC,
    chosen,
    finish,
    made_up,
    read_files,
    told,
    write_judged,
)

MODES = (e11_patching.CLEAN, "tokens", "prompt", "prompt_only", e11_patching.OWN)
SHOWN = ("em", "em_change", "em_relative_change", "unscored")


def main(arguments: list[str]) -> None:
    parser = file_studies.parser(__doc__)
    parser.add_argument("--pairs", nargs="+", required=True, type=named_column, metavar="MODE:WAY=CONDITION")
    parser.add_argument("--subject", default="imported", help="the organism's name in the table")
    given = parser.parse_args(arguments)
    known = [f"{mode}:{way}" for way in e11_patching.WAYS for mode in MODES]
    table = chosen("--pairs", read_files(given), given.pairs, known)
    parts = table.condition.str.split(":", expand=True)
    for way in parts[1].unique():
        if not ((parts[1] == way) & (parts[0] == e11_patching.CLEAN)).any():
            raise UserError(f"--pairs: clean:{way}=… is needed; the patched answers are held against it.")
    section = {"source": ORGANISM, "domain_questions": "domain", "domain_metric": TOPIC, "patching": {}}
    with made_up(1, ["aligned", "coherent", TOPIC], adapters=section) as (study, layout):
        table = table.assign(condition=parts[0])
        write_judged(layout, seed_subject(ORGANISM, 0), "patching", table, parts[1])
        rows = told(e11_patching.EXPERIMENT, study, layout, given, {ORGANISM: given.subject}, ["patching"])
    finish(rows, given, SHOWN)


if __name__ == "__main__":
    command.run(main)
