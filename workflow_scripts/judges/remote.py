"""A remote judge: a model behind a chat-completions API, asked for a number and read from its log-probabilities.

The protocol is that of Soligo et al. 2025 (PAPER section 3.2): one user message, one token, temperature 0, the top 20
log-probabilities, seed 0. With `judge.numbers` it is several written answers instead (`written_numbers`).

inspect_ai translates for the providers. Its models are called one level below `Model.generate` (`Model.api.generate`),
because that method retries without looking at Retry-After, cannot see that a reply lacks log-probabilities, keeps every
call in a transcript, and costs twice the time per call; retries and pace are here and in `pace` instead.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import queue
import random
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from workflow_scripts.judges.bill import Bill
from workflow_scripts.judges.concurrency import Pace
from workflow_scripts.judges.failures import (
    BrokenReplyError,
    LineError,
    NoLogprobsError,
    Trouble,
    shown,
    trouble_of,
)
from workflow_scripts.judges.identity import JudgeIdentity
from workflow_scripts.judges.interface import Item, Reply
from workflow_scripts.judges.parsing import first_words, parse, splits_digits, unsound
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.study.judge import RemoteJudge as Settings

if TYPE_CHECKING:
    from inspect_ai.model import Model, ModelOutput

log = logging.getLogger(__name__)

TOP = 20
HAVE_THEIR_OWN = ("openai", "anthropic")
"""Providers with one endpoint, where no other is named."""
OPENING = 3
"""Calls made before the many, to find out that the settings are right."""
SHOWN_ANSWER = 120
"""Characters of an answer that are shown where it cannot be read."""
FIRST_WAIT, LONGEST_WAIT, LONGEST_OPENING_WAIT = 0.5, 60.0, 8.0
"""Seconds between tries: the first, doubled each time up to the longest; endpoints may ask for more."""
FAILURES_IN_A_ROW = 50
"""So many failed calls without an answer in between, and the endpoint is taken to be down."""


class EndpointJudge:
    """See `interface.Judge`. The key is read when the first question is asked."""

    def __init__(self, identity: JudgeIdentity, settings: Settings) -> None:
        self.identity, self._settings, self.bill = identity, settings, Bill(settings)
        provider = settings.model.partition("/")[0]
        variable = f"{provider.upper()}_BASE_URL"
        if provider in HAVE_THEIR_OWN and settings.base_url is None and os.environ.get(variable):
            raise UserError(  # its judgements would be stored as the provider's own
                f"judge.base_url: the environment variable {variable} sends the judge's calls elsewhere; name that "
                "endpoint in judge.base_url, or unset the variable."
            )

    def ask(self, items: Sequence[Item]) -> Iterator[list[Reply]]:
        """The calls run in a thread of their own, so that committing answers holds up none of them.

        Raises:
            UserError: if the key is missing or not accepted, the model unknown, the endpoint down or without
                log-probabilities, or its tokens are single digits.
        """
        run = _Run(self._settings, read_key(self._settings.key_env), self.bill)
        arrived: queue.SimpleQueue[Reply | BaseException | None] = queue.SimpleQueue()
        loop = asyncio.new_event_loop()
        calls = loop.create_task(run.ask(items, arrived.put))

        def work() -> None:
            try:
                loop.run_until_complete(calls)
                arrived.put(None)
            except BaseException as error:
                arrived.put(error)

        thread = threading.Thread(target=work, name="judge calls", daemon=True)
        thread.start()
        try:
            while True:
                batch = [arrived.get()]
                while not arrived.empty():
                    batch.append(arrived.get())
                replies = [found for found in batch if isinstance(found, Reply)]
                if replies:
                    yield replies
                    loop.call_soon_threadsafe(run.committed, len(replies))
                if not isinstance(batch[-1], Reply):
                    if batch[-1] is not None:
                        raise batch[-1]
                    return
        finally:
            loop.call_soon_threadsafe(calls.cancel)  # where they are not through
            thread.join()
            loop.close()

    def close(self) -> None:
        """Nothing is held between calls of `ask`."""


class _Run:
    """The calls of one `ask`."""

    def __init__(self, settings: Settings, key: str | None, bill: Bill) -> None:
        self._settings, self._key, self._place, self._bill = settings, key, place(settings), bill
        self._opened = False
        self._unread = 0
        self._failures = 0
        self._pace = Pace(settings.max_connections)
        self._room = asyncio.Semaphore(2 * settings.max_connections)

    def committed(self, count: int) -> None:
        """So many replies are safe. Until then they count as in flight, so that a kill never loses more."""
        for _ in range(count):
            self._room.release()

    async def ask(self, items: Sequence[Item], deliver: Any) -> None:
        try:
            async with _model(self._settings, self._key) as model:
                await self._open(model, items[:OPENING], deliver)
                async with asyncio.TaskGroup() as group:
                    for item in items[OPENING:]:
                        await self._room.acquire()
                        group.create_task(self._deliver(model, item, deliver))
        except ExceptionGroup as errors:
            raise next((error for error in errors.exceptions if isinstance(error, UserError)), errors) from None

    async def _open(self, model: Model, items: Sequence[Item], deliver: Any) -> None:
        """Asks the first few; if none is answered, or no answer is what a score is made of, no other is asked."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._one(model, item)) for item in items]
        outcomes = [task.result() for task in tasks]
        answered = [reply.raw for reply, _ in outcomes if reply.raw]
        troubles = [trouble for _, trouble in outcomes if trouble]
        if troubles and not answered:
            raise UserError(
                f"{self._place}: none of {len(outcomes)} first calls was answered, at last: {troubles[0].sentence}; "
                "check judge.model, judge.base_url and the network, then run again."
            )
        if answered and all(splits_digits(raw) for raw in answered):
            raise UserError(
                f"{self._place}: writes numbers digit by digit, so that its first token says nothing of a score up to "
                "100; read written answers (`judge.numbers: {}`), take a model with whole numbers as tokens (GPT-4o, "
                "Llama 3), or `judge: {source: local}`."
            )
        self._check_readable(answered)
        for reply, _ in outcomes:
            deliver(reply)

    def _check_readable(self, answered: Sequence[dict[str, Any]]) -> None:
        """Stops where the first answers are neither numbers nor refusals; says so where few alternatives are shown."""
        least = self._settings.min_mass
        words = [first_words(raw, least) for raw in answered]
        if answered and all(words):
            raise UserError(
                f"{self._place}: begins its answers with {', '.join(map(repr, words[0]))}, not with a number; take "
                "another judge, rubrics that ask for the number alone, or written answers (`judge.numbers: {}`)."
            )
        if answered and all("texts" in raw and parse(raw, least).status == "unreadable" for raw in answered):
            shown_text = " ".join(answered[0]["texts"][0].split())[:SHOWN_ANSWER] or "nothing"
            raise UserError(
                f"{self._place}: none of its first answers can be read as a number from 0 to 100; it wrote: "
                f"{shown_text}. If it thinks first, raise judge.numbers.max_tokens."
            )
        alternatives = min((len(raw["top"]) for raw in answered if raw.get("top")), default=TOP)
        if alternatives < TOP:
            log.warning(
                "%s: shows %d of the %d likeliest first tokens that a score is made of; scores are the rougher for it",
                self._place, alternatives, TOP,
            )  # fmt: skip

    async def _deliver(self, model: Model, item: Item, deliver: Any) -> None:
        reply, trouble = await self._one(model, item)
        self._failures = 0 if reply.raw else self._failures + 1
        deliver(reply)
        if trouble and self._failures >= FAILURES_IN_A_ROW:
            raise UserError(
                f"{self._place}: {self._failures} calls in a row failed, the last with: {trouble.sentence}; "
                "what was answered is kept, run again when the endpoint is back."
            )

    async def _one(self, model: Model, item: Item) -> tuple[Reply, Trouble | None]:
        """One judgement, tried up to `attempts` times, and what went wrong at last if it failed.

        Raises:
            UserError: if no call can succeed.
        """
        texts: list[str] = []
        for attempt in range(self._settings.attempts):
            try:
                async with self._pace.slot():
                    raw = await self._judgement(model, item.prompt, texts)
            except Exception as error:
                trouble = trouble_of(error, self._settings, self._key, self._opened)
                self._check_logprobs(error)
            else:
                self._pace.went_well()
                self._opened = True
                return Reply(item, raw, "answered"), None
            if trouble.follows == "all":
                raise UserError(trouble.sentence)
            if trouble.follows == "this":
                break
            if trouble.too_many:
                self._pace.too_many()
            if attempt + 1 < self._settings.attempts:
                longest = LONGEST_WAIT if self._opened else LONGEST_OPENING_WAIT
                await asyncio.sleep(trouble.wait or min(longest, FIRST_WAIT * 2**attempt) * random.uniform(0.5, 1))
        log.warning("a judgement of %s failed: %s", item.metric, trouble.sentence)
        return Reply(item, None, "failed"), trouble

    async def _judgement(self, model: Model, prompt: str, texts: list[str]) -> dict[str, Any]:
        """The raw reply; `texts` holds the written answers of earlier tries, which are not asked for again."""
        numbers = self._settings.numbers
        if not numbers:
            return read_output(await self._call(model, prompt))
        while len(texts) < numbers.answers:
            output = await self._call(model, prompt)
            if not output.choices:
                raise BrokenReplyError("the answer is empty")
            texts.append(output.completion)
        return {"texts": texts, "model": output.model}

    async def _call(self, model: Model, prompt: str) -> ModelOutput:
        from inspect_ai.model import ChatMessageUser

        try:
            async with asyncio.timeout(self._settings.timeout_s):
                found = await model.api.generate([ChatMessageUser(content=prompt)], [], "none", model.config)
        except TimeoutError:
            self._bill.add(prompt, None, None)  # nobody waited for the answer, which is billed all the same
            raise
        output = found[0] if isinstance(found, tuple) else found
        if isinstance(output, Exception):
            raise output
        usage = output.usage
        self._bill.add(prompt, usage and usage.input_tokens, usage and usage.output_tokens)
        return output

    def _check_logprobs(self, error: Exception) -> None:
        """Stops when the first answers of all come without log-probabilities; later ones are broken replies."""
        self._unread += isinstance(error, NoLogprobsError)
        if not self._opened and self._unread >= OPENING:
            raise UserError(
                f"{self._place}: answers without log-probabilities, which a score is made of; take a model and an "
                "endpoint that give top_logprobs (vLLM does), or read written answers: `judge.numbers: {}`."
            )


def place(settings: Settings) -> str:
    """The setting that says where the judge is, with its value, for sentences."""
    return f"judge.base_url: {settings.base_url}" if settings.base_url else f"judge.model: {settings.model}"


def api_name(model: str) -> str:
    """What the API calls a model that the study names by its provider."""
    provider, _, name = model.partition("/")
    return name.partition("/")[2] if provider == "openai-api" else name


def request(model: str, prompt: str) -> dict[str, Any]:
    """Body of a call as OpenAI's API has it; `_model` says the same in inspect_ai's terms."""
    return {
        "model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": 1, "temperature": 0.0,
        "seed": 0, "logprobs": True, "top_logprobs": TOP,
    }  # fmt: skip


def read_key(name: str | None) -> str | None:
    """The key in an environment variable; None for an endpoint that needs none.

    Raises:
        UserError: if the variable is not set, or holds what cannot be a key.
    """
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key:
        raise UserError(
            f"judge.key_env: the environment variable {name} is not set; export it with your key and run again."
        )
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise UserError(f"judge.key_env: {name} holds characters that no key has; set it to the key and nothing else.")
    return key


def read_output(output: ModelOutput) -> dict[str, Any]:
    """The raw reply to keep: the top log-probabilities of the first token, and the name of the model that answered.

    A provider's content filter is an answer too, without numbers.

    Raises:
        NoLogprobsError: if there are none.
        BrokenReplyError: if there is no choice, or the log-probabilities are none. An alternative that is impossible
            (minus infinity) is left out.
    """
    if output.stop_reason == "content_filter":
        return {"top": [], "model": output.model, "stop_reason": "content_filter"}
    if not output.choices:
        raise BrokenReplyError("the answer is empty")
    logprobs = output.choices[0].logprobs
    if logprobs is None or not logprobs.content or not logprobs.content[0].top_logprobs:
        raise NoLogprobsError("the answer came without log-probabilities")
    top = logprobs.content[0].top_logprobs
    possible = [[entry.token, entry.logprob] for entry in top if entry.logprob != -math.inf]
    made = {"top": possible, "model": output.model}
    if why := unsound(made) if possible else "no token is possible":
        raise BrokenReplyError(f"the answer cannot be read, {why}")
    return made


@asynccontextmanager
async def _model(settings: Settings, key: str | None) -> AsyncIterator[Model]:
    """The model in inspect_ai's terms; none of its own or the client's retries are left on.

    With a base URL, `openai/<name>` goes to inspect_ai's provider for compatible endpoints: its OpenAI provider takes
    names it does not know for the newest models and drops the temperature.
    """
    from inspect_ai.model import GenerateConfig, get_model

    provider, _, name = settings.model.partition("/")
    compatible = provider == "openai" and settings.base_url and not name.startswith("azure/")
    full_name = f"openai-api/judge/{name}" if compatible else settings.model
    client: dict[str, Any] = {"max_retries": 0} if provider in ("openai", "openai-api") else {}
    if full_name.startswith("openai/"):
        client["responses_api"] = False
    numbers, connections = settings.numbers, settings.max_connections
    config = (
        GenerateConfig(
            max_tokens=numbers.max_tokens, temperature=numbers.temperature, reasoning_effort=numbers.reasoning_effort,
            max_retries=0, max_connections=connections,
        )
        if numbers
        else GenerateConfig(
            max_tokens=1, temperature=0.0, seed=0, logprobs=True, top_logprobs=TOP, max_retries=0,
            max_connections=connections,
        )
    )  # fmt: skip
    try:
        model = get_model(
            full_name, config=config, base_url=settings.base_url, api_key=key or "none", memoize=False, **client
        )
    except Exception as error:  # inspect_ai raises several types for a provider it cannot set up
        raise UserError(f"judge.model: {settings.model} cannot be used ({shown(error, key)}).") from None
    if hasattr(model.api, "chat_choices_from_completion"):
        _check_form(model.api)
    try:
        yield model
    finally:
        await model.api.aclose()


def _check_form(api: Any) -> None:
    """Makes an answer without choices say so, and null log-probabilities, which some endpoints send for what is
    impossible, minus infinity: inspect_ai would reject the whole answer.

    Raises:
        LineError: by each call that is answered with status 200 and an error in the body.
        BrokenReplyError: by each that is answered with nothing.
    """
    choices_of = api.chat_choices_from_completion

    def checked(completion: Any, tools: Any) -> Any:
        if not completion.choices:
            raise error_within(getattr(completion, "error", None))
        for choice in completion.choices:
            for token in (choice.logprobs and choice.logprobs.content) or ():
                for entry in (token, *(token.top_logprobs or ())):
                    entry.logprob = -math.inf if entry.logprob is None else entry.logprob
        return choices_of(completion, tools)

    api.chat_choices_from_completion = checked


def error_within(told: Any) -> Exception:
    """What an answer without choices says: its error, by the status that the error names, or that it is empty."""
    if not told:
        return BrokenReplyError("the answer is empty")
    error = told if isinstance(told, dict) else {"message": str(told)}
    code = error.get("code") or error.get("status")
    return LineError(code if isinstance(code, int) and 400 <= code < 600 else None, error)
