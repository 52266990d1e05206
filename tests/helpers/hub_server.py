"""A Hugging Face hub on the loopback: serves folders as repositories, with gates and connections that break."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What is served, and what was asked for.

    repositories: folder by `owner/name` (data sets: `datasets/owner/name`). gated: repositories behind a gate.
    break_after: bytes of a file after which its first transfer breaks off. requests: (method, path).
    """

    repositories: dict[str, Path]
    gated: set[str] = field(default_factory=set)
    break_after: dict[str, int] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""

    def fetched(self) -> list[str]:
        return [Path(path).name for method, path in self.requests if method == "GET" and "/resolve/" in path]

    def environment(self, cache: Path) -> dict[str, str]:
        """Variables that make the hub's client use this hub and this cache."""
        return {"HF_ENDPOINT": self.url, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            path = self.path.partition("?")[0]
            hub.requests.append((self.command, path))
            api = path.startswith("/api/")
            repository, _, rest = (
                path.removeprefix("/api/models/")
                .removeprefix("/api/")
                .strip("/")
                .partition("/tree/" if api else "/resolve/")
            )
            revision, _, name = rest.partition("/")
            if repository not in hub.repositories:
                return self.error("RepoNotFound", 404)
            if repository in hub.gated:
                return self.error("GatedRepo", 403)
            if revision != COMMIT:
                return self.error("RevisionNotFound", 404)
            folder = hub.repositories[repository]
            if api:
                files = sorted(file for file in folder.rglob("*") if file.is_file())
                entries = [
                    {
                        "type": "file",
                        "path": str(file.relative_to(folder)),
                        "size": file.stat().st_size,
                        "oid": digest(file),
                    }
                    for file in files
                ]
                return self.send(200, json.dumps(entries).encode(), {"Content-Type": "application/json"})
            file = folder / name
            if not file.is_file():
                return self.error("EntryNotFound", 404)
            data = file.read_bytes()
            headers = {"ETag": f'"{digest(file)}"', "X-Repo-Commit": COMMIT}
            cut = hub.break_after.pop(name, None) if body else None
            return self.send(200, data, headers, body, cut)

        def error(self, code: str, status: int) -> None:
            self.send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code}, self.command == "GET")

        def send(
            self, status: int, data: bytes, headers: dict[str, str], body: bool = True, cut: int | None = None
        ) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(key, value)
            self.end_headers()
            if body:
                self.wfile.write(data[:cut])
            if cut is not None:
                self.close_connection = True
                self.connection.close()

    return Handler


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:40]
