"""Files and batches in OpenAI's form before a real server: each line of an uploaded file becomes a call to it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from workflow_scripts.tools.bench_judge import free_port

BROKEN = {
    "server error": {"response": {"status_code": 500, "body": {"error": {"message": "Oops.", "type": "server_error"}}}},
    "bad request": {"response": {"status_code": 400, "body": {"error": {"message": "No.", "code": "bad_value"}}}},
    "filtered": {"response": {"status_code": 400, "body": {"error": {"message": "No.", "code": "content_filter"}}}},
    "expired": {"error": {"code": "batch_expired", "message": "It was too late."}},
    "no logprobs": None,
    "no line": None,
    "no quota": {
        "response": {"status_code": 429, "body": {"error": {"message": "Pay.", "code": "insufficient_quota"}}}
    },
}
"""What becomes of a line, as OpenAI's error file has it, where that is no reply of the server's."""


@dataclass
class BatchFront:
    """What the front does and has seen.

    Attributes:
        upstream: address of the real server, up to and including /v1.
        broken: kinds of `BROKEN` by prompt.
        reject: every batch fails as a whole with this message.
        refuse: status of the answer to the making of a batch, where it is not made.
        gone: files can no longer be had.
        busy: looks at a batch that are answered with 503.
        open: until it is set, batches are in progress.
        direct: prompts of direct calls.
        made: prompts of each batch.
    """

    upstream: str
    broken: dict[str, str] = field(default_factory=dict)
    reject: str | None = None
    refuse: int | None = None
    gone: bool = False
    busy: int = 0
    open: threading.Event = field(default_factory=threading.Event)
    direct: list[str] = field(default_factory=list)
    made: list[list[str]] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        self.open.set()
        self._files: dict[str, bytes] = {}
        self._batches: dict[str, dict[str, Any]] = {}

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @contextmanager
    def running(self) -> Iterator[BatchFront]:
        routes = [
            Route("/v1/chat/completions", self._call, methods=["POST"]),
            Route("/v1/files", self._upload, methods=["POST"]),
            Route("/v1/files/{name}/content", self._content),
            Route("/v1/batches", self._make, methods=["POST"]),
            Route("/v1/batches", self._list),
            Route("/v1/batches/{name}", self._look),
        ]
        self.port = free_port()
        server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), port=self.port, log_level="warning"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield self
        finally:
            self.open.set()
            server.should_exit = True
            thread.join()

    async def _call(self, request: Request) -> Response:
        body = await request.body()
        self.direct.append(prompt_of(json.loads(body)))
        async with httpx.AsyncClient(timeout=60) as client:
            return passed_on(await client.post(f"{self.upstream}/chat/completions", content=body, headers=key(request)))

    async def _upload(self, request: Request) -> Response:
        form = await request.form()
        assert form["purpose"] == "batch"
        return JSONResponse({"id": self._keep(await form["file"].read()), "object": "file", "purpose": "batch"})

    async def _content(self, request: Request) -> Response:
        if self.gone:
            return JSONResponse({"error": {"message": "No such file."}}, 404)
        return Response(self._files[request.path_params["name"]])

    async def _make(self, request: Request) -> Response:
        wanted = await request.json()
        assert wanted["endpoint"] == "/v1/chat/completions"
        if self.refuse:
            return JSONResponse({"error": {"message": "Not now."}}, self.refuse)
        calls = [json.loads(line) for line in self._files[wanted["input_file_id"]].splitlines()]
        batch = {
            "id": f"batch_{len(self._batches)}", "object": "batch", "endpoint": wanted["endpoint"], "errors": None,
            "input_file_id": wanted["input_file_id"], "completion_window": wanted["completion_window"],
            "status": "validating", "output_file_id": None, "error_file_id": None, "created_at": int(time.time()),
            "request_counts": {"total": len(calls), "completed": 0, "failed": 0},
        }  # fmt: skip
        self._batches[batch["id"]] = batch
        self.made.append([prompt_of(call["body"]) for call in calls])
        threading.Thread(target=self._work, args=(batch, calls, key(request)), daemon=True).start()
        return JSONResponse(batch)

    async def _list(self, request: Request) -> Response:
        async with httpx.AsyncClient() as client:
            known = await client.get(f"{self.upstream}/models", headers=key(request))
        if not known.is_success:
            return passed_on(known)
        newest = list(self._batches.values())[::-1]
        return JSONResponse({"object": "list", "data": newest, "has_more": False})

    async def _look(self, request: Request) -> Response:
        if self.busy:
            self.busy -= 1
            return JSONResponse({"error": {"message": "Busy."}}, 503)
        return JSONResponse(self._batches[request.path_params["name"]])

    def _work(self, batch: dict[str, Any], calls: list[dict[str, Any]], headers: dict[str, str]) -> None:
        """Makes the calls of a batch and leaves its files."""
        if self.reject:
            error = {"code": "token_limit_exceeded", "message": self.reject, "line": None, "param": None}
            batch.update(status="failed", errors={"object": "list", "data": [error]})
            return
        batch["status"] = "in_progress"
        self.open.wait()
        with httpx.Client(timeout=60, headers=headers) as client, ThreadPoolExecutor(8) as pool:
            lines = list(pool.map(lambda call: self._line(client, call), calls))
        good = [line for line in lines if line and not line["error"] and line["response"]["status_code"] == 200]
        bad = [line for line in lines if line and line not in good]
        batch["request_counts"].update(completed=len(good), failed=len(calls) - len(good))
        for name, kept in (("output_file_id", good[::-1]), ("error_file_id", bad)):
            if kept:
                batch[name] = self._keep(b"".join(json.dumps(line).encode() + b"\n" for line in kept))
        batch["status"] = "expired" if "no line" in self.broken.values() else "completed"

    def _line(self, client: httpx.Client, call: dict[str, Any]) -> dict[str, Any] | None:
        fault = self.broken.get(prompt_of(call["body"]))
        line = {"id": "batch_req", "custom_id": call["custom_id"], "response": None, "error": None}
        if fault == "no line":
            return None
        if fault and BROKEN[fault]:
            return line | BROKEN[fault]
        reply = client.request(call["method"], self.upstream.removesuffix("/v1") + call["url"], json=call["body"])
        body = reply.json()
        if fault == "no logprobs":
            body["choices"][0]["logprobs"] = None
        return line | {"response": {"status_code": reply.status_code, "request_id": "r", "body": body}}

    def _keep(self, content: bytes) -> str:
        name = f"file-{len(self._files)}"
        self._files[name] = content
        return name


def key(request: Request) -> dict[str, str]:
    return {"authorization": request.headers["authorization"], "content-type": "application/json"}


def passed_on(reply: httpx.Response) -> Response:
    return Response(reply.content, reply.status_code, media_type="application/json")


def prompt_of(body: dict[str, Any]) -> str:
    return body["messages"][-1]["content"]
