"""Notes of MIDI files of one voice and one tempo: as much of the format as the scores of PJS need."""

import io
import struct
from collections.abc import Iterator


def notes(data: bytes) -> Iterator[tuple[float, float, int]]:
    """Yields start, end (s) and number of the notes of a MIDI file of one voice and one tempo."""
    division = struct.unpack(">H", data[12:14])[0]
    events = [event for track in _tracks(data) for event in _events(track)]
    tick_s = next(int.from_bytes(told) for _, kind, told in events if kind == "tempo") / division / 1e6
    started: dict[int, int] = {}
    for tick, (number, velocity) in ((tick, told) for tick, kind, told in events if kind == "note"):
        if velocity:
            started[number] = tick
        else:
            yield started.pop(number) * tick_s, tick * tick_s, number


def _tracks(data: bytes) -> Iterator[bytes]:
    """Yields the bytes of the tracks."""
    position = 14
    while position < len(data):
        size = int.from_bytes(data[position + 4 : position + 8])
        yield data[position + 8 : position + 8 + size]
        position += 8 + size


def _events(track: bytes) -> Iterator[tuple[int, str, bytes]]:
    """Yields tick, kind and data of the tempi and of the notes' starts and ends (number, velocity; 0 ends a note)."""
    stream = io.BytesIO(track)
    tick = status = 0
    while stream.tell() < len(track):
        tick += _number(stream)
        first = stream.read(1)[0]
        if first < 0x80:  # the status of the event before holds on
            stream.seek(-1, io.SEEK_CUR)
        else:
            status = first
        if status >= 0xF0:
            kind = stream.read(1)[0] if status == 0xFF else 0
            told = stream.read(_number(stream))
            if kind == 0x51:
                yield tick, "tempo", told
        else:
            told = stream.read(1 if status >> 4 in (0xC, 0xD) else 2)
            if status >> 4 in (0x8, 0x9):
                yield tick, "note", told if status >> 4 == 0x9 else bytes([told[0], 0])


def _number(stream: io.BytesIO) -> int:
    """Reads a number of 7 bits a byte, the last byte below 128."""
    number = 0
    while (byte := stream.read(1)[0]) >= 0x80:
        number = number << 7 | byte & 0x7F
    return number << 7 | byte
