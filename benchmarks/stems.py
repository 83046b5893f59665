"""How much cleaner voices are after `stems` and `denoise`, how fast, and with how much memory.

    .venv/bin/python benchmarks/stems.py separation   # SI-SDR of the weight-free separator, a table of songs
    .venv/bin/python benchmarks/stems.py parts        # what each of its masks brings, and one that brings nothing
    .venv/bin/python benchmarks/stems.py denoise      # SI-SDR and SNR on known noise
    .venv/bin/python benchmarks/stems.py memory       # peak memory of short and long songs
    .venv/bin/python benchmarks/stems.py speed        # seconds of one core for a second of stereo at 44.1 kHz

SI-SDR is that of the mean of the channels; the mix stands for a separator that does nothing. All constants were chosen
on the parts called `tuning`; the tables are of the others.
"""

import itertools
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import psutil
from scipy.ndimage import median_filter

from autosing.pipeline.song import Song
from autosing.pipeline.stages.denoise import Denoise
from autosing.pipeline.stages.stems import Stems
from autosing.signal.decode import decode, to_mono
from autosing.signal.decode_stream import FlacEncoder
from autosing.signal.denoise import Denoising, denoised
from autosing.signal.resample import resample
from autosing.signal.rows import slices
from autosing.signal.separation import Center, separate_center
from autosing.signal.singer import song
from autosing.signal.stft_blocks import Gains, Spectra, filtered
from autosing.signal.voice import voices
from autosing.training.metrics.waveform import si_sdr
from machine import machine, peak_mb
from mixes import BACKED as BACKED_SONG
from mixes import HZ, SYNTHETIC_SEEDS, Mix, Samples, backed, real, sung_times, synthetic
from songs import SHARED_DATA

Separator = Callable[[Samples], Samples]
ADDRESSES = {"mix": "index.audio"}
MEMORY_HZ = 22_050
NOISES, SNRS_DB = ("white", "pink", "hum"), (10, 20)


def separated(mix: Samples, **settings: Any) -> Samples:
    return np.concatenate(list(separate_center(slices(mix, 10 * HZ), HZ, replace(Center(), **settings))))


def scores(mix: Mix, separator: Separator, where: Any = slice(None)) -> tuple[float, float]:
    """Returns SI-SDR of the mix and of the separated voice, in dB."""
    whole = mix.voice + mix.backing
    found, voice = (x.mean(axis=1)[where] for x in (separator(whole), mix.voice))
    return si_sdr(whole.mean(axis=1)[where], voice), si_sdr(found, voice)


def test_sets() -> Iterator[tuple[str, Iterable[Mix]]]:
    seeds = SYNTHETIC_SEEDS["test"]
    yield "synthetic, stereo", synthetic(seeds, stereo=True)
    yield "synthetic, mono", synthetic(seeds, stereo=False)
    if SHARED_DATA.is_dir():
        yield "real voices over real music, in a room", real(SHARED_DATA, "test")
        yield "real voices over real music, doubled", real(SHARED_DATA, "test", is_doubled=True)


def tell_separation() -> None:
    for name, mixes in test_sets():
        print(f"\n| {name} | mix, dB | separated | gain |\n|---|---|---|---|")
        rows = [(mix.name, *scores(mix, separated)) for mix in mixes]
        for title, before, after in [*rows, ("mean", *np.mean([r[1:] for r in rows], axis=0))]:
            print(f"| {title} | {before:.1f} | {after:.1f} | {after - before:+.1f} |")
    if SHARED_DATA.is_dir():
        tell_backed()


def tell_backed() -> None:
    mix, _, late = backed(SHARED_DATA)
    sung, silent = sung_masks(late, len(mix.voice))
    levels = [level_db(x[where]) for x in (mix.voice, mix.voice + mix.backing) for where in (silent, sung)]
    print(f"\n{mix.name}: the instrumental is {late} samples late. Voice / mix where nobody sings (the error of the")
    print(f"truth): {levels[0] - levels[2]:.1f} dB; where somebody sings: {levels[1] - levels[3]:.1f} dB.")
    print("\n| settings | whole song, mix -> separated | gain | where somebody sings | gain |\n|---|---|---|---|---|")
    for title, settings in (
        ("default", {}),
        ("without the stereo mask", {"stereo": 0.0}),
        ("stereo 1.5", {"stereo": 1.5}),
    ):
        separator = itertools.repeat(separated(mix.voice + mix.backing, **settings))
        parts = [scores(mix, lambda _, s=separator: next(s), where) for where in (slice(None), sung)]  # type: ignore[misc]
        print(f"| {title} | " + " | ".join(f"{a:.1f} -> {b:.1f} | {b - a:+.1f}" for a, b in parts) + " |")


def sung_masks(late: int, length: int) -> tuple[Samples, Samples]:
    """Returns where somebody surely sings, and where surely nobody does, (T,)."""
    sung, silent = np.zeros(length, bool), np.ones(length, bool)
    for start_s, end_s in sung_times(SHARED_DATA / BACKED_SONG):
        for mask, value, margin_s in ((sung, True, 0.3), (silent, False, 1.0)):
            first = int((start_s - margin_s) * HZ) + min(late, 0)
            mask[max(first, 0) : int((end_s + margin_s) * HZ) + min(late, 0)] = value
    return sung, silent


def level_db(samples: Samples) -> float:
    return 10 * math.log10(np.mean(samples.mean(axis=1).astype(np.float64) ** 2))


def harmonic(mix: Samples) -> Samples:
    """Returns what is nearer to harmonic than to percussive sound by median filters (Fitzgerald, 2010)."""

    def rule(spectra: Spectra, asked: slice) -> Gains:
        level = np.abs(spectra.mean(axis=1))
        along_time, along_bins = median_filter(level, (9, 1)), median_filter(level, (1, 23))
        return (1 / (1 + (along_bins / np.maximum(4 * along_time, 1e-9)) ** 4))[asked, None].astype(np.float32)

    return np.concatenate(list(filtered([mix], 2048, rule, 5)))


def tell_parts() -> None:
    """Prints what is left of the gain without some of the masks, and with one of harmonic sound beside them."""
    once = {"reach_s": 0.3, "moments": 30}  # nothing within reach is another moment
    arms: dict[str, Separator] = {
        "nothing below 120 Hz": lambda mix: separated(mix, stereo=0.0, **once),
        "and the stereo mask": lambda mix: separated(mix, **once),
        "and repetition, without the stereo mask": lambda mix: separated(mix, stereo=0.0),
        "all (default)": separated,
        "all, and harmonic over percussive": lambda mix: harmonic(separated(mix)),
    }
    sets = [(name, list(mixes)) for name, mixes in test_sets()]
    print(f"\n| mean gain, dB | {' | '.join(name for name, _ in sets)} |\n|---|{'---|' * len(sets)}")
    for title, separator in arms.items():
        gains = [np.mean([np.subtract(*scores(mix, separator)[::-1]) for mix in mixes]) for _, mixes in sets]
        print(f"| {title} | {' | '.join(f'{g:+.1f}' for g in gains)} |", flush=True)


def noise(kind: str, n_samples: int, sample_rate: int, seed: int) -> Samples:
    """Returns white or pink noise, or mains hum of six harmonics, (T,) at unit power."""
    if kind == "hum":
        times_s = np.arange(n_samples) / sample_rate
        wave = np.sum([np.sin(2 * np.pi * 50 * k * times_s + seed * k) / k for k in range(1, 7)], axis=0)
    else:
        spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(n_samples))
        wave = np.fft.irfft(spectrum / np.arange(1, len(spectrum) + 1) ** (0.5 if kind == "pink" else 0), n_samples)
    return (wave / np.sqrt(np.mean(wave**2))).astype(np.float32)


def clean_voices() -> Iterator[tuple[str, list[Samples]]]:
    """Yields voices (T,) at 24 kHz."""
    yield "synthetic, 4 voices", [song(n, voices(8)[n], 20.0).wave for n in range(4)]
    if SHARED_DATA.is_dir():
        paths = [*sorted(SHARED_DATA.glob("nc/gtsinger/*/*_00_control.flac"))]
        audios = [decode(path.read_bytes()) for path in paths]
        yield f"GTSinger, {len(paths)} voices", [resample(to_mono(a.samples), a.sample_rate, 24_000) for a in audios]


def tell_denoise() -> None:
    def cleaned(wave: Samples) -> Samples:
        return np.concatenate(list(denoised([wave[:, None]], 24_000, Denoising())))[:, 0]

    for name, waves in clean_voices():
        print(f"\n| {name} | SI-SDR gain, dB | SNR gain | lowest SI-SDR gain |\n|---|---|---|---|")
        for kind, snr_db in itertools.product(NOISES, SNRS_DB):
            rows = [
                noise_gains(wave, noise(kind, len(wave), 24_000, n), snr_db, cleaned) for n, wave in enumerate(waves)
            ]
            (gain, snr), lowest = np.mean(rows, axis=0), min(r[0] for r in rows)
            print(f"| {kind} at {snr_db} dB | {gain:+.1f} | {snr:+.1f} | {lowest:+.1f} |")
        nearest_db = min(si_sdr(cleaned(wave), wave) for wave in waves)
        print(f"\nclean voices: SI-SDR of the output to the input at least {nearest_db:.1f} dB")


def noise_gains(voice: Samples, unit: Samples, snr_db: float, clean: Separator) -> tuple[float, float]:
    noisy = voice + unit * np.float32(np.sqrt(np.mean(voice**2)) * 10 ** (-snr_db / 20))
    found = clean(noisy)
    error = [np.mean((x - voice).astype(np.float64) ** 2) for x in (noisy, found)]
    return si_sdr(found, voice) - si_sdr(noisy, voice), 10 * math.log10(error[0] / error[1])


def long_song(minutes: float) -> bytes:
    """Returns a stereo FLAC of synthetic music at 22.05 kHz, made block by block."""
    mix = next(synthetic([0], stereo=True))
    stereo = np.stack([resample(c, HZ, MEMORY_HZ) for c in (mix.voice + mix.backing).T], axis=1)
    with FlacEncoder(MEMORY_HZ, 2) as encoder:
        for _ in range(int(minutes * 60 / 30)):
            encoder.write(stereo)
        return encoder.finish()


def tell_one_memory(kind: str, minutes: float) -> None:
    """Prints the peak memory of a stage on one song, and its encoded bytes; run in a process of its own."""
    stage = {"center": Stems(separate_to="both"), "none": Stems(method="none"), "denoise": Denoise()}[kind]
    data = long_song(minutes)
    (outcome,) = stage.process([Song("a", {"index.audio": data}, ADDRESSES, ("index.audio",))], None)
    assert isinstance(outcome, dict), outcome
    encoded = len(data) + sum(map(len, outcome.values()))
    print(psutil.Process().memory_full_info().rss / 1e6, peak_mb(), encoded / 1e6)


def tell_memory() -> None:
    print("\n| stage | minutes | peak, MB | encoded bytes in and out, MB | MB a minute | without the encoded bytes |")
    print("|---|---|---|---|---|---|")
    for kind, lengths in (("center", (10, 120)), ("denoise", (10, 120)), ("none", (10, 120))):
        told = []
        for minutes in lengths:
            command = [sys.executable, __file__, "one-memory", kind, str(minutes)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
            told.append((minutes, float(output[1]), float(output[2])))
        for minutes, peak, encoded in told:
            print(f"| {kind} | {minutes} | {peak:.0f} | {encoded:.0f} | | |")
        (a, peak_a, encoded_a), (b, peak_b, encoded_b) = told
        slope, net = (peak_b - peak_a) / (b - a), (peak_b - encoded_b - peak_a + encoded_a) / (b - a)
        print(f"| {kind} | slope | | | {slope:.2f} | {net:.2f} |", flush=True)


def tell_speed(seconds: float = 60.0) -> None:
    mix = next(synthetic([0], stereo=True, seconds=seconds))
    with FlacEncoder(HZ, 2) as encoder:
        encoder.write(mix.voice + mix.backing)
        data = encoder.finish()
    print("\n| stage | s of one core per s of stereo | minutes per hour |\n|---|---|---|")
    for title, stage in (
        ("stems, center, vocals", Stems()),
        ("stems, center, both", Stems(separate_to="both")),
        ("stems, none", Stems(method="none")),
        ("denoise", Denoise()),
    ):
        started = time.process_time()
        stage.process([Song("a", {"index.audio": data}, ADDRESSES, ("index.audio",))], None)
        ratio = (time.process_time() - started) / seconds
        print(f"| {title} | {ratio:.4f} | {60 * ratio:.1f} |")


def main(part: str = "separation", *rest: str) -> None:
    if part == "one-memory":
        tell_one_memory(rest[0], float(rest[1]))
        return
    print(machine(("numpy", "scipy", "soxr", "soundfile")))
    {
        "separation": tell_separation,
        "parts": tell_parts,
        "denoise": tell_denoise,
        "memory": tell_memory,
        "speed": tell_speed,
    }[part]()


if __name__ == "__main__":
    main(*sys.argv[1:])
