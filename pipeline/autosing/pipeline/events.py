"""The event log of a run, as JSON lines beside the data: what was begun, done, failed, fitted and how the run ended.

A log is for people and dashboards. Nothing is decided by it, and a run goes on where it can't be written.
"""

import json
import os
import socket
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from autosing.pipeline.leftovers import scratch_prefix
from autosing.pipeline.store import Store

RUNS, EVENTS = "runs", "events.jsonl"
UPLOAD_EVERY_S = 30.0


class EventLog:
    """Writes the events of a run: to its file where the data set is a folder, else uploaded every 30 s and at the end.

    Args:
        store: of the data set.
    """

    def __init__(self, store: Store) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self._store, self._parts = store, (RUNS, f"{stamp}-{socket.gethostname()}-{os.getpid()}", EVENTS)
        self._uploaded = time.monotonic()

    def __enter__(self) -> "EventLog":
        self._scratch = None if self._store.is_local else tempfile.TemporaryDirectory(prefix=scratch_prefix())
        folder = Path(self._scratch.name if self._scratch else self._store.path(*self._parts[:-1]))
        self._path = folder / EVENTS
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        said = {} if error is None else {"error": f"{type(error).__name__}: {error}"}
        self.tell("stopped" if error else "finished", **said)
        if self._scratch:
            self._upload()
            self._scratch.cleanup()
            # Of workers that were killed after the last pass began, which would have done it.
            self._store.remove_leftovers(RUNS, ())

    def tell(self, event: str, **facts: Any) -> None:
        """Adds an event with its time."""
        line = json.dumps({"time_s": round(time.time(), 3), "event": event, **facts}) + "\n"
        with suppress(OSError), self._path.open("a", encoding="utf-8") as file:
            file.write(line)
        if self._scratch and time.monotonic() - self._uploaded > UPLOAD_EVERY_S:
            self._upload()

    def _upload(self) -> None:
        self._uploaded = time.monotonic()
        with suppress(OSError), self._store.writing(*self._parts) as path:
            path.write_bytes(self._path.read_bytes())


@dataclass
class RunSeen:
    """A run by its log.

    Args:
        name: of its folder: when it began, on which host, as which process.
        done: passes over partitions that were finished.
        failed: partitions that could not be processed, with the reason.
        own_errors: songs whose error arose in it.
        audio_s: seconds of audio that were passed.
        last: its last event, with its time.
    """

    name: str
    done: int = 0
    failed: dict[int, str] = field(default_factory=dict)
    own_errors: int = 0
    audio_s: float = 0.0
    last: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        told = f"{self.name}, {self.done} passes, {self.audio_s / 3600:.2f} h of audio, {self.own_errors} errors"
        failed = f", {len(self.failed)} partitions failed" if self.failed else ""
        ago_s = max(time.time() - self.last.get("time_s", time.time()), 0.0)
        return f"{told}{failed}; {self.last.get('event', 'nothing told yet')} {ago_s:.0f} s ago"

    def add(self, event: dict[str, Any]) -> None:
        """Takes in an event."""
        kind, _ = event["event"], float(event["time_s"])
        self.last = event
        if kind == "done":
            self.done += 1
            self.audio_s += event["audio_s"]
            self.own_errors += sum(part["own_errors"] for part in event["instances"].values())
        elif kind == "failed":
            self.failed[event["partition"]] = event["reason"]


def last_run(store: Store) -> RunSeen | None:
    """Returns what the log of the latest run tells; a line that is half written, or no event, is passed over."""
    names = sorted(store.folders(RUNS))
    if not names:
        return None
    seen = RunSeen(names[-1])
    for line in (store.read_text(RUNS, names[-1], EVENTS) or "").splitlines():
        with suppress(ValueError, TypeError, KeyError, AttributeError):
            seen.add(json.loads(line))
    return seen
