"""A proxy before an S3 server that answers as a bad day does: errors, lost and cut answers, late listings."""

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree

Kind = Literal["403", "500", "503", "lost", "reset", "slow", "cut", "late list", "stalled"]
Verb = Literal["GET", "HEAD", "LIST", "PUT", "DELETE", "POST"]
CODES = {
    "403": ("AccessDenied", "Access Denied"),
    "500": ("InternalError", "We encountered an internal error."),
    "503": ("SlowDown", "Reduce your rate."),
}
HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and how often.

    Args:
        kind: an error code; `lost`: the request is carried out and the connection closed before the answer; `reset`: it
            is closed before the request is carried out; `slow`; `cut`: half of the answer comes; `late list`: objects
            are in no listing for a while after they were written; `stalled`: half of what is sent is taken.
        share: of the requests that meet it, and `most` of them.
        verbs: of which requests.
        seconds: how slow, or how late.
    """

    kind: Kind
    share: float = 0.25
    most: int | None = None
    verbs: Sequence[Verb] = ("GET", "HEAD", "LIST", "PUT", "DELETE", "POST")
    seconds: float = 0.3


class FaultyS3(ThreadingHTTPServer):
    """The proxy; `counts` tells how many requests of each verb came and how many faults of each kind were made, `puts`
    how often each object was written; `only_late` is how the names end of the only objects that are late in listings.

    Args:
        upstream_port: of the server on this machine.
        bucket: on it.
        seed: of the order in which requests meet faults.
    """

    daemon_threads = True

    def __init__(self, upstream_port: int, bucket: str, seed: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream_port, self.bucket, self.faults = upstream_port, bucket, list[Fault]()
        self.counts: Counter[str] = Counter()
        self._random, self._lock = random.Random(seed), threading.Lock()
        self._written_s: dict[str, float] = {}
        self.puts: Counter[str] = Counter()
        self.is_stalled = threading.Event()
        self.only_late = ""
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        """The address of a data set in the bucket, through the proxy."""
        return f"s3://{self.bucket}/set?scheme=http&endpoint_override=127.0.0.1:{self.server_port}&retry_s=20"

    def __enter__(self) -> "FaultyS3":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing: clients that are killed close their connections."""

    def next_fault(self, verb: str) -> Fault | None:
        """Returns what a request meets."""
        with self._lock:
            self.counts[verb] += 1
            for fault in self.faults:
                is_over = fault.most is not None and self.counts[fault.kind] >= fault.most
                if is_over or verb not in fault.verbs or fault.kind == "late list":
                    continue
                if self._random.random() < fault.share:
                    self.counts[fault.kind] += 1
                    return fault
        return None

    def wrote(self, path: str) -> None:
        """Takes in that an object was written just now."""
        with self._lock:
            self._written_s[unquote(path)] = time.monotonic()
            self.puts[unquote(path)] += 1

    def without_late(self, body: bytes) -> bytes:
        """Returns a listing without the objects that are too young for it."""
        late_s = max((f.seconds for f in self.faults if f.kind == "late list"), default=0.0)
        if not late_s:
            return body
        root = ElementTree.fromstring(body)
        space = root.tag.partition("}")[0] + "}" if root.tag.startswith("{") else ""
        for item in root.findall(f"{space}Contents"):
            written_s = self._written_s.get(f"/{self.bucket}/{unquote(item.findtext(f'{space}Key') or '')}", -1e9)
            is_late = time.monotonic() - written_s < late_s
            if is_late and (item.findtext(f"{space}Key") or "").endswith(self.only_late):
                root.remove(item)
                with self._lock:
                    self.counts["late list"] += 1
        for folder in root.findall(f"{space}CommonPrefixes"):
            inside = f"/{self.bucket}/{unquote(folder.findtext(f'{space}Prefix') or '')}"
            ages_s = [time.monotonic() - s for path, s in self._written_s.items() if path.startswith(inside)]
            if ages_s and max(ages_s) < late_s and not self.only_late:
                root.remove(folder)
        return ElementTree.tostring(root)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FaultyS3

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _pass_on(self) -> None:
        fault = self.server.next_fault(self._verb())
        kind, n_sent = fault.kind if fault else None, int(self.headers.get("Content-Length") or 0)
        if kind == "stalled":
            self.rfile.read(n_sent // 2)
            self.server.is_stalled.set()
            self.rfile.read(n_sent)
        sent = b"" if kind == "stalled" else self.rfile.read(n_sent)
        if kind in ("reset", "stalled") or len(sent) < n_sent:
            self.close_connection = True
            return
        if kind in CODES:
            self._answer(int(kind), {}, self._error(kind))
            return
        if fault and kind == "slow":
            time.sleep(fault.seconds)
        status, headers, body = self._ask(sent)
        if kind == "lost":
            self.close_connection = True
            return
        self._answer(status, headers, body, is_cut=kind == "cut")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._pass_on
        raise AttributeError(name)

    def _verb(self) -> str:
        path = urlsplit(self.path)
        is_list = self.command == "GET" and ("list-type" in parse_qs(path.query) or path.path.count("/") == 1)
        return "LIST" if is_list else self.command

    def _error(self, kind: str) -> bytes:
        code, message = CODES[kind]
        return f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()

    def _ask(self, sent: bytes) -> tuple[int, dict[str, str], bytes]:
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream_port, timeout=60)
        upstream.request(self.command, self.path, sent, dict(self.headers.items()))
        answer = upstream.getresponse()
        body = answer.read()
        upstream.close()
        path = urlsplit(self.path).path
        if self.command == "PUT" and answer.status < 300:
            self.server.wrote(path)
        if self._verb() == "LIST" and answer.status == 200:
            body = self.server.without_late(body)
        headers = {k: v for k, v in answer.getheaders() if k.lower() not in HOP}
        if self.command == "HEAD":
            headers["Content-Length"] = answer.getheader("Content-Length") or "0"
        return answer.status, headers, body

    def _answer(self, status: int, headers: dict[str, str], body: bytes, is_cut: bool = False) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.command != "HEAD" or "Content-Length" not in headers:
            self.send_header("Content-Length", str(0 if self.command == "HEAD" else len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(body[: len(body) // 2] if is_cut else body)
        self.close_connection = self.close_connection or is_cut
