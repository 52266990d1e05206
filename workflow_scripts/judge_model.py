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
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.reading import load

log = logging.getLogger(__name__)


def main(arguments: list[str]) -> None:
    given = command.parser(__doc__).parse_args(arguments)
    judge, layout = load(given.study).judge, Layout.of(given.study)
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
