"""How long a run took, from the times in its TensorBoard files."""

import mmap
import struct
from pathlib import Path

# A record is its length, a checksum, an `Event` message and a checksum; the message begins with its time in seconds.
_HEADER, _FOOTER = 12, 4
_TIME_FIELD = 0x09


def wall_seconds(board: Path) -> float | None:
    """Returns the seconds from the first to the last event, summed over the processes of a run; None where unknown.

    Steps that were lost to a crash and taken again count, the time between processes does not.
    """
    spans = [span for path in sorted(board.glob("events.out.tfevents.*")) if (span := _span(path)) is not None]
    return sum(spans) if spans else None


def _span(path: Path) -> float | None:
    """Returns the seconds between the first and last whole event of a file; None where there is none."""
    if not path.stat().st_size:
        return None
    first = last = None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start, size = 0, len(data)
        while start + _HEADER + 9 <= size:
            (length,) = struct.unpack_from("<Q", data, start)
            message, start = start + _HEADER, start + _HEADER + length + _FOOTER
            if start > size or data[message] != _TIME_FIELD:
                break
            (last,) = struct.unpack_from("<d", data, message + 1)
            first = last if first is None else first
    return None if first is None or last is None else max(last - first, 0.0)
