"""Judgement tables of published judged responses.

`python -m workflow_scripts.tools import FILE --output OUT.parquet` reads a CSV or parquet with columns question,
question_id, response, aligned, coherent and any other metric.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from workflow_scripts.judges.imported import judgement_rows, read_judged
from workflow_scripts.runtime import command
from workflow_scripts.store.artefacts import canonical, file_digest, provenance, write_table
from workflow_scripts.store.judgement_tables import SCHEMA


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__, study=False)
    parser.add_argument("file", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--metrics", nargs="+", default=[], help="further score columns; those with a rubric if absent")
    parser.add_argument("--judge", help="name of the judge in the table; the file's name if absent")
    given = parser.parse_args(arguments)
    judge = given.judge or given.file.name
    rows = judgement_rows(read_judged(given.file, given.metrics), judge)
    spec = canonical({"judge": judge, "metrics": given.metrics})
    metadata = provenance("judgements", spec, source=file_digest(given.file))
    write_table(given.output, pa.Table.from_pylist(rows, SCHEMA), metadata)


if __name__ == "__main__":
    command.run(main)
