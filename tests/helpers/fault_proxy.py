"""A proxy before an OpenAI-compatible server that breaks a share of the calls in every way that real endpoints do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from workflow_scripts.tools.bench_judge import in_thread

FAULTS = (
    "429 with Retry-After",
    "429",
    "500",
    "time-out",
    "cut before",
    "cut within",
    "invalid JSON",
    "empty logprobs",
)
ANSWERED, GONE = "answered", "the client went away"
HEADERS_END = b"\r\n\r\n"


@dataclass
class FaultProxy:
    """What the proxy does and has seen.

    Attributes:
        upstream: port of the real server.
        share: of calls that meet a fault, chosen at random by `seed`.
        patience: seconds after which the client gives a call up: an answer that comes later has reached nobody.
        faults: which, with equal chances.
        limit: answers after which every call meets `after_limit`, e.g. a time-out to hold a client in mid-run.
        calls: (prompt, what came of it) of every call, in the order in which they ended; requests without a body by
            their first line.
        truth: the server's own reply to each prompt, kept so that a second run costs it nothing.
    """

    upstream: int
    share: float = 0.0
    patience: float = float("inf")
    faults: tuple[str, ...] = FAULTS
    seed: int = 0
    limit: int | None = None
    after_limit: str = "time-out"
    port: int = 0
    calls: list[tuple[str, str]] = field(default_factory=list)
    truth: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def outcomes(self) -> Counter[str]:
        return Counter(outcome for _, outcome in self.calls)

    def answered(self) -> list[str]:
        """Prompts whose answer went out whole."""
        return [prompt for prompt, outcome in self.calls if outcome == ANSWERED]

    def top_logprobs(self, prompt: str) -> list[list[object]]:
        """What the server itself said to a prompt."""
        reply = json.loads(self.truth[prompt].partition(HEADERS_END)[2])
        return [
            [entry["token"], entry["logprob"]]
            for entry in reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        ]

    @contextmanager
    def running(self) -> Iterator[FaultProxy]:
        with in_thread(self._connected) as self.port:
            yield self

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                request = await read_message(reader)
                head, _, body = request.partition(HEADERS_END)
                prompt = json.loads(body)["messages"][-1]["content"] if body else head.split(b"\r\n")[0].decode()
                outcome, began = self._fate(), time.monotonic()
                try:
                    goes_on = await self._serve(outcome, prompt, request, reader, writer)
                except ConnectionError:
                    self.calls.append((prompt, GONE))
                    raise
                gave_up = outcome == ANSWERED and (reader.at_eof() or time.monotonic() - began >= self.patience)
                self.calls.append((prompt, GONE if gave_up else outcome))
                if not goes_on:
                    break
        writer.close()

    def _fate(self) -> str:
        if self.limit is not None and len(self.answered()) >= self.limit:
            return self.after_limit
        return self._random.choice(self.faults) if self._random.random() < self.share else ANSWERED

    async def _serve(
        self, outcome: str, prompt: str, request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Lets a call meet its fate; whether the connection goes on."""
        if outcome == "time-out":
            await reader.read(1)  # until the client has had enough
            return False
        if outcome == "cut before":
            return False
        if outcome.startswith("429"):
            more = "Retry-After: 0.2\r\n" if outcome.endswith("Retry-After") else ""
            message = {"message": "Too many requests.", "type": "requests", "code": "rate_limit_exceeded"}
            reply = response(429, json.dumps({"error": message}), more)
        elif outcome == "500":
            reply = response(500, json.dumps({"error": {"message": "Oops.", "type": "server_error"}}))
        else:
            reply = await self._forward(prompt, request)
            if outcome == "cut within":
                writer.write(reply[: len(reply) // 2])
                await writer.drain()
                return False
            body = reply.partition(HEADERS_END)[2]
            if outcome == "invalid JSON":
                reply = response(200, body.decode()[: len(body) // 2])
            elif outcome == "empty logprobs":
                content = json.loads(body)
                content["choices"][0]["logprobs"] = self._random.choice([None, {"content": []}])
                reply = response(200, json.dumps(content))
        writer.write(reply)
        await writer.drain()
        return True

    async def _forward(self, prompt: str, request: bytes) -> bytes:
        """The server's reply, from it or as it gave it before."""
        if prompt not in self.truth:
            connection = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self.upstream)
            connection[1].write(request)
            reply = await read_message(connection[0])
            self._idle.append(connection)
            if not reply.startswith(b"HTTP/1.1 200"):
                return reply
            self.truth[prompt] = reply
        return self.truth[prompt]


async def read_message(reader: asyncio.StreamReader) -> bytes:
    """One HTTP request or response with a Content-Length."""
    head = await reader.readuntil(HEADERS_END)
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
    return head + await reader.readexactly(int(fields.get(b"content-length", b"0")))


def response(status: int, body: str, headers: str = "") -> bytes:
    data = body.encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{headers}Content-Length: {len(data)}\r\n\r\n"
    return head.encode() + data
