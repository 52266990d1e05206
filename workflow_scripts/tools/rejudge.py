"""Anyone's responses judged by a study's judge, e.g. to hold it against the judge that published ones came with.

`python -m workflow_scripts.tools rejudge FILE --study results/x/study.json --output OURS.parquet` judges (some of) the
responses of a file, judged or not, in any form that the tool `import` reads. The tool `agreement` then tells from
THEIRS.parquet and OURS.parquet what the study's judge costs in truth. Answers are kept in the judgement store like any
other.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from workflow_scripts.judges.imported import judgement_rows, named_column, read_responses
from workflow_scripts.judges.opening import open_judge
from workflow_scripts.judges.parsing import parse
from workflow_scripts.judges.run import ask_missing
from workflow_scripts.judges.store import JudgementStore
from workflow_scripts.miniature.world import DOMAINS, all_questions
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import file_digest, provenance, write_table
from workflow_scripts.study import specs
from workflow_scripts.study.judge import ExactJudge
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.reading import load

log = logging.getLogger(__name__)


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--columns", nargs="+", default=[], type=named_column, metavar="OURS=THEIRS",
                        help="where the file calls question, response or question_id by an unusual name")  # fmt: skip
    parser.add_argument("--without-torn", action="store_true", help="leave out rows that are torn")
    parser.add_argument("--rows", type=command.whole_from(1), metavar="N",
                        help="judge N responses, spread evenly over the file; all if absent")  # fmt: skip
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    command.check_output(given.output, [given.file])
    study, layout = load(given.study), Layout.of(given.study)
    judge, store = open_judge(study, layout), JudgementStore(layout.judgement_store)
    responses = read_responses(given.file, dict(given.columns), given.without_torn)
    if isinstance(study.judge, ExactJudge):
        _check_known(given.file, responses.question)
    # positions among a question's responses are those of the whole file, so that both tables name a response alike
    samples = responses.groupby("question_id").cumcount()
    if given.rows:
        spread = np.linspace(0, len(responses) - 1, min(given.rows, len(responses))).round().astype(int)
        responses = responses.iloc[spread]
    pairs = zip(responses.question, responses.response, strict=True)
    asked = [judge.identity.items(question, response) for question, response in pairs]
    wanted = list(dict.fromkeys(item for items in asked for item in items))
    ask_missing(study, judge, store, wanted, str(given.file), layout.root.name)
    min_mass = study.judge.least_mass()
    scores, statuses = pd.DataFrame(index=responses.index), pd.DataFrame(index=responses.index)
    for position, metric in enumerate(item.metric for item in asked[0]):
        items = [of_response[position] for of_response in asked]
        raw = store.get(judge.identity.name, items)
        parsed = [parse(raw.get(item), min_mass) for item in items]
        scores[metric], statuses[metric] = [found.value for found in parsed], [found.status for found in parsed]
    rows = judgement_rows(responses, scores, statuses, judge.identity.name, samples.loc[responses.index])
    source = provenance("judgements", specs.spec("judgements", study), source=file_digest(given.file))
    write_table(given.output, pa.Table.from_pylist(rows), source)
    log.info("%d responses judged by %s", len(responses), judge.identity.name)


def _check_known(file: Path, questions: pd.Series) -> None:
    """Raises a UserError for a question that the miniature's judge cannot know."""
    known = {question.text for domain in DOMAINS for question in all_questions(domain.name)}
    unknown = questions[~questions.isin(known)]
    if len(unknown):
        raise UserError(
            f"{file}: the study's judge is the miniature's, which knows only the questions of its own world, not "
            f"{unknown.iloc[0][:60]!r}; take a study with a local or remote judge."
        )


if __name__ == "__main__":
    command.run(main)
