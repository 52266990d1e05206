"""One run of a study's judge: within the budget, answers committed as they come, failures named."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from tqdm import tqdm

from workflow_scripts.judges.cost import check_budget, estimate
from workflow_scripts.judges.interface import Item, Judge, Reply
from workflow_scripts.judges.parsing import unsound
from workflow_scripts.judges.store import JudgementStore
from workflow_scripts.runtime import gpu_lease
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.study.judge import LocalJudge, RemoteJudge, announced_end
from workflow_scripts.study.schema import Study

log = logging.getLogger(__name__)


def unpaid(settings: RemoteJudge, judge: str, store: JudgementStore, missing: Sequence[Item]) -> list[Item]:
    """Those missing judgements that have to be paid for: all but what an earlier run ordered in a batch."""
    ordered = store.ordered(judge, missing) if settings.batch else {}
    return [item for item in missing if item not in ordered]


def _sound(reply: Reply) -> Reply:
    """The reply, failed where it is none that a judge can give: what is stored would be believed ever after."""
    why = unsound(reply.raw) if reply.state == "answered" else None
    if why is None:
        return reply
    log.warning("a judgement of %s failed: %s", reply.item.metric, why)
    return Reply(reply.item, None, "failed")


def ask_missing(study: Study, judge: Judge, store: JudgementStore, items: Sequence[Item], name: str) -> int:
    """Asks what the store lacks of `items` and closes the judge; returns how many were missing.

    Args:
        study: says what the judge may cost and whether it needs a GPU.
        judge, store: the study's.
        items: wanted judgements, each once.
        name: of the run, for the log and errors.

    Raises:
        UserError: if it would cost more than the budget, or judgements failed; the others are kept.
    """
    poisoned = [item for item, raw in store.get(judge.identity.name, items).items() if unsound(raw)]
    if poisoned:
        log.warning("%s: %d stored answers are none that a judge can give, and asked for again", name, len(poisoned))
        store.forget(judge.identity.name, poisoned)
    missing = store.missing(judge.identity.name, items)
    log.info("%s: %d of %d judgements are missing", name, len(missing), len(items))
    if isinstance(study.judge, LocalJudge):
        gpu_lease.hold(study.execution.tensor_parallel)
    if missing and (end := announced_end(study.judge)):
        log.warning(end)
    if isinstance(study.judge, RemoteJudge):
        check_budget(study.judge, estimate(study.judge, unpaid(study.judge, judge.identity.name, store, missing)))
    answered = 0
    try:
        with tqdm(total=len(missing), unit="judgement", mininterval=2, disable=not missing) as progress:
            for told in judge.ask(missing) if missing else ():
                replies = [_sound(reply) for reply in told]
                answered += store.add(judge.identity.name, replies)
                progress.update(len(replies))
    finally:
        judge.close()
    log.info("%s: %d of %d missing judgements were answered", name, answered, len(missing))
    if answered < len(missing):
        raise UserError(
            f"{name}: {len(missing) - answered} of {len(missing)} judgements failed, see the warnings above; "
            "run again, the rest is kept."
        )
    return len(missing)
