"""Writes small built sets as the pipeline does, with `tarfile` and NumPy alone."""

import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.models.excitation import sample_f0
from autosing.signal.decode import encode
from autosing.signal.framing import frames, nearest_frames
from autosing.training.loader import Batch
from autosing.training.sample import Sample

RATES = {"units": "50/1", "mel": "375/4", "f0_hz": "100/1", "voiced": "100/1", "energy": "100/1"}
DTYPES = {"units": "uint16", "mel": "float16", "f0_hz": "float32", "voiced": "uint8", "energy": "float32"}
SINGERS = ("ada", "ben")
N_MELS, N_UNITS = 100, 12
AUDIO_HZ = 24_000
DIMS = {"mel": N_MELS, "lyric_mel": 40, "ssl": N_UNITS + 2}
N_CODES = 10
CODES = {"codes_1": ("uint16", "25/2"), "codes_2": ("uint16", "25/1")}
MORE = {
    "codes_3": ("uint16", "50/1"),
    "lyric_mel": ("float16", "50/1"),
    "ssl": ("float16", "50/1"),
    "voice_activity": ("uint8", "50/1"),
    **CODES,
}


@dataclass(frozen=True)
class ToySample:
    """A sample before it is written; `audio` is its wave at 24 kHz, if it has one, `words` have times and lines."""

    key: str
    seconds: float
    singer: str | None
    series: Mapping[str, npt.NDArray[Any]]
    text: str | None = None
    phones: tuple[tuple[str, float, float], ...] = ()
    audio: npt.NDArray[np.float32] | None = None
    words: tuple[tuple[str, float, float, int], ...] | None = None


def toy_sample(number: int, seconds: float) -> ToySample:
    """Returns a learnable sample: each unit has a mel of its own, each singer and each pitch adds a pattern."""
    shapes = np.random.default_rng(0).standard_normal((N_UNITS + len(SINGERS), N_MELS))
    rng = np.random.default_rng([1, number])
    counts = {name: frames(round(seconds * 1000), 1000, Fraction(rate)) for name, rate in RATES.items()}
    rates = {name: Fraction(rate) for name, rate in RATES.items()}
    units = np.repeat(rng.integers(0, N_UNITS, counts["units"]), rng.integers(3, 9, counts["units"]))[: counts["units"]]
    f0_hz = np.repeat(rng.uniform(150, 500, counts["f0_hz"]), 40)[: counts["f0_hz"]]
    voiced = np.repeat(rng.random(counts["f0_hz"]) < 0.7, 25)[: counts["f0_hz"]]
    singer = number % len(SINGERS)

    def at_mel(series: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
        return series[nearest_frames(counts["mel"], rates["mel"], len(series), rates[name])]

    comb = np.cos(2 * np.pi * 35.0 * np.arange(N_MELS) / at_mel(f0_hz, "f0_hz")[:, None])
    mel = shapes[at_mel(units, "units")] + shapes[N_UNITS + singer] + comb * at_mel(voiced, "voiced")[:, None] - 4
    series = {
        "units": units,
        "mel": mel + 0.05 * rng.standard_normal(mel.shape),
        "f0_hz": np.where(voiced, f0_hz, 0),
        "voiced": voiced,
        "energy": np.full(counts["energy"], 0.1),
    }
    key = f"{hashlib.blake2b(str(number).encode(), digest_size=8).hexdigest()}_{number * 1000}"
    typed = {name: array.astype(DTYPES[name]) for name, array in series.items()}
    return ToySample(key, seconds, SINGERS[singer], typed)


def sung_sample(number: int, seconds: float) -> ToySample:
    """Returns a toy sample that is sung: each letter of its word has bands of its own, for 80 ms of every 100."""
    letters = {"a": "aa", "m": "m", "s": "s", "l": "l", "b": "b", "f": "f", "r": "r"}
    patterns = np.random.default_rng(2).standard_normal((len(letters), DIMS["lyric_mel"])) * 2
    rng = np.random.default_rng([3, number])
    order = rng.permutation(len(letters))[: int(seconds / 0.1)]
    bands = 0.1 * rng.standard_normal((round(seconds * 50), DIMS["lyric_mel"]))
    for place, letter in enumerate(order):
        bands[5 * place + 1 : 5 * place + 5] += patterns[letter]
    names = [list(letters)[letter] for letter in order]
    phones = tuple((letters[name], 0.1 * n + 0.02, 0.1 * n + 0.1) for n, name in enumerate(names))
    plain = toy_sample(number, seconds)
    series = {**with_codes(plain).series, "lyric_mel": bands.astype(np.float16)}
    return ToySample(plain.key, seconds, plain.singer, series, "".join(names), phones)


def voiced_sample(number: int, seconds: float) -> ToySample:
    """Returns a toy sample with a sound: harmonics of its pitch that a unit's formant shapes, and noise elsewhere."""
    sample = toy_sample(number, seconds)
    times = np.arange(round(seconds * AUDIO_HZ)) * 100 / AUDIO_HZ - 0.5
    f0_hz = sample_f0(sample.series["f0_hz"], sample.series["voiced"], times)
    turns = np.cumsum(f0_hz / AUDIO_HZ)
    # What an encoder might hear: which unit it is, whether it is voiced, and how high.
    near = nearest_frames(len(sample.series["units"]), Fraction(50), len(sample.series["f0_hz"]), Fraction(100))
    voiced = sample.series["voiced"][near].astype(np.float32)
    height = np.log2(np.maximum(sample.series["f0_hz"][near], 1)) / 4 * voiced
    heard = np.concatenate([np.eye(N_UNITS)[sample.series["units"]], voiced[:, None], height[:, None]], axis=1)
    wave = sum(np.sin(2 * np.pi * k * turns) * 0.5**k for k in range(1, 6)) * (f0_hz > 0)
    noise = 0.02 * np.random.default_rng([4, number]).standard_normal(len(wave))
    sung = np.ones(len(heard), np.uint8)
    series = {**with_codes(sample).series, "ssl": heard.astype(np.float16), "voice_activity": sung}
    return replace(sample, series=series, audio=(0.3 * wave + noise).astype(np.float32))


def with_codes(sample: ToySample) -> ToySample:
    """Returns a sample with two levels of codes: of the unit and the singer, and of the unit and the coarse code."""
    units, singer = sample.series["units"].astype(np.int64), SINGERS.index(sample.singer or SINGERS[0])
    counts = {name: frames(round(sample.seconds * 1000), 1000, Fraction(rate)) for name, (_, rate) in CODES.items()}
    at = {
        name: units[nearest_frames(counts[name], Fraction(rate), len(units), Fraction(50))]
        for name, (_, rate) in CODES.items()
    }
    coarse = (at["codes_1"] + 3 * singer) % N_CODES
    fine = (at["codes_2"] + 2 * coarse[np.minimum(np.arange(counts["codes_2"]) // 2, len(coarse) - 1)]) % N_CODES
    return replace(sample, series={**sample.series, "codes_1": coarse.astype("u2"), "codes_2": fine.astype("u2")})


def toy_samples(n: int, first: int = 0) -> list[ToySample]:
    """Returns samples of half a second to a second."""
    return [toy_sample(i, 0.5 + 0.07 * (i % 8)) for i in range(first, first + n)]


def write_set(folder: Path, splits: Mapping[str, Sequence[Sequence[ToySample]]], **changes: Any) -> Path:
    """Writes a built set, one list of samples per shard of each split; `changes` overwrite the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {
        split: [_write_shard(folder, f"{split}-{i:05d}", s) for i, s in enumerate(shards)]
        for split, shards in splits.items()
    }
    columns: dict[str, dict[str, Any]] = {
        name: {
            "address": f"{name}.{name}",
            "kind": "series",
            "dtype": (DTYPES | {n: dtype for n, (dtype, _) in MORE.items()})[name],
            "rate": rate,
            "dim": DIMS.get(name),
            "unit": "",
            "tied": [],
            "definition": hashlib.sha256(name.encode()).hexdigest(),
        }
        for name, rate in (RATES | {n: rate for n, (_, rate) in MORE.items()}).items()
        if any(name in sample.series for shards in splits.values() for shard in shards for sample in shard)
    }
    manifest = {
        "format": 1,
        "sample": "toy",
        "columns": columns,
        "artefacts": {},
        "audio": ["index.audio"] if all(_have_audio(shards) for shards in splits.values()) else [],
        "contracts": {"mel": {"spec": {"sample_rate": 24000, "n_fft": 1024, "hop": 256, "n_mels": N_MELS}}},
        "singers": sorted({s.singer for shards in splits.values() for shard in shards for s in shard if s.singer}),
        "splits": {
            split: {**_sum(shards), "groups": len(shards), "shards": shards} for split, shards in written.items()
        },
    }
    manifest["digest"] = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({**manifest, **changes}))
    return folder


def lay_side_by_side(samples: Sequence[Sample]) -> Batch:
    """Returns a batch of lengths and of each sample's randomness; it is here so that reading processes find it."""
    lengths = np.array([len(sample.series["units"]) for sample in samples])
    noise = np.array([sample.rng("noise").random() for sample in samples])
    return Batch({"lengths": lengths, "noise": noise}, {}, tuple(s.key for s in samples), float(len(samples)))


def _have_audio(shards: Sequence[Sequence[ToySample]]) -> bool:
    return all(sample.audio is not None for shard in shards for sample in shard)


def _sum(shards: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    return {name: sum(shard[name] for shard in shards) for name in ("samples", "seconds")}


def _write_shard(folder: Path, stem: str, samples: Sequence[ToySample]) -> dict[str, Any]:
    rows, content = [], bytearray()
    for sample in samples:
        raw = _tar_range(sample)
        rows.append((sample.key.encode(), len(content), len(raw), sample.seconds, zlib.crc32(raw)))
        content += raw
    content += bytes(2 * tarfile.BLOCKSIZE)
    (folder / f"{stem}.tar").write_bytes(content)
    names = {"key": "S40", "offset": "int64", "bytes": "int64", "seconds": "float32", "crc32": "uint32"}
    index = {name: np.array([row[i] for row in rows], dtype) for i, (name, dtype) in enumerate(names.items())}
    np.savez(folder / f"{stem}.idx.npz", **index)  # type: ignore[arg-type]
    return {
        "path": f"{stem}.tar",
        "index": f"{stem}.idx.npz",
        "samples": len(samples),
        "seconds": sum(s.seconds for s in samples),
        "bytes": len(content),
        "digest": hashlib.sha256(content).hexdigest(),
    }


def _tar_range(sample: ToySample) -> bytes:
    arrays = io.BytesIO()
    np.savez(arrays, **sample.series)  # type: ignore[arg-type]
    info = {
        "id": sample.key,
        "dataset": "toy",
        "start_s": 0.0,
        "end_s": sample.seconds,
        "seconds": sample.seconds,
        "singer": sample.singer,
        "text": sample.text,
        "values": {"phones": [{"text": t, "start_s": a, "end_s": b} for t, a, b in sample.phones]},
        "residual_s": dict.fromkeys(sample.series, 0.0),
    }
    if sample.words is not None:
        info["words"] = [{"text": t, "start_s": a, "end_s": b, "line": n} for t, a, b, n in sample.words]
    files = {"json": json.dumps(info).encode(), "npz": arrays.getvalue()}
    if sample.audio is not None:
        files["flac"] = encode(sample.audio[:, None], AUDIO_HZ, "FLAC")
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for suffix, content in files.items():
            member = tarfile.TarInfo(f"{sample.key}.{suffix}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    used = sum(512 + -(-len(content) // 512) * 512 for content in files.values())
    return raw.getvalue()[:used]
