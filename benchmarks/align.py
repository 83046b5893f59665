"""How fast `align` is for an hour of audio, and how much memory long songs take.

    .venv/bin/python benchmarks/align.py speed [MINUTES]   # seconds of one core per second of a mix, in parts
    .venv/bin/python benchmarks/align.py memory            # peak memory of songs of 10 and of 120 minutes

The songs are one synthetic mix again and again, 44.1 kHz stereo FLAC, with its lyrics again and again.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from autosing.pipeline.ingest.synthetic import SyntheticSource
from autosing.pipeline.song import Song
from autosing.pipeline.stages.align import Align
from autosing.pipeline.stages.lyric_mel import LyricMel
from autosing.signal.decode import decode
from autosing.signal.decode_stream import FlacEncoder
from autosing.signal.lyrics import parse_lrc
from autosing.signal.resample import resample
from machine import machine, peak_mb

HZ = 44_100
ONCE_S = 40.0
LENGTHS_MIN = (10, 120)
LRC, RAW, DURATION = "index.lrc_lyrics", "index.raw_lyrics", "probe.duration_s"
LANGUAGE = "lyric_language.lyric_language"


def long_song(minutes: float, with_times: bool = True) -> Song:
    """Returns a song as the stages see it, made block by block."""
    (once,) = SyntheticSource(1, ONCE_S, 5, in_studio=True, snr_db=3.0).songs()
    audio = decode(once.audio)
    block = np.stack([resample(channel, audio.sample_rate, HZ) for channel in audio.samples.T], axis=1)
    turns = round(minutes * 60 / ONCE_S)
    with FlacEncoder(HZ, 2) as encoder:
        for _ in range(turns):
            encoder.write(block)
        data = encoder.finish()
    lines = parse_lrc(once.text["lrc_lyrics"] or "").lines
    rows = [(turn * ONCE_S + line.start_s, line.text) for turn in range(turns) for line in lines]
    stamped = "\n".join(f"[{int(s // 60):02}:{s % 60:05.2f}]{text}" for s, text in rows)
    plain = "\n".join(text for _, text in rows)
    lyrics = {LRC: stamped if with_times else None, RAW: None if with_times else plain}
    values = {"index.audio": data, **lyrics, LANGUAGE: None, DURATION: turns * ONCE_S}
    return Song("a", values, {"mix": "index.audio"}, ("index.audio",))


def bands(song: Song) -> None:
    """Computes what the net hears, and puts it where `align` reads it."""
    (row,) = LyricMel().process([song], None)
    assert isinstance(row, dict), row
    song.values["lyric_mel.lyric_mel"] = row["lyric_mel"].astype(np.float16)


def align(song: Song, **settings: Any) -> None:
    """Aligns a song whose bands are there."""
    stage = Align(**settings)
    (row,) = stage.process([song], stage.setup())
    assert isinstance(row, dict), row


def tell_speed(minutes: float = 10) -> None:
    """Prints the cost of each part of an alignment."""
    stamped, plain = long_song(minutes), long_song(4, with_times=False)
    bands(plain)
    parts: list[tuple[str, float, Callable[[], None]]] = [
        ("lyric_mel, decoding included", minutes * 60, lambda: bands(stamped)),
        ("align, rate", minutes * 60, lambda: align(stamped, method="rate")),
        ("align, ctc, lyrics with times", minutes * 60, lambda: align(stamped)),
        ("align, ctc, lyrics without times, of 4 minutes", 240.0, lambda: align(plain)),
    ]
    print("\n| part | s of one core per s of audio | minutes per hour |\n|---|---|---|")
    for name, seconds, work in parts:
        started = time.process_time()
        work()
        ratio = (time.process_time() - started) / seconds
        print(f"| {name} | {ratio:.4f} | {60 * ratio:.1f} |", flush=True)


def tell_one_memory(folder: Path, minutes: float) -> None:
    """Prints peak memory of bands and alignment, and their encoded bytes, in MB; run in a process of its own."""
    values = {"index.audio": (folder / "audio").read_bytes(), LRC: (folder / "lrc").read_text(), RAW: None}
    song = Song("a", {**values, LANGUAGE: None, DURATION: minutes * 60}, {"mix": "index.audio"}, ("index.audio",))
    bands(song)
    align(song)
    print(peak_mb(), len(song.values["index.audio"]) / 1e6, song.values["lyric_mel.lyric_mel"].nbytes / 1e6)


def tell_memory() -> None:
    """Prints the peak memory of short and long songs."""
    print("\n| minutes | peak, MB | encoded audio, MB | bands, MB |\n|---|---|---|---|")
    for minutes in LENGTHS_MIN:
        with TemporaryDirectory() as folder:
            song = long_song(minutes)  # made here, for making it takes more memory than aligning it
            (Path(folder) / "audio").write_bytes(song.values["index.audio"])
            (Path(folder) / "lrc").write_text(song.values[LRC])
            command = [sys.executable, __file__, "one-memory", folder, str(minutes)]
            told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        print(f"| {minutes} | {' | '.join(f'{float(value):.0f}' for value in told)} |", flush=True)


def main(part: str = "speed", *rest: str) -> None:
    """Runs one of the measurements."""
    torch.set_num_threads(1)
    if part == "one-memory":
        tell_one_memory(Path(rest[0]), float(rest[1]))
        return
    print(machine(("numpy", "torch", "soxr")))
    {"speed": tell_speed, "memory": tell_memory}[part](*map(float, rest))


if __name__ == "__main__":
    main(*sys.argv[1:])
