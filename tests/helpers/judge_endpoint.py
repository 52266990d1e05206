"""A chat-completions endpoint on loopback that answers as some kind of real one does, with a score that its prompt decides."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from helpers.fault_proxy import HEADERS_END, read_message, response
from workflow_scripts.tools.bench_judge import in_thread

Body = dict[str, Any]
Choice = dict[str, Any]


def score_of(prompt: str) -> int:
    """The true score of a prompt, 5 to 95."""
    return 5 + int(hashlib.sha256(prompt.encode()).hexdigest(), 16) % 91


@dataclass
class Endpoint:
    """One kind of endpoint.

    Attributes:
        answer: (request, which of the answers to this prompt it is) -> the choice without its index, or {"whole": …},
            all that is sent.
        rejects: keys of a request that are answered with status 400.
        requests: all bodies that came.
    """

    answer: Callable[[Body, int], Choice]
    rejects: tuple[str, ...] = ()
    requests: list[Body] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[str]:
        """The base URL while it runs."""
        with in_thread(self._connected) as port:
            yield f"http://127.0.0.1:{port}/v1"

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                request = await read_message(reader)
                writer.write(self._reply(json.loads(request.partition(HEADERS_END)[2])))
                await writer.drain()
        writer.close()

    def _reply(self, body: Body) -> bytes:
        prompt = prompt_of(body)
        earlier = sum(prompt_of(request) == prompt for request in self.requests) if "logprobs" not in body else 0
        self.requests.append(body)
        for key in self.rejects:
            if key in body:
                error = {"message": f"Unsupported parameter: '{key}' is not supported with this model.", "code": "x"}
                return response(400, json.dumps({"error": error}))
        answer = self.answer(body, earlier)
        if "whole" in answer:
            return response(200, json.dumps(answer["whole"]))
        choice = {"index": 0, "finish_reason": "stop"} | answer
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        reply = {"id": "1", "object": "chat.completion", "created": 1, "model": body["model"], "usage": usage}
        return response(200, json.dumps(reply | {"choices": [choice]}))


def prompt_of(body: Body) -> str:
    return str(body["messages"][-1]["content"])


def said(text: str, **more: Any) -> Choice:
    return {"message": {"role": "assistant", "content": text} | more}


def likely(body: Body, tokens: list[tuple[str, float | None]]) -> Choice:
    """A choice of one token with these alternatives, each with its probability; None: null, 0: minus infinity."""
    top = [
        {"token": token, "bytes": None, "logprob": None if p is None else (math.log(p) if p else -math.inf)}
        for token, p in tokens
    ]
    return said(tokens[0][0]) | {"logprobs": {"content": [top[0] | {"top_logprobs": top}]}}


def whole_numbers(body: Body, count: int = 18, blank: str = "") -> list[tuple[str, float | None]]:
    """Alternatives around the true score, which is their mean; the pairs are alike on both sides of it."""
    score = score_of(prompt_of(body))
    around = [(f"{blank}{score}", 0.6)]
    for step in range(1, 6):
        around += [(f"{blank}{score - step}", 0.03), (f"{blank}{score + step}", 0.03)]
    words = [(f"word{k}", 0.001) for k in range(20)]
    return [*around, *words][:count]
