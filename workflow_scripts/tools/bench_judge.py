"""How much faster the remote judge is than one synchronous call at a time, on a real server made distant.

`measure` starts vLLM's OpenAI-compatible server on a tiny random model behind a relay that adds latency, and makes
the same calls both ways (the authors' code calls synchronously, PAPER section 11). Prints with
`python -m workflow_scripts.tools bench-judge`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow_scripts.judges.identity import endpoint
from workflow_scripts.judges.interface import Item
from workflow_scripts.judges.remote import TOP, EndpointJudge, request
from workflow_scripts.runtime import command
from workflow_scripts.runtime.errors import UserError
from workflow_scripts.study.judge import RemoteJudge as Settings

log = logging.getLogger(__name__)

Connected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

NAME = "tiny-judge"
KEY_VARIABLE = "EM_BENCH_KEY"
PROMPT_TOKENS = 512
START_S = 300.0
"""Longest wait for the server to come up, seconds."""


@dataclass(frozen=True)
class Throughput:
    """Calls per second both ways, on the same server and behind the same latency."""

    one_at_a_time: float
    judge: float

    @property
    def ratio(self) -> float:
        return self.judge / self.one_at_a_time

    def __str__(self) -> str:
        return (
            f"remote judge {self.judge:.0f} calls/s, one synchronous call at a time {self.one_at_a_time:.1f} calls/s: "
            f"{self.ratio:.1f} times as fast"
        )


def measure(calls: int = 1500, single_calls: int = 15, latency_s: float = 0.2, connections: int = 64) -> Throughput:
    """Calls per second of the remote judge and of one call at a time; about a minute, most of it the server's start.

    Raises:
        UserError: if the server does not start.
    """
    with tempfile.TemporaryDirectory(prefix="em-bench-") as folder:
        model = number_model(Path(folder) / "model")
        with serve(model) as server, delayed(server.port, latency_s) as port:
            os.environ[KEY_VARIABLE] = server.key
            settings = Settings(
                source="remote", model=f"openai/{NAME}", base_url=f"http://127.0.0.1:{port}/v1", key_env=KEY_VARIABLE,
                max_connections=connections,
            )  # fmt: skip
            judge = EndpointJudge(endpoint(settings, {"aligned": "How kind? {question} {answer}"}), settings)
            warm, alone, together = (
                [item for k in range(count) for item in judge.identity.items(f"Question {k}?", word)]
                for count, word in ((3, "warm"), (single_calls, "alone"), (calls, "together"))
            )
            log.info("the server is up")
            list(judge.ask(warm))
            return Throughput(one_at_a_time(settings, server.key, alone), _rate(judge, together))


def one_at_a_time(settings: Settings, key: str, items: list[Item]) -> float:
    """Calls per second of the plain client in a loop."""
    from openai import OpenAI

    with OpenAI(base_url=settings.base_url, api_key=key) as client:
        start = time.perf_counter()
        for item in items:
            client.chat.completions.create(**request(NAME, item.prompt))
        return len(items) / (time.perf_counter() - start)


def _rate(judge: EndpointJudge, items: list[Item]) -> float:
    start = time.perf_counter()
    answered = sum(reply.state == "answered" for replies in judge.ask(items) for reply in replies)
    if answered < len(items):
        raise UserError(f"bench: {len(items) - answered} of {len(items)} calls failed; run it on a quieter machine.")
    return answered / (time.perf_counter() - start)


@dataclass(frozen=True)
class Server:
    """A running OpenAI-compatible server on loopback."""

    port: int
    key: str

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


@contextmanager
def serve(model: Path) -> Iterator[Server]:
    """vLLM's own server on a model folder, under the name `tiny-judge`, with a key.

    Raises:
        UserError: if it does not answer within `START_S`.
    """
    import httpx

    server = Server(free_port(), f"sk-{secrets.token_hex(16)}")
    options = {
        "--model": str(model), "--served-model-name": NAME, "--dtype": "float32", "--max-model-len": str(PROMPT_TOKENS),
        "--max-num-seqs": "64", "--host": "127.0.0.1", "--port": str(server.port), "--max-logprobs": str(TOP),
    }  # fmt: skip
    words = [word for option in options.items() for word in option]
    environment = {
        **os.environ, "VLLM_API_KEY": server.key, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "ERROR", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *words, "--enforce-eager",
             "--disable-log-stats", "--disable-uvicorn-access-log"],
            env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            end = time.monotonic() + START_S
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if httpx.get(f"http://127.0.0.1:{server.port}/health", timeout=5).is_success:
                        break
                if process.poll() is not None or time.monotonic() > end:
                    output.seek(0)
                    last = output.read().decode(errors="replace").strip().splitlines()[-1:]
                    raise UserError(f"vLLM's server did not start: {''.join(last) or 'it said nothing'}.")
                time.sleep(0.2)
            yield server
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def delayed(port: int, seconds: float) -> Iterator[int]:
    """A relay to a local port that passes on what a client sends only after so many seconds; yields its own port."""

    async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter, after: float) -> None:
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def send() -> None:
            while True:
                due, data = await waiting.get()
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                if not data:
                    target.close()
                    return
                target.write(data)
                await target.drain()

        async with asyncio.TaskGroup() as group:
            group.create_task(send())
            while data := await source.read(1 << 16):
                waiting.put_nowait((time.monotonic() + after, data))
            waiting.put_nowait((time.monotonic() + after, b""))

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError, ExceptionGroup, asyncio.CancelledError):
            async with asyncio.TaskGroup() as group:
                group.create_task(pass_on(reader, upstream_writer, seconds))
                group.create_task(pass_on(upstream_reader, writer, 0.0))

    with in_thread(connected) as own_port:
        yield own_port


@contextmanager
def in_thread(connected: Connected) -> Iterator[int]:
    """Serves TCP connections on a free loopback port in a thread of its own until the block ends; yields the port."""
    ports: queue.SimpleQueue[int] = queue.SimpleQueue()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    async def run() -> None:
        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        ports.put(server.sockets[0].getsockname()[1])
        await stop.wait()
        server.close()
        await asyncio.sleep(0.05)  # who is just connecting becomes a task, which the runner cancels

    def work() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:  # cancels what is still connected
            runner.run(run())

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield ports.get(timeout=10)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def number_model(folder: Path) -> Path:
    """Writes a tiny random chat model with the numbers 0 to 100 as tokens, which it likes to answer with."""
    import torch

    from workflow_scripts.miniature.pretraining import initial_model
    from workflow_scripts.miniature.recipe import MiniatureRecipe
    from workflow_scripts.miniature.tokenizer import train_tokenizer

    tokenizer = train_tokenizer()
    model = initial_model(MiniatureRecipe(layers=2), tokenizer)
    tokenizer.add_tokens([str(number) for number in range(10, 101)])
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    numbers = tokenizer.convert_tokens_to_ids([str(number) for number in range(101)])
    embeddings: Any = model.get_input_embeddings()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)
        embeddings.weight[numbers] *= 3
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def main(arguments: list[str]) -> None:
    command.parser(__doc__, study=False).parse_args(arguments)
    print(measure())


if __name__ == "__main__":
    command.run(main)
