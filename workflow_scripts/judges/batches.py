"""A remote judge that is asked in batches: files of calls that the endpoint answers within a day, for less money.

The form is OpenAI's (files and batches), which other endpoints follow; answers are read as those of single calls are.
inspect_ai's own batches are not used: its reader gives up a whole batch, paid for, where one line of it failed, and a
killed run forgets what it ordered. Here each line stands for itself, and what is ordered is in the judgement store
before the batch is made, so that a run killed at any moment is followed by one that waits for the same batch.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from workflow_scripts.judges.bill import Bill
from workflow_scripts.judges.failures import BrokenReplyError, LineError, Trouble, shown, trouble_of
from workflow_scripts.judges.identity import JudgeIdentity
from workflow_scripts.judges.interface import Item, Reply
from workflow_scripts.judges.remote import (
    FAILURES_IN_A_ROW,
    OPENING,
    EndpointJudge,
    api_name,
    place,
    read_key,
    read_output,
    request,
)
from workflow_scripts.judges.store import JudgementStore
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.store.artefacts import digest
from workflow_scripts.study.judge import RemoteJudge as Settings

if TYPE_CHECKING:
    from openai.types import Batch

log = logging.getLogger(__name__)

ENDPOINT: Final = "/v1/chat/completions"
MOST_BYTES = 190_000_000
"""Of one input file; OpenAI takes 200 MB."""
FIRST_LOOK, LONGEST_LOOK = 1.0, 60.0
"""Seconds between two looks at a batch: the first, half as much again each time, the longest."""
ENDED = ("completed", "failed", "expired", "cancelled")
TOGETHER = 1000
"""Answers that are committed at once."""


class NoBatchError(UserError):
    """The endpoint makes no batch of a file."""


class BatchJudge(EndpointJudge):
    """See `interface.Judge`. The first few calls are made directly, to find out that the settings are right."""

    def __init__(self, identity: JudgeIdentity, settings: Settings, store: JudgementStore) -> None:
        super().__init__(identity, settings)
        self._store = store

    def ask(self, items: Sequence[Item]) -> Iterator[list[Reply]]:
        """Looks for what an earlier run ordered, and orders the rest, one batch at a time.

        Raises:
            UserError: as `EndpointJudge.ask`; if the endpoint has no batch mode, or answers not one call of a batch.
        """
        ordered = self._store.ordered(self.identity.name, items)
        with _Endpoint(self._settings, self.bill) as endpoint:
            made = endpoint.find(set(ordered.values()))
            new = [item for item in items if item not in ordered]
            if new:
                yield from super().ask(new[:OPENING])
            lost = [item for item, file in ordered.items() if file not in made]
            if lost:
                log.warning("a batch of %d calls is not at %s; another run orders them anew", len(lost), endpoint.place)
                yield _failed(lost)
            for file, batch in made.items():
                yield from endpoint.replies(batch, [item for item, of in ordered.items() if of == file])
            for part, lines in self._parts(new[OPENING:]):
                file = endpoint.upload(lines)
                self._store.order(self.identity.name, file, part)
                try:
                    batch = endpoint.make(file)
                except NoBatchError:
                    yield _failed(part)
                    raise
                yield from endpoint.replies(batch, part)

    def close(self) -> None:
        self._store.close()

    def _parts(self, items: Sequence[Item]) -> Iterator[tuple[list[Item], bytes]]:
        """Items of one batch, with its input file."""
        part: list[Item] = []
        lines: list[bytes] = []
        size = 0
        for item in items:
            body = request(api_name(self._settings.model), item.prompt)
            call = {"custom_id": _line_id(item), "method": "POST", "url": ENDPOINT, "body": body}
            line = json.dumps(call).encode()
            if part and (len(part) == self._settings.batch or size + len(line) > MOST_BYTES):
                yield part, b"\n".join(lines)
                part, lines, size = [], [], 0
            part.append(item)
            lines.append(line)
            size += len(line) + 1
        if part:
            yield part, b"\n".join(lines)


class _Endpoint:
    """Files and batches of one endpoint."""

    def __init__(self, settings: Settings, bill: Bill) -> None:
        from openai import OpenAI

        self.place = place(settings)
        self._settings, self._key, self._bill = settings, read_key(settings.key_env), bill
        retries = settings.attempts - 1
        self._client = OpenAI(api_key=self._key or "none", base_url=settings.base_url, max_retries=retries)
        self._runner = asyncio.Runner()

    def __enter__(self) -> _Endpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._runner.close()

    def find(self, files: set[str]) -> dict[str, Batch]:
        """The batches made of these input files, by file; at least one call, so that nothing is spent in vain.

        Raises:
            UserError: if the endpoint has no batch mode.
        """
        from openai import APIStatusError

        found: dict[str, Batch] = {}
        with self._said():
            try:
                for batch in self._client.batches.list(limit=100):
                    if batch.input_file_id in files:
                        found[batch.input_file_id] = batch
                    if len(found) == len(files):
                        break
            except APIStatusError as error:
                if error.status_code not in (404, 405, 501):
                    raise
                where = self._settings.base_url or self._settings.model.partition("/")[0]
                raise UserError(
                    f"judge.batch: {where} has no batch mode ({shown(error, self._key)}); leave it out, and calls are "
                    "made one by one. Nothing was spent."
                ) from None
        return found

    def upload(self, lines: bytes) -> str:
        """Uploads an input file and returns its name there."""
        with self._said():
            return self._client.files.create(file=("judgements.jsonl", lines), purpose="batch").id

    def make(self, file: str) -> Batch:
        """Makes a batch of an uploaded file. Tried once: where nobody knows if it worked, the next run looks for it.

        Raises:
            NoBatchError: if the endpoint makes none.
        """
        from openai import APIStatusError

        client = self._client.with_options(max_retries=0)
        with self._said():
            try:
                made = client.batches.create(input_file_id=file, endpoint=ENDPOINT, completion_window="24h")
            except APIStatusError as error:
                if error.status_code >= 500:
                    raise
                raise NoBatchError(self._sentence(self._trouble(error))) from None
        log.info("batch %s is ordered, its answers come within a day", made.id)
        return made

    def replies(self, batch: Batch, items: Sequence[Item]) -> Iterator[list[Reply]]:
        """Waits for a batch and reads what it says of the items, each of which has a reply in the end.

        Raises:
            UserError: if not one was answered, or the account cannot go on.
        """
        batch = self._ended(batch)
        waiting = {_line_id(item): item for item in items}
        troubles: Counter[Trouble] = Counter()
        answered = 0
        found = self._lines(batch)
        while lines := list(islice(found, TOGETHER)):
            replies = []
            for line in lines:
                item = waiting.pop(line.get("custom_id", ""), None)
                if item is None:  # wanted by another run
                    continue
                self._bill.add_line(item.prompt, line)
                try:
                    raw = self._runner.run(_read(line))
                except Exception as error:
                    troubles[self._trouble(error)] += 1
                    replies.append(Reply(item, None, "failed"))
                else:
                    answered += 1
                    replies.append(Reply(item, raw, "answered"))
            yield replies
        if waiting:
            troubles[Trouble("again", self._why(batch))] += len(waiting)
            yield _failed(waiting.values())
        for trouble, count in troubles.most_common(3):
            log.warning("batch %s: %d of %d calls failed: %s", batch.id, count, len(items), trouble.sentence)
        ends = next((trouble for trouble in troubles if trouble.follows == "all"), None)
        if ends:
            raise UserError(ends.sentence)
        if not answered:
            told = troubles.most_common(1)[0][0].sentence.rstrip(".")
            raise UserError(f"{self.place}: not one of {len(items)} calls of batch {batch.id} was answered: {told}.")

    def _ended(self, batch: Batch) -> Batch:
        """The batch when it is through. A network that is away for a while does not end the wait."""
        from openai import OpenAIError

        pause, failures = FIRST_LOOK, 0
        while batch.status not in ENDED:
            time.sleep(pause)
            pause = min(LONGEST_LOOK, 1.5 * pause)
            before = batch.request_counts
            try:
                batch = self._client.batches.retrieve(batch.id)
            except OpenAIError as error:
                failures += 1
                trouble = self._trouble(error)
                if trouble.follows != "again" or failures == FAILURES_IN_A_ROW:
                    raise UserError(self._sentence(trouble)) from None
                log.warning("batch %s: %s", batch.id, trouble.sentence)
                continue
            failures = 0
            if batch.request_counts and batch.request_counts != before:
                log.info("batch %s: %d of %d calls are through", batch.id, *_through(batch.request_counts))
        return batch

    def _lines(self, batch: Batch) -> Iterator[dict[str, Any]]:
        """Lines of the output and the error file; what is no JSON object, or gone by now, counts as not there."""
        from openai import NotFoundError

        for file in (batch.output_file_id, batch.error_file_id):
            if not file:
                continue
            with self._said():
                try:
                    content = self._client.files.content(file).content
                except NotFoundError:
                    continue
            for line in content.splitlines():
                try:
                    parsed = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(parsed, dict):
                    yield parsed

    def _why(self, batch: Batch) -> str:
        """Why calls of a batch that has ended have no line."""
        told = batch.errors.data if batch.errors else None
        if told:
            return f"the batch was rejected ({' '.join(str(told[0].message).split())}; judge.batch makes smaller ones)"
        return f"the batch {batch.status} without them"

    def _trouble(self, error: Exception) -> Trouble:
        return trouble_of(error, self._settings, self._key, opened=True)

    def _sentence(self, trouble: Trouble) -> str:
        if trouble.follows == "all":
            return trouble.sentence
        return f"{self.place}: {trouble.sentence}; what was answered or ordered is kept, run again."

    @contextmanager
    def _said(self) -> Iterator[None]:
        """Turns what the client raises into a sentence."""
        from openai import OpenAIError

        try:
            yield
        except OpenAIError as error:
            raise UserError(self._sentence(self._trouble(error))) from None


async def _read(line: dict[str, Any]) -> dict[str, Any]:
    """The raw reply to keep of one line, as of a direct call.

    Raises:
        LineError: if the call failed.
        BrokenReplyError: as `read_output`.
    """
    from inspect_ai.model import model_output_from_openai
    from inspect_ai.model._openai import openai_refusal_model_output

    response = line.get("response") or {}
    body = response.get("body") or {}
    told = line.get("error") or body.get("error")
    if not told and response.get("status_code") == 200:
        return read_output(await model_output_from_openai(_without_nulls(body)))
    error = LineError(response.get("status_code"), told or {})
    refusal = openai_refusal_model_output("", error.code, error.type, str(error))
    if refusal is None:
        raise error
    return read_output(refusal)


def _without_nulls(body: dict[str, Any]) -> dict[str, Any]:
    """An answer whose null log-probabilities, of what is impossible, are minus infinity.

    Raises:
        BrokenReplyError: if it is no chat completion.
    """
    try:
        for choice in body["choices"]:
            for token in (choice.get("logprobs") or {}).get("content") or ():
                for entry in (token, *(token.get("top_logprobs") or ())):
                    entry["logprob"] = -math.inf if entry["logprob"] is None else entry["logprob"]
    except (TypeError, AttributeError, LookupError) as error:
        raise BrokenReplyError("the answer is no chat completion") from error
    return body


def _line_id(item: Item) -> str:
    """Name of a call within its batch, the same in every run."""
    return digest(item.metric, item.prompt)


def _failed(items: Any) -> list[Reply]:
    return [Reply(item, None, "failed") for item in items]


def _through(counts: Any) -> tuple[int, int]:
    return counts.completed + counts.failed, counts.total
