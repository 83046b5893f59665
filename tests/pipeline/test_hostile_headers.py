"""Files whose headers claim what they don't hold: nothing is believed, no memory is taken, nothing hangs."""

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from toy_stages import tone

from autosing.pipeline.dataset import Dataset
from autosing.pipeline.ingest.folder import header_seconds
from autosing.pipeline.ingest.partitions import NewSong, append_songs
from autosing.signal.decode import encode

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of memory of a process alone"),
]
RATE = 24_000
MOST_MB = 500
PROCESS = """
import sys
from pathlib import Path
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.settings import Project
entry = Project().dataset(sys.argv[1])
# By the rule, so that the peak is not that of torch being loaded.
graph = Project().graph(entry, ["align.method=rate"])
process(Dataset(entry.path), graph, ["quality", "energy", "cuts"], RunOptions("local"))
(peak_kb,) = (line.split()[1] for line in Path("/proc/self/status").open() if line.startswith("VmHWM"))
print(int(peak_kb) // 1024)
"""
"""Processes a data set and tells the peak of memory in MB."""


def pcm() -> bytes:
    return bytes((np.sin(np.arange(RATE) * 0.06) * 9999).astype("<i2"))


def riff(rate: int = RATE, channels: int = 1, bits: int = 16, n_bytes: int = 2 * RATE) -> bytes:
    """Returns a WAVE file of a second with the given claims."""
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * 2 & 0xFFFFFFFF, channels * 2 & 0xFFFF, bits)
    head = b"RIFF\xff\xff\xff\xffWAVEfmt " + struct.pack("<I", len(form)) + form
    return head + b"data" + struct.pack("<I", n_bytes) + pcm()


def rf64() -> bytes:
    sizes = struct.pack("<QQQI", *[2**63 - 1] * 3, 0)
    form = struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)
    chunks = b"ds64" + struct.pack("<I", len(sizes)) + sizes + b"fmt " + struct.pack("<I", len(form)) + form
    return b"RF64\xff\xff\xff\xffWAVE" + chunks + b"data\xff\xff\xff\xff" + pcm()


def caf() -> bytes:
    form = struct.pack(">d4sIIIII", RATE, b"lpcm", 2, 2, 1, 1, 16)
    return (
        b"caff" + struct.pack(">HH", 1, 0) + b"desc" + struct.pack(">q", len(form)) + form
        + b"data" + struct.pack(">q", 2**63 - 1) + bytes(4) + pcm()
    )  # fmt: skip


def w64() -> bytes:
    def chunk(name: bytes, size: int) -> bytes:
        return name + bytes.fromhex("f3acd3118cd100c04f8edb8a") + struct.pack("<q", size)

    form = struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)
    riff_id = b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000") + struct.pack("<q", 2**63 - 1)
    wave_id = b"wave" + bytes.fromhex("f3acd3118cd100c04f8edb8a")
    return riff_id + wave_id + chunk(b"fmt ", 24 + len(form)) + form + chunk(b"data", 2**63 - 1) + pcm()


def flac() -> bytes:
    """Returns a FLAC file that claims 2^36 - 1 samples, the most that it can."""
    content = bytearray(encode(np.zeros(RATE, np.float32), RATE, "FLAC"))
    content[21] |= 0x0F
    content[22:26] = b"\xff" * 4
    return bytes(content)


HOSTILE = {
    "4 GB.wav": riff(n_bytes=2**32 - 1),
    "2^63.rf64": rf64(),
    "2^63.caf": caf(),
    "2^63.w64": w64(),
    "2^36.flac": flac(),
    "4 GB.au": b".snd" + struct.pack(">IIIII", 24, 2**32 - 2, 3, RATE, 1) + pcm(),
    "rate 0.wav": riff(rate=0),
    "rate 2^32.wav": riff(rate=2**32 - 1),
    "channels 0.wav": riff(channels=0),
    "channels 65535.wav": riff(channels=65_535),
    "bits 0.wav": riff(bits=0),
    "bits 65535.wav": riff(bits=65_535),
}


def test_what_a_header_claims_costs_nothing(tmp_path: Path) -> None:
    songs = [NewSong("good.wav", tone(100)), *(NewSong(id, audio) for id, audio in HOSTILE.items())]
    url = str(tmp_path / "set")
    append_songs(url, songs)
    done = subprocess.run([sys.executable, "-c", PROCESS, url], capture_output=True, text=True, timeout=100, check=True)
    assert int(done.stdout) < MOST_MB
    rows = {r.id: r for r in Dataset(url).read(["probe.n_samples", "energy", "cuts"])}
    assert list(rows) == [s.id for s in songs]
    assert rows.pop("good.wav").errors == {}
    for row in rows.values():
        n_samples = row.values["probe.n_samples"]
        assert ("probe" in row.errors) == (n_samples is None), row.id
        assert n_samples is None or n_samples <= RATE, row.id
    assert {rows[id].values["probe.n_samples"] for id in ("4 GB.wav", "2^63.rf64", "2^36.flac")} == {RATE}


@pytest.mark.parametrize("id", [id for id in HOSTILE if not id.startswith("2^63")])
def test_a_length_that_nobody_sings_is_not_believed(id: str) -> None:
    assert 0 <= header_seconds(HOSTILE[id]) < 24 * 3600
