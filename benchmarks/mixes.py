"""Mixes whose voice is known: synthetic songs, real voices over real music, and a song that comes with its backing."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.fft import irfft, rfft
from scipy.signal import butter, fftconvolve, sosfilt

from autosing.signal.decode import decode, to_mono
from autosing.signal.resample import resample
from autosing.signal.score import Score, accompaniment
from autosing.signal.singer import balance, song
from autosing.signal.voice import voices

HZ = 44_100
Samples = npt.NDArray[np.float32]

BACKED = "nc/ultrastar/pornophonique_space_invaders"
MUSIC = {"tuning": "nc/jamendolyrics", "test": "nc/ultrastar"}
VOICES = {"tuning": ("pjs/*/*_song.flac", "vocadito/*.wav"), "test": ("nc/gtsinger/*/*_control.flac",)}
SYNTHETIC_SEEDS = {"tuning": range(100, 106), "test": range(8)}
SHORTEST_GAP_S, LONGEST_GAP_S = 11.0, 25.0


@dataclass(frozen=True)
class Mix:
    """A voice and its backing, each (T, C) at 44.1 kHz; their sum is the mix."""

    name: str
    voice: Samples
    backing: Samples


def synthetic(seeds: Sequence[int], stereo: bool, seconds: float = 30.0) -> Iterator[Mix]:
    """Yields synthetic songs with an accompaniment as loud as the voice, mono or with the instruments spread."""
    for seed in seeds:
        made = song(seed, voices(8)[seed % 8], seconds, None, HZ)
        backing = _spread(made.score, seed) if stereo else accompaniment(made.score, HZ, seed)[:, None]
        voice = np.repeat(made.wave[:, None], backing.shape[1], axis=1)
        vocals, band = balance(voice.reshape(-1), backing.reshape(-1), 0.0)
        yield Mix(f"synthetic {seed}", vocals.reshape(voice.shape), band.reshape(voice.shape))


def _spread(score: Score, seed: int) -> Samples:
    """Returns two accompaniments to the left and right, each decorrelated on the other side, and a central bass."""
    left, right, bass = (accompaniment(score, HZ, seed + k).astype(np.float64) for k in (0, 1000, 2000))
    n = int(0.01 * HZ)
    echo = np.random.default_rng(seed).standard_normal(n) * np.exp(-np.arange(n) / (0.003 * HZ))
    echo /= np.sqrt(np.sum(echo**2))
    bass = sosfilt(butter(4, 200, fs=HZ, output="sos"), bass)
    sides = (0.9 * a + 0.3 * fftconvolve(b, echo)[: len(b)] + bass for a, b in ((left, right), (right, left)))
    return np.stack(list(sides), axis=1).astype(np.float32)


def real(data: Path, part: str, is_doubled: bool = False) -> Iterator[Mix]:
    """Yields parts of real songs where nobody sings, with real voices over them, as loud.

    The voice is in a room of 0.4 s, or doubled to both sides as produced voices often are.
    """
    choir = [_mono(path) for pattern in VOICES[part] for path in sorted(data.glob(pattern))]
    gaps = [g for folder in sorted((data / MUSIC[part]).iterdir()) if folder.is_dir() for g in _gaps(folder)]
    for number, (name, backing) in enumerate(gaps):
        sung = np.concatenate([choir[(3 * number + k) % len(choir)] for k in range(4)])
        voice = (_doubled if is_doubled else _in_room)(np.resize(sung, len(backing)))
        voice *= np.sqrt(np.mean(backing**2) / np.mean(voice**2))
        yield Mix(name, voice, backing)


def _mono(path: Path) -> Samples:
    audio = decode(path.read_bytes())
    return resample(to_mono(audio.samples), audio.sample_rate, HZ)


def _gaps(folder: Path) -> Iterator[tuple[str, Samples]]:
    """Yields name and samples of the long parts of a song without words."""
    words = sung_times(folder)
    audio = decode(next(p for p in sorted(folder.iterdir()) if p.name.startswith("audio.")).read_bytes())
    end_s = 0.0
    for start_s, stop_s in [*words, (len(audio.samples) / HZ, 0.0)]:
        if start_s - end_s >= SHORTEST_GAP_S:
            first, last = end_s + 1, min(start_s - 1, end_s + 1 + LONGEST_GAP_S)
            yield f"{folder.name} {first:.0f} s", audio.samples[int(first * HZ) : int(last * HZ)]
        end_s = max(end_s, stop_s)


def sung_times(folder: Path) -> list[tuple[float, float]]:
    """Returns start and end in seconds of the words of an annotated song; half a second where no end is known."""
    with (folder / "words.csv").open(newline="") as file:
        rows = [(float(r["word_start"]), float(r["word_end"] or "nan")) for r in csv.DictReader(file)]
    return [(start, end if end == end else start + 0.5) for start, end in rows]


def _in_room(wave: Samples) -> Samples:
    """Returns a voice (T, 2) with an echo that differs between the channels and is 10 dB below it."""
    n = int(0.5 * HZ)
    noise = np.random.default_rng(0).standard_normal((2, n)) * np.exp(-np.arange(n) / (0.12 * HZ))
    echoes = [fftconvolve(wave, h / np.sqrt(np.sum(h**2)))[: len(wave)] for h in noise]
    return np.stack([wave + 0.3 * echo for echo in echoes], axis=1).astype(np.float32)


def _doubled(wave: Samples) -> Samples:
    """Returns a voice (T, 2) with a wavering copy at half its level on each side, 14 and 19 ms late."""
    times = np.arange(len(wave))
    copies = []
    for late_ms, waver_hz, phase in ((14, 0.3, 0), (19, 0.37, 2)):
        delay_ms = late_ms + 2 * np.sin(2 * np.pi * waver_hz * times / HZ + phase)
        copies.append(np.interp(times - delay_ms * HZ / 1000, times, wave, left=0))
    return np.stack([wave + 0.5 * copy for copy in copies], axis=1).astype(np.float32)


def backed(data: Path) -> tuple[Mix, Samples, int]:
    """Returns the song that comes with its instrumental, the latter as it is, and by how much it is late (samples).

    The two are different masters. The instrumental is therefore moved to where it correlates best, filtered by a 2 x 2
    matrix for each bin of 93 ms spectra (least squares over 8 s, anew every 2 s), and taken off: the rest is the voice.
    """
    folder = data / BACKED
    mix, instrumental = (decode((folder / f"{n}.mp3").read_bytes()).samples for n in ("audio", "instrumental"))
    late = _lag(instrumental, mix)
    mix, instrumental = (mix[-late:], instrumental) if late < 0 else (mix, instrumental[late:])
    length = min(len(mix), len(instrumental))
    mix, instrumental = mix[:length], instrumental[:length]
    backing = matched(instrumental, mix)
    return Mix(folder.name, mix - backing, backing), instrumental, late


def _lag(later: Samples, earlier: Samples, around_s: float = 60.0, seconds: float = 20.0) -> int:
    start, n = int(around_s * HZ), int(seconds * HZ)
    size = 1 << (3 * n).bit_length()
    pieces = [x[start - extra : start + n + extra].mean(axis=1) for x, extra in ((later, n // 2), (earlier, 0))]
    correlation = irfft(rfft(pieces[0], size) * np.conj(rfft(pieces[1], size)), size)
    return int(np.argmax(np.abs(correlation[: 2 * n]))) - n // 2


def matched(source: Samples, target: Samples, size: int = 4096, around: int = 172, every: int = 86) -> Samples:
    """Returns `source` (T, 2) filtered to be as near to `target` as a slowly changing 2 x 2 matrix for each bin can."""
    hop, length = size // 4, len(source)
    window = np.hanning(size + 1)[:-1].astype(np.float32)
    x, y = (_frames(np.pad(s, ((size, size), (0, 0))), size, hop, window) for s in (source, target))
    out = np.zeros((length + 3 * size, 2), np.float32)
    for start in range(0, len(x), every):
        near = slice(max(start - around, 0), start + every + around)
        own = np.einsum("fcn,fdn->ncd", x[near], x[near].conj())
        cross = np.einsum("fcn,fdn->ncd", y[near], x[near].conj())
        own += (1e-4 * np.trace(own, axis1=1, axis2=2).real[:, None, None] + 1e-9) * np.eye(2)
        matrix = cross @ np.linalg.inv(own)
        waves = irfft(np.einsum("ncd,fdn->fcn", matrix, x[start : start + every]), size, axis=2) * window
        for k, wave in enumerate(waves, start):
            out[k * hop : k * hop + size] += wave.T / 1.5  # four squared Hann windows add up to 1.5
    return out[size : size + length]


def _frames(samples: Samples, size: int, hop: int, window: Samples) -> npt.NDArray[np.complex64]:
    frames = np.lib.stride_tricks.sliding_window_view(samples, size, axis=0)[::hop]
    spectra: npt.NDArray[np.complex64] = rfft(frames * window, axis=2).astype(np.complex64)
    return spectra
