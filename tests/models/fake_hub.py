"""A hub on the loopback interface that speaks what huggingface_hub's client asks to create, push and fetch a model."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_aTokenOfTheFakeHub"


@dataclass
class Repository:
    """One model repository: its commits, oldest first, each with the files that it has then."""

    private: bool
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=lambda: [("0" * 40, {})])

    def commit(self, files: dict[str, bytes]) -> str:
        sha = hashlib.sha1(repr((len(self.commits), files)).encode()).hexdigest()
        self.commits.append((sha, {**self.commits[-1][1], **files}))
        return sha

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        found = [c for c in self.commits if c[0] == revision]
        return self.commits[-1] if revision == "main" else next(iter(found), None)


@dataclass
class FakeHub:
    """What is on the hub, and what was asked of it (`POST /api/repos/create`)."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    hub = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        path = self._asked()
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._error(401, "Unauthorized", "Invalid username or password.")
        elif path == ["api", "validate-yaml"]:
            self._json({"errors": [], "warnings": []})
        elif path == ["api", "repos", "create"]:
            self._create(json.loads(body))
        elif path[4] == "preupload":
            asked = json.loads(body)["files"]
            self._json({"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked]})
        else:
            self._commit("/".join(path[2:4]), body)

    def do_GET(self) -> None:
        path = self._asked()
        api = path[0] == "api"
        name = "/".join(path[2:4] if api else path[:2])
        repository = self.hub.repositories.get(name)
        authorised = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if repository is None or (repository.private and not authorised):
            self._error(404, "RepoNotFound", "Repository not found")
            return
        rest = path[4:] if api else path[2:]
        revision = rest[1] if len(rest) > 1 else "main"
        found = repository.at(revision)
        if found is None:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif not api:
            self._file(*found, "/".join(rest[2:]))
        elif rest and rest[0] == "tree":
            self._json([{"type": "file", "path": n, "size": len(c), "oid": _oid(c)} for n, c in found[1].items()])
        else:
            siblings = [{"rfilename": n} for n in found[1]]
            self._json({"id": name, "sha": found[0], "private": repository.private, "tags": [], "siblings": siblings})

    def do_HEAD(self) -> None:
        self.do_GET()

    def _asked(self) -> list[str]:
        self.hub.requests.append(f"{self.command} {self.path}")
        return [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        answer = {"url": f"{self.hub.url}/{name}", "name": name}
        if name in self.hub.repositories:
            self._json(answer, 409)
        else:
            self.hub.repositories[name] = Repository(asked.get("visibility") == "private")
            self._json(answer)

    def _commit(self, name: str, body: bytes) -> None:
        lines = [json.loads(line) for line in body.splitlines()]
        files = {x["value"]["path"]: base64.b64decode(x["value"]["content"]) for x in lines if x["key"] == "file"}
        sha = self.hub.repositories[name].commit(files)
        self._json({"commitUrl": f"{self.hub.url}/{name}/commit/{sha}", "commitOid": sha})

    def _file(self, sha: str, files: dict[str, bytes], name: str) -> None:
        if name not in files:
            self._error(404, "EntryNotFound", "Entry not found")
            return
        self._send(200, files[name], {"X-Repo-Commit": sha, "ETag": f'"{_oid(files[name])}"'})

    def _error(self, status: int, code: str, message: str) -> None:
        self._send(status, json.dumps({"error": message}).encode(), {"X-Error-Code": code, "X-Error-Message": message})

    def _json(self, value: Any, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


def _oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
