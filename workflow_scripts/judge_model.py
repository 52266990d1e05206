"""A local judge's model from the hub, linked from the hub cache, fetched into it where it is missing."""

from __future__ import annotations

import logging

from workflow_scripts.judges.number_tree import number_paths
from workflow_scripts.models.linked import DESCRIPTION, WHOLE, link_folder
from workflow_scripts.models.loading import described_model, load_tokenizer
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import replacing
from workflow_scripts.store.hub import hub_snapshot
from workflow_scripts.study.judge import LocalJudge
from workflow_scripts.study.layout import PRIMARY
from workflow_scripts.study.panel import loaded

log = logging.getLogger(__name__)


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--judge", default=PRIMARY, help="one of the study's panel; its first judge when absent")
    given = parser.parse_args(arguments)
    study, layout = loaded(given.study, given.judge)
    judge = study.judge
    assert isinstance(judge, LocalJudge)
    assert judge.hub, "the rule is asked for only then"
    assert judge.revision
    described = hub_snapshot("judge", judge.hub, judge.revision, DESCRIPTION)
    try:
        described_model(described)
        number_paths(load_tokenizer(described))
    except UserError as error:
        raise UserError(f"judge: {judge.hub}: {str(error).removeprefix(f'{described}: ')}") from error
    with replacing(layout.judge_model) as folder:
        link_folder(hub_snapshot("judge", judge.hub, judge.revision, WHOLE), folder, "judge.hub")
    log.info("judge is in %s", layout.judge_model)


if __name__ == "__main__":
    command.run(main)
