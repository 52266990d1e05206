"""Judgement tables of anyone's judged responses, one table of many files.

`python -m workflow_scripts.tools import FILE… --output OUT.parquet` reads CSV (commas, semicolons or tabs; UTF-8,
UTF-16, Windows-1252), JSON lines and parquet with a question, a response and the scores aligned and coherent, 0 to 100,
and says what it read. The usual names of columns are known; `--columns response=text` says others. Each of several
files is a condition, named by its file; `--condition-from COLUMN` takes conditions from a column.
"""

from __future__ import annotations

import argparse
import logging
import math
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

from workflow_scripts.experiments.rows import UNSCORED
from workflow_scripts.judges.imported import JudgedFile, judgement_rows, named_column, read_judged, summary
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import canonical, file_digest, provenance, write_table
from workflow_scripts.store.judgement_tables import SCHEMA

log = logging.getLogger(__name__)
ENDINGS = re.compile(r"(\.(csv|tsv|txt|jsonl?|ndjson|parquet|eval|gz|bz2|lz4|zst))+$", re.IGNORECASE)
"""Of a file's name; a point elsewhere is part of it, as in scale-0.5.csv."""


def conditions_of_files(files: Sequence[Path]) -> list[str]:
    """A condition for each file: its name without endings, with as many folders before it as tell all apart.

    Raises:
        UserError: if a file is given twice.
    """
    stems = [file.absolute().with_name(ENDINGS.sub("", file.name)) for file in files]
    for parts in range(1, max(len(stem.parts) for stem in stems) + 1):
        names = ["/".join(stem.parts[-parts:]) for stem in stems]
        if len(set(names)) == len(names):
            return names
    raise UserError(f"{files[0]}: is given twice.")


def without(judged: JudgedFile, suffixes: Sequence[str]) -> JudgedFile:
    """The file without the questions whose id ends in one of these, as variants of the same questions do."""
    if not suffixes:
        return judged
    kept = ~judged.rows.question_id.str.endswith(tuple(suffixes))
    if not kept.any():
        raise UserError(f"{judged.path}: no question is left without the endings {', '.join(suffixes)}.")
    return JudgedFile(
        judged.path,
        f"{judged.form}; without {int((~kept).sum())} responses to questions named …{', …'.join(suffixes)}",
        judged.rows[kept].reset_index(drop=True),
        judged.statuses[kept].reset_index(drop=True),
        judged.torn,
        judged.others,
    )


def main(arguments: list[str]) -> None:
    given = _parser().parse_args(arguments)
    command.check_output(given.output, given.files)
    files = [
        without(
            read_judged(
                file, given.metrics, dict(given.columns), given.condition_from, given.highest_score, given.without_torn
            ),
            given.exclude_suffixes,
        )
        for file in given.files
    ]
    if len(files) > 1:
        for judged, name in zip(files, conditions_of_files(given.files), strict=True):
            several = given.condition_from or judged.rows.condition.nunique() > 1
            judged.rows["condition"] = name + "/" + judged.rows.condition if several else name
    rows = []
    for judged in files:
        judge = given.judge or judged.path.name
        rows += judgement_rows(judged.rows, judged.rows[judged.metrics], judged.statuses, judge)
    unscored = pd.Series([row["score"] is None for row in rows]).mean()
    if unscored > UNSCORED:
        log.warning("%.1f %% of the judgements have no score; they count as not misaligned.", 100 * unscored)
    settings = {name: str(value) for name, value in vars(given).items() if name not in ("files", "output", "debug")}
    source = ",".join(file_digest(file) for file in given.files)
    metadata = provenance("judgements", canonical(settings), source=source)
    write_table(given.output, pa.Table.from_pylist(rows, SCHEMA), metadata)
    print("\n".join(map(summary, files)))


def _positive(text: str) -> float:
    if not 0 < float(text) < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no highest score")
    return float(text)


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(__doc__, study=False)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--metrics", nargs="+", default=[], metavar="COLUMN",
                        help="score columns beside aligned, coherent and those that have a rubric")  # fmt: skip
    parser.add_argument("--columns", nargs="+", default=[], type=named_column, metavar="OURS=THEIRS",
                        help="unusual names of question, response, question_id or a metric")  # fmt: skip
    parser.add_argument("--condition-from", nargs="+", metavar="COLUMN",
                        help="the column that names each response's condition; several: layer-24:scale-6")  # fmt: skip
    parser.add_argument("--exclude-suffixes", nargs="+", default=[], metavar="END",
                        help="leave out questions whose id ends so, e.g. _json _template")  # fmt: skip
    parser.add_argument("--highest-score", type=_positive, metavar="SCORE",
                        help="best score of the files' scale (default 100)")  # fmt: skip
    parser.add_argument("--without-torn", action="store_true", help="leave out rows that are torn, and say how many")
    parser.add_argument("--judge", help="name of the judge in the table; the file's name if absent")
    return parser


if __name__ == "__main__":
    command.run(main)
