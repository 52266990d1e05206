"""Published responses judged anew by a study's judge, to be held against the judge that they came with.

`python -m workflow_scripts.tools rejudge FILE --study results/x/study.json --output OURS.parquet` judges (some of) the
responses of a judged CSV or parquet; `python -m workflow_scripts.tools agreement THEIRS.parquet OURS.parquet` then
tells what the study's judge costs in truth. Answers are kept in the judgement store like any other.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pyarrow as pa

from workflow_scripts.judges.imported import TEXTS, judgement_rows, read_judged
from workflow_scripts.judges.opening import open_judge
from workflow_scripts.judges.parsing import parse
from workflow_scripts.judges.run import ask_missing
from workflow_scripts.judges.store import JudgementStore
from workflow_scripts.runtime import command
from workflow_scripts.store.artefacts import file_digest, provenance, write_table
from workflow_scripts.study import specs
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.reading import load

log = logging.getLogger(__name__)


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows", type=int, help="judge so many responses, spread evenly over the file; all if absent")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    judge, store = open_judge(study, layout), JudgementStore(layout.judgement_store)
    judged = read_judged(given.file)[[*TEXTS, "question_id"]]
    # positions among a question's responses are those of the whole file, so that both tables name a response alike
    samples = judged.groupby("question_id").cumcount()
    judged = judged.iloc[:: max(1, len(judged) // given.rows)].head(given.rows) if given.rows else judged
    pairs = zip(judged.question, judged.response, strict=True)
    asked = [judge.identity.items(question, response) for question, response in pairs]
    ask_missing(study, judge, store, list(dict.fromkeys(item for items in asked for item in items)), str(given.file))
    min_mass = study.judge.least_mass()
    for position, metric in enumerate(item.metric for item in asked[0]):
        items = [of_response[position] for of_response in asked]
        raw = store.get(judge.identity.name, items)
        judged = judged.assign(**{metric: [parse(raw.get(item), min_mass).value for item in items]})
    rows = judgement_rows(judged, judge.identity.name, samples.loc[judged.index])
    source = provenance("judgements", specs.spec("judgements", study), source=file_digest(given.file))
    write_table(given.output, pa.Table.from_pylist(rows), source)
    log.info("%d responses judged by %s", len(judged), judge.identity.name)


if __name__ == "__main__":
    command.run(main)
