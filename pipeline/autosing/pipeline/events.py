"""The log of a run beside its data: what it did and when, one JSON object a line. Reading it needs only storage."""

import calendar
import json
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from autosing.pipeline.store import Store

EVENTS = "events"
"""The folder of a data set with a file for each run."""
BEAT_S = 30.0
"""How often a run that is at work says so."""
SILENT_S = 300.0
"""After how long without a word a run is taken for dead."""
UPLOAD_EVERY_S, UPLOAD_S_PER_MB = 10.0, 10.0
"""An object store can't append: the whole file is uploaded again, the more rarely the longer it is."""
TAIL_BYTES = 256 << 10
NEWEST = 3
_STAMP = "%Y-%m-%dT%H:%M:%SZ"


class EventLog:
    """Writes the log of one run; where that can't be done, the run goes on without it.

    Args:
        store: of the data set.
        upload_every_s: seconds between uploads to an object store at least.
    """

    def __init__(self, store: Store, upload_every_s: float = UPLOAD_EVERY_S) -> None:
        self.name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(4)}.jsonl"
        self._store, self._upload_every_s = store, upload_every_s
        self._uploaded = -1e9
        self._file: IO[str] | None = None
        self._scratch: Path | None = None
        with suppress(OSError, pa.ArrowException):
            self._file = self._open()

    def note(self, event: str, **facts: Any) -> None:
        """Adds an event to the log."""
        if self._file is None:
            return
        line = {"time": time.strftime(_STAMP, time.gmtime()), "event": event, **facts}
        try:
            self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
            self._file.flush()
            self._upload(event == "ended")
        except (OSError, pa.ArrowException):  # The columns' own errors tell of a bad disk; a log is no reason to end.
            self.close()

    def close(self) -> None:
        """Ends writing."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _open(self) -> IO[str]:
        if self._store.is_local:
            folder = Path(self._store.path(EVENTS))
            folder.mkdir(exist_ok=True)
        else:
            folder = self._scratch = Path(tempfile.mkdtemp(prefix="autosing-"))
        return (folder / self.name).open("w", encoding="utf-8")

    def _upload(self, is_last: bool) -> None:
        if self._scratch is None:
            return
        written = self._scratch / self.name
        pause_s = self._upload_every_s + UPLOAD_S_PER_MB * written.stat().st_size / 1e6
        if is_last or time.monotonic() - self._uploaded > pause_s:
            with self._store.writing(EVENTS, self.name) as draft:
                shutil.copyfile(written, draft)
            self._uploaded = time.monotonic()


def started_facts(partitions: int, targets: Sequence[str]) -> dict[str, Any]:
    """Returns what the first event of a run tells."""
    return {"partitions": partitions, "targets": list(targets), "host": socket.gethostname(), "pid": os.getpid()}


@dataclass(frozen=True)
class RunSeen:
    """What the log of a run tells of it.

    Args:
        name: of the run.
        silent_s: seconds since it was last heard.
        last: its last event.
        working: songs behind it and all songs of the partitions in hand, by number, where it told them.
    """

    name: str
    silent_s: float
    last: Mapping[str, Any]
    working: Mapping[str, Sequence[int]]

    @property
    def is_at_work(self) -> bool:
        """Whether it has not ended, as far as can be known."""
        return self.last["event"] != "ended" and self.silent_s < SILENT_S

    def __str__(self) -> str:
        """Returns one line that tells where it is."""
        told = {k: v for k, v in self.last.items() if k in ("partition", "message", "exit_code", "error")}
        state = "ended" if self.last["event"] == "ended" else "at work" if self.is_at_work else "killed?"
        songs = "".join(f"  partition {n}: {done}/{of} songs" for n, (done, of) in self.working.items())
        facts = "".join(f" {k} {v}" for k, v in told.items())
        return f"run {self.name}: {state}, {self.last['event']}{facts} {self.silent_s:.0f} s ago{songs}"


def runs_seen(store: Store, newest: int = NEWEST) -> list[RunSeen]:
    """Returns the newest runs of a data set, the oldest of them first; needs nothing but their logs."""
    names = [name for name in store.files(EVENTS) if name.endswith(".jsonl") and not name.startswith(".")]
    return [seen for name in names[-newest:] if (seen := _seen(store, name)) is not None]


def _seen(store: Store, name: str) -> RunSeen | None:
    events = _events(_tail(store, name))
    if not events:
        return None
    working = next((e.get("songs", {}) for e in reversed(events) if e["event"] == "working"), {})
    ended = {str(e["partition"]) for e in events if e["event"] == "done"}
    in_hand = {n: songs for n, songs in working.items() if n not in ended and events[-1]["event"] != "ended"}
    heard_s = calendar.timegm(time.strptime(events[-1]["time"], _STAMP))
    silent_s = max(time.time() - heard_s, 0.0)
    return RunSeen(name.removesuffix(".jsonl"), silent_s, events[-1], in_hand)


def _tail(store: Store, name: str) -> bytes:
    with store.open(EVENTS, name) as file:
        file.seek(max(file.size() - TAIL_BYTES, 0))
        return bytes(file.read())


def _events(tail: bytes) -> list[dict[str, Any]]:
    """Returns the events of whole lines; the first may have lost its head, and the last of a killed run its end."""
    found = []
    for line in tail.decode("utf-8", "replace").splitlines():
        with suppress(ValueError, TypeError, KeyError):
            event = json.loads(line)
            time.strptime(event["time"], _STAMP)
            found.append({**event, "event": str(event["event"])})
    return found
