"""How well `quality` knows copies of a recording, the noise in one, and `lyric_language` a language.

    .venv/bin/python benchmarks/quality.py duplicates   # copies that are found, files that are taken for one
    .venv/bin/python benchmarks/quality.py noise        # estimated SNR beside the true one
    .venv/bin/python benchmarks/quality.py language     # of the lyrics of real songs

Copies are made of every real song: as MP3, 9 dB softer, without its first 3.3 s, the middle two thirds, and mono at
16 kHz. Takes of one song by one singer (GTSinger) are no copies; microphones of one performance (multivox) are.
"""

import itertools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from autosing.pipeline.ingest.source import Source
from autosing.pipeline.ingest.sources import LAYOUTS
from autosing.signal.decode import decode, encode, to_mono
from autosing.signal.fingerprint import SAMPLE_RATE, Landmarks, fingerprint, same_recordings
from autosing.signal.language import language, load_identifier
from autosing.signal.lyrics import plain_lines
from autosing.signal.noise import snr_db
from autosing.signal.resample import resample
from machine import machine
from songs import AUDIO, SHARED_DATA
from stems import clean_voices, noise

MUSIC = ("ultrastar", "nc/ultrastar", "nc/jamendolyrics", "pjs", "nc/gtsinger", "multivox", "dagstuhl_choirset")
SUNG = ("ultrastar", "nc/ultrastar", "nc/jamendolyrics", "pjs")
HZ = 24_000
SNRS_DB = (0, 10, 20, 30, 40)
Wave = np.ndarray[tuple[int], np.dtype[np.float32]]

COPIES: Mapping[str, Callable[[Wave], Wave]] = {
    "MP3": lambda wave: to_mono(decode(encode(wave, HZ, "MP3")).samples),
    "9 dB softer": lambda wave: wave * np.float32(10 ** (-9 / 20)),
    "without 3.3 s": lambda wave: wave[int(3.3 * HZ) :],
    "middle two thirds": lambda wave: wave[len(wave) // 6 : -len(wave) // 6],
    "at 16 kHz": lambda wave: resample(resample(wave, HZ, 16_000), 16_000, HZ),
}


def heard(wave: Wave) -> Landmarks:
    """Returns the landmarks of a wave at 24 kHz."""
    return fingerprint(resample(np.ascontiguousarray(wave), HZ, SAMPLE_RATE))


def tell_duplicates() -> None:
    """Prints how many copies are found, and which pairs of files are taken for one recording."""
    paths = [p for folder in MUSIC for p in sorted((SHARED_DATA / folder).rglob("*")) if p.suffix in AUDIO]
    audios = [decode(path.read_bytes()) for path in paths]
    waves = [resample(to_mono(a.samples), a.sample_rate, HZ) for a in audios]
    originals = [heard(wave) for wave in waves]
    print("\n| copy | found |\n|---|---|")
    for name, copied in COPIES.items():
        n_found = sum(len(same_recordings([one, heard(copied(w))])) for one, w in zip(originals, waves, strict=True))
        print(f"| {name} | {n_found} of {len(waves)} |", flush=True)
    same = same_recordings(originals)
    n_pairs = len(waves) * (len(waves) - 1) // 2
    print(f"\n{n_pairs} pairs of different files, of which taken for one recording: {len(same)}")
    for one, other in same:
        print(f"{paths[one].relative_to(SHARED_DATA)} = {paths[other].relative_to(SHARED_DATA)}")


def tell_noise() -> None:
    """Prints the error of the estimated SNR."""
    print("\n| voices | noise | " + " | ".join(f"{db} dB" for db in SNRS_DB) + " |\n|---|---|" + "---|" * len(SNRS_DB))
    for (name, waves), kind in itertools.product(list(clean_voices()), ("white", "pink")):
        cells = []
        for true_db in SNRS_DB:
            errors = []
            for n, wave in enumerate(waves):
                level = np.float32(np.sqrt(np.mean(wave**2)) * 10 ** (-true_db / 20))
                found_db = snr_db((wave + level * noise(kind, len(wave), HZ, n))[:, None], HZ)
                errors.append((found_db if found_db is not None else np.nan) - true_db)
            cells.append(f"{np.median(errors):+.1f} ({np.abs(errors).max():.1f})")
        print(f"| {name} | {kind} | {' | '.join(cells)} |", flush=True)


def tell_language() -> None:
    """Prints what the lyrics of real songs are taken for, where it is wrong."""
    identifier = load_identifier()
    found = []
    for folder in SUNG:
        kind = Path(folder).name
        for song in LAYOUTS[kind].songs(Source(Path(SHARED_DATA / folder))):
            told = language(plain_lines(song.text.get("lrc_lyrics"), song.text.get("raw_lyrics")), identifier)
            found.append((song.id, song.text.get("language") or "en", told))
    right = [told is not None and told.code == true for _, true, told in found]
    print(f"\n{sum(right)} of {len(found)} songs")
    for (id, true, told), is_right in zip(found, right, strict=True):
        if not is_right:
            print(f"{id}: {told} for {true}")


def main(part: str = "duplicates") -> None:
    """Runs one of the measurements."""
    if not SHARED_DATA.is_dir():
        sys.exit(f"there are no real recordings at {SHARED_DATA}")
    print(machine(("numpy", "scipy", "py3langid")))
    {"duplicates": tell_duplicates, "noise": tell_noise, "language": tell_language}[part]()


if __name__ == "__main__":
    main(*sys.argv[1:])
