"""What a song may take: time and memory; and how much work a kill may cost."""

import os
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

from autosing.signal.errors import UsageError

CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
HALF = 0.5


@dataclass(frozen=True)
class Bounds:
    """The section `limits` of `datasets.yaml`.

    Args:
        song_s: seconds that a stage may take for a song, however short that is.
        song_lengths: how many times its own length it may take, where that is more.
        memory_gb: of a worker's process, in GB; None: half of what the machine, or its container, has.
        journal_s: seconds of work that may be lost when a pass is killed.
    """

    song_s: float = 600.0
    song_lengths: float = 20.0
    memory_gb: float | None = None
    journal_s: float = 60.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not value > 0:
                raise UsageError(f"limits.{field.name}: {value:g} is not more than 0; leave it out for the default")

    def time_s(self, audio_s: float) -> float:
        """Returns how many seconds a stage may take for songs that last `audio_s` together."""
        return max(self.song_s, self.song_lengths * audio_s)

    @property
    def memory_bytes(self) -> float:
        """How many bytes a worker's process may take."""
        return HALF * machine_bytes() if self.memory_gb is None else self.memory_gb * 1e9


def machine_bytes() -> float:
    """Returns the memory of this machine, or of the container that this process is in."""
    found = [float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))]
    for path in CGROUP_LIMITS:
        with suppress(OSError, ValueError):  # "max" is no number.
            found.append(float(Path(path).read_text()))
    return min(found)


def used_bytes(pid: int) -> float:
    """Returns the memory that a process has taken, files mapped into it aside; 0 where nobody tells."""
    with suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return float(line.split()[1]) * 1024
    return 0.0
