"""What the missing calls of a remote judge will cost, counted before the first is made."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from workflow_scripts.judges.interface import Item
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.study.judge import CHARACTERS_PER_TOKEN, TOKENS_PER_CALL, RemoteJudge

DOWNLOAD_S = 10.0
"""tiktoken fetches an encoding on first use; longer than this and characters are counted instead."""


@dataclass(frozen=True)
class Estimate:
    """Calls, tokens and money of a judging run, failed tries not counted.

    Attributes:
        calls: one per judgement, of one answer token; with `judge.numbers` one per answer, each as long as it may be.
        prompt_tokens: of all calls.
        counted_by: the encoding, or how else tokens were counted.
        usd: US dollars; None where the study gives no prices.
        discount: share of the price that is taken off already, for batches.
    """

    calls: int
    prompt_tokens: int
    counted_by: str
    usd: float | None
    discount: float = 0.0

    def __str__(self) -> str:
        money = "price unknown, give judge.prices" if self.usd is None else f"{self.usd:.2f} USD"
        if self.discount:
            money += f" in batches at {self.discount:.0%} off"
        return f"{self.calls:,} calls, {self.prompt_tokens:,} prompt tokens (by {self.counted_by}), {money}"


def estimate(judge: RemoteJudge, items: Sequence[Item]) -> Estimate:
    """The estimate for calls that are still to be made; makes none.

    With batches, the few opening calls (`remote.OPENING`), which are made directly, are not told apart.
    """
    counted_by, count = token_counter(judge.model.rpartition("/")[2])
    answers, longest = judge.asked_for_each
    calls, tokens = answers * len(items), answers * sum(count(item.prompt) + TOKENS_PER_CALL for item in items)
    prices, in_batches = judge.priced, judge.batch is not None
    if prices is None:
        return Estimate(calls, tokens, counted_by, None)
    usd = prices.usd(tokens, calls * longest, in_batches)
    return Estimate(calls, tokens, counted_by, usd, prices.batch_discount if in_batches else 0.0)


def check_budget(judge: RemoteJudge, expected: Estimate, spent: float = 0.0) -> None:
    """Raises UserError where the estimate and what the study has spent come to more than `judge.budget_usd`."""
    if judge.budget_usd is not None and expected.usd is not None and expected.usd + spent > judge.budget_usd:
        before = f" beside the {spent:.2f} USD that this study has spent," if spent else ""
        now = " by this run" if spent else ""
        raise UserError(
            f"judge.budget_usd: {expected}{before} are more than the budget of {judge.budget_usd:.2f} USD; nothing was "
            f"spent{now}. Raise the budget, or ask less (sampling.samples, judge.metrics)."
        )


def check_spent(judge: RemoteJudge, spent: float) -> None:
    """Raises UserError where a study has spent more than `judge.budget_usd`, as tries that fail are billed, too."""
    if judge.budget_usd is not None and spent > judge.budget_usd:
        raise UserError(
            f"judge.budget_usd: this study has spent {spent:.2f} USD, tries that failed included, more than the budget "
            f"of {judge.budget_usd:.2f} USD; what was answered is kept. See to the endpoint, or raise the budget, and "
            "run again."
        )


def token_counter(model: str) -> tuple[str, Callable[[str], int]]:
    """How the model's tokens are counted: name and function of its encoding, or of a rule of thumb."""
    found: list[tuple[str, Callable[[str], int]]] = []

    def fetch() -> None:
        try:
            import tiktoken

            encoding = tiktoken.encoding_for_model(model)
        except Exception:  # no tiktoken, a model that it does not know, or no network: none of them is an error here
            return
        found.append((encoding.name, lambda text: len(encoding.encode_ordinary(text))))

    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    thread.join(DOWNLOAD_S)
    if found:
        return found[0]
    rule = f"{CHARACTERS_PER_TOKEN} characters each"
    return rule, lambda text: -(-len(text) // CHARACTERS_PER_TOKEN)
