"""E10 of judged responses under scaled adapters: `python -m workflow_scripts.tools adapter-shares FILE… --sets …`.

FILE is a judgement table with the metric of the trained domain (`import --metrics medical`). `--sets OURS=CONDITION`
says which condition is which: none (the organism as it is), misalignment (the general adapters scaled up), domain (the
domain's), domain_alignment (the domain's up, the general ones negative).
"""

from __future__ import annotations

import logging

import pandas as pd

from workflow_scripts.experiments import e10_adapter_steering
from workflow_scripts.judges.imported import NEEDED, named_column
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.study.conditions import NOTHING, SCALED_SETS
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

log = logging.getLogger(__name__)
SHOWN = ("em", "coherence", "unscored", "misaligned", "misaligned_domain", "aligned", "near_a_label")


def main(arguments: list[str]) -> None:
    parser = file_studies.parser(__doc__)
    parser.add_argument("--sets", nargs="+", required=True, type=named_column, metavar="OURS=CONDITION")
    parser.add_argument("--domain-metric", default=TOPIC, metavar="METRIC", help=f"default {TOPIC}")
    parser.add_argument("--subject", default="imported", help="the organism's name in the table")
    given = parser.parse_args(arguments)
    table = read_files(given)
    if given.domain_metric in NEEDED:
        raise UserError(f"--domain-metric: {given.domain_metric} tells of no domain; name the metric that does.")
    if given.domain_metric not in set(table.metric):
        raise UserError(
            f"--domain-metric: no response has a score for {given.domain_metric!r}; import it by --metrics."
        )
    table = table[table.metric.isin(["aligned", "coherent", given.domain_metric])]
    table = table.assign(metric=table.metric.replace(given.domain_metric, TOPIC))
    table = chosen("--sets", table, given.sets, (NOTHING.name, *SCALED_SETS))
    if not (table.condition == NOTHING.name).any():
        raise UserError("--sets: the organism as it is, none=…, is needed; the sets are held against it.")
    _check_domain(table, given.domain_metric)
    subject, metrics = seed_subject(ORGANISM, 0), ["aligned", "coherent", TOPIC]
    section = {"source": ORGANISM, "domain_questions": "domain", "domain_metric": TOPIC, "steering": {}}
    with made_up(1, metrics, adapters=section) as (study, layout):
        before = table.condition == NOTHING.name
        write_judged(layout, subject, "baseline", table[before])
        write_judged(layout, subject, "surgery", table[~before])
        names = {ORGANISM: given.subject}
        rows = told(e10_adapter_steering.EXPERIMENT, study, layout, given, names, ["adapter_steering"])
    finish(rows, given, SHOWN)


def _check_domain(table: pd.DataFrame, called: str) -> None:
    """Raises a UserError for a set without a score of the domain's metric; warns where its scale may be 0 to 1."""
    scores = table[table.metric == TOPIC].set_index("condition").score
    for name in table.condition.unique():
        if scores[scores.index == name].isna().all():
            raise UserError(
                f"--sets: no response of {name} has a score for {called}; import them with it, or leave the set out."
            )
    if scores.max() <= 1:
        asked = "No score of %s is above %g of 100: was its scale 0 to 1? Then import it again with scores up to 100."
        log.warning(asked, called, scores.max())


if __name__ == "__main__":
    command.run(main)
