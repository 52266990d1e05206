"""One run of a study's judge: within the budget, answers committed as they come, failures named."""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Sequence

from tqdm import tqdm

from workflow_scripts.judges.cost import check_budget, check_spent, estimate
from workflow_scripts.judges.interface import Item, Judge, Reply
from workflow_scripts.judges.parsing import unsound
from workflow_scripts.judges.remote import EndpointJudge
from workflow_scripts.judges.store import JudgementStore
from workflow_scripts.runtime import gpu_lease
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.runtime.locks import exclusive, is_held
from workflow_scripts.study.judge import LocalJudge, RemoteJudge, announced_end
from workflow_scripts.study.schema import Study

log = logging.getLogger(__name__)

SHOWN_FROM = 20
"""Judgements from which on progress is shown."""
LOOK_SECONDS = 1.0
"""Time between two looks at what other runs ask for."""


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


def ask_missing(study: Study, judge: Judge, store: JudgementStore, items: Sequence[Item], name: str, owner: str) -> int:
    """Asks what the store lacks of `items` and closes the judge; returns how many this run has asked for.

    What another run asks for at the same time, of this study or of another one with the same store, is waited for and
    bought once.

    Args:
        study: says what the judge may cost and whether it needs a GPU.
        judge, store: the study's.
        items: wanted judgements, each once.
        name: of the run, for the log and errors.
        owner: the study's name in the store, whose spending it is.

    Raises:
        UserError: if it would cost more than the budget, or judgements failed; the others are kept.
    """
    run = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
    asked, missing = 0, items
    try:
        with exclusive(store.claims / run):
            while True:
                missing = store.missing(judge.identity.name, missing, unsound)
                log.info("%s: %d of %d judgements are missing", name, len(missing), len(items))
                if not missing:
                    break
                of_others = store.claim(judge.identity.name, missing, run)
                try:
                    own = [item for item in missing if item not in of_others]
                    if own and not asked and isinstance(study.judge, LocalJudge):
                        gpu_lease.hold(study.execution.tensor_parallel)
                    asked += len(own)
                    if own:
                        ask(study, judge, store, own, name, owner)
                finally:
                    store.release(run)
                _wait_for(store, set(of_others.values()), len(of_others))
    finally:
        judge.close()
    return asked


def _wait_for(store: JudgementStore, runs: set[str], count: int) -> None:
    """Returns when these other runs have asked for what they claimed, or have ended."""
    if runs:
        log.info("waiting for %d judgements that another run asks for", count)
    while any(is_held(store.claims / run) and store.claimed(run) for run in runs):
        time.sleep(LOOK_SECONDS)


def ask(study: Study, judge: Judge, store: JudgementStore, items: Sequence[Item], name: str, owner: str) -> None:
    """Asks for all of these; arguments as of `ask_missing`, and the judge stays open.

    Raises:
        UserError: as `ask_missing`.
    """
    settings, who = study.judge, judge.identity.name
    bill = judge.bill if isinstance(judge, EndpointJudge) else None
    if end := announced_end(settings):
        log.warning(end)
    if isinstance(settings, RemoteJudge):
        check_budget(settings, estimate(settings, unpaid(settings, who, store, items)), store.spent(owner).usd)
    answered = 0
    try:
        with tqdm(total=len(items), unit="judgement", mininterval=2, disable=len(items) < SHOWN_FROM) as progress:
            for told in judge.ask(items):
                replies = [_sound(reply) for reply in told]
                answered += store.add(who, replies, owner, bill.take() if bill else None)
                progress.update(len(replies))
                if isinstance(settings, RemoteJudge) and answered < len(items):
                    check_spent(settings, store.spent(owner).usd)
    finally:
        store.add(who, (), owner, bill.take() if bill else None)
    log.info("%s: %d of %d missing judgements were answered", name, answered, len(items))
    if answered < len(items):
        raise UserError(
            f"{name}: {len(items) - answered} of {len(items)} judgements failed, see the warnings above; "
            "run again, the rest is kept."
        )
