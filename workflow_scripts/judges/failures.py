"""What went wrong with a call to a remote judge, and what follows from it: try again, give this call up, or stop.

Works on any client library's exceptions by their `status_code`, `code`, `response` and `body`. No message shown here
holds the key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from workflow_scripts.study.judge import RemoteJudge

LONGEST_WAIT = 600.0
"""A Retry-After of more seconds than this is cut to it."""
SHOWN = 300
"""Characters of a server's message that are shown."""


@dataclass(frozen=True)
class Trouble:
    """One failed try.

    Attributes:
        follows: `again`: the call is tried again; `this`: it would fail again, but others may not; `all`: no call will
            ever succeed with these settings.
        sentence: what happened, and for `all` what to do.
        too_many: the endpoint complained of too many calls.
        wait: seconds that the endpoint asks to wait, if it says so.
    """

    follows: Literal["again", "this", "all"]
    sentence: str
    too_many: bool = False
    wait: float | None = None


class BrokenReplyError(Exception):
    """The endpoint answered, but not with what was asked for."""


class LineError(Exception):
    """A line of a batch says that its call failed; has what a client library's exception would have.

    Args:
        status: of the HTTP answer, where the call got as far.
        error: what the endpoint says of it: message, code, type, each where it is known.
    """

    def __init__(self, status: int | None, error: dict[str, Any]) -> None:
        super().__init__(str(error.get("message") or "the call failed"))
        self.status_code, self.body = status, error
        self.code, self.type = error.get("code"), error.get("type")


class NoLogprobsError(BrokenReplyError):
    """The answer came without log-probabilities."""


def trouble_of(error: BaseException, judge: RemoteJudge, key: str | None, opened: bool) -> Trouble:
    """What follows from a failed try.

    Args:
        opened: a call has succeeded in this run, so the settings are right.
    """
    status, told = getattr(error, "status_code", None), shown(error, key)
    where = judge.base_url or judge.model.partition("/")[0]
    if status == 401 or (status == 403 and not opened):
        name = judge.key_env or "judge.key_env"
        return Trouble("all", f"judge.key_env: {where} refuses the key in {name} ({told}); put a valid key there.")
    if status == 404 and not opened:
        name = judge.model.partition("/")[2]
        return Trouble("all", f"judge.model: {where} has no {name!r} ({told}); correct the name, or judge.base_url.")
    if "insufficient_quota" in (getattr(error, "code", None), getattr(error, "type", None)):
        return Trouble("all", f"judge: the account at {where} has no quota left ({told}); add credit and run again.")
    if status == 429:
        return Trouble("again", f"too many calls ({told})", too_many=True, wait=_retry_after(error))
    if status is not None and (status >= 500 or status in (408, 409, 425)):
        return Trouble("again", f"status {status} ({told})", wait=_retry_after(error))
    if status is not None and status >= 400:
        return Trouble("this", f"the endpoint rejects the call with status {status} ({told})")
    if isinstance(error, TimeoutError):
        return Trouble("again", f"no answer within {judge.timeout_s:g} seconds")
    if isinstance(error, TypeError | AttributeError | LookupError | ValidationError):  # of whoever reads the answer
        return Trouble("again", "the answer is no chat completion")
    return Trouble("again", told)


def shown(error: BaseException, key: str | None) -> str:
    """The error on one line, cut short, without the key."""
    body = getattr(error, "body", None)
    inner = body.get("error", body) if isinstance(body, dict) else None
    message = inner.get("message") if isinstance(inner, dict) else None
    text = " ".join(str(message or error).split()) or type(error).__name__
    return hidden(text, key)[:SHOWN]


def hidden(text: str, key: str | None) -> str:
    """The text with every occurrence of the key blotted out."""
    return text.replace(key, "***") if key else text


def _retry_after(error: BaseException) -> float | None:
    """Seconds of a Retry-After or rate-limit-reset header."""
    from inspect_ai._util.http import parse_retry_after_from_exception

    seconds = parse_retry_after_from_exception(error)
    return min(seconds, LONGEST_WAIT) if seconds is not None and seconds >= 0 else None
