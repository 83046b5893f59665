"""The synthetic singer as a source: songs with exactly known F0, words, phones and notes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from autosing.pipeline.ingest.partitions import NewSong
from autosing.pipeline.schema import NOTES, PHONES, WORDS, Column
from autosing.signal.decode import encode
from autosing.signal.errors import UsageError
from autosing.signal.f0 import RATE
from autosing.signal.singer import Song, Sung, song
from autosing.signal.studio import any_voice, record
from autosing.signal.voice import voices

HZ = 24_000
STUDIO = 1  # keeps what the studio draws apart from what the song draws
SHORTEST_S = 1.0
FORM = re.compile(r"(\d+)(?:x(\d+(?:\.\d+)?))?(?:@(\d+))?(?:\+(?:(studio)|(-?\d+(?:\.\d+)?)dB))?")
REFERENCE_COLUMNS = (
    Column("ref_f0_hz", pa.float32(), RATE, unit="Hz", meaning="true F0; 0 where unvoiced"),
    Column("ref_voiced", pa.uint8(), RATE, meaning="1 where voiced"),
    Column("ref_words", WORDS, meaning="true word times"),
    Column("ref_phones", PHONES, meaning="true phone times"),
    Column("ref_notes", NOTES, meaning="the score"),
)


@dataclass(frozen=True)
class SyntheticSource:
    """Songs that are composed and sung by rule.

    Args:
        n_songs: how many.
        seconds: length of each.
        seed: of everything.
        singers: how many voices take turns.
        prefix: put before every id.
        in_studio: whether each song is somebody else's, over a band in stereo, in a room of its own.
        snr_db: in the studio, the level of the voice over the band; None draws it for every song.
    """

    n_songs: int
    seconds: float = 20.0
    seed: int = 0
    singers: int = 4
    prefix: str = ""
    in_studio: bool = False
    snr_db: float | None = None

    @classmethod
    def of(cls, text: str, prefix: str = "") -> "SyntheticSource":
        """Returns the source of `SONGS[xSECONDS][@SEED][+studio|+LEVELdB]`, e.g. `40x20@1` or `40x20@1+0dB`.

        Raises:
            UsageError: it is not of that form, or the songs are too short to sing.
        """
        match = FORM.fullmatch(text)
        if not match or int(match[1]) < 1 or float(match[2] or 20) < SHORTEST_S:
            raise UsageError(
                f"synthetic:{text}: expected synthetic:SONGS[xSECONDS][@SEED] with songs of at least {SHORTEST_S:g} s, "
                "e.g. synthetic:40x20@1, and after it +studio for mixes of any kind, or +0dB for mixes at a level"
            )
        n_songs, seconds, seed = int(match[1]), float(match[2] or 20), int(match[3] or 0)
        level = match[5]
        return cls(
            n_songs,
            seconds,
            seed,
            prefix=prefix,
            in_studio=bool(match[4] or level),
            snr_db=None if level is None else float(level),
        )

    def songs(self) -> Iterator[NewSong]:
        """Yields the songs; each is the same whatever the number of songs."""
        choir = voices(self.singers, self.seed)
        for number in range(self.n_songs):
            seed = self.seed * 1_000_003 + number
            if self.in_studio:
                rng = np.random.default_rng([seed, STUDIO])
                # Words of its own: from 300 words for all songs, nets learn the words instead of the sounds.
                made = song(seed, any_voice(rng), self.seconds, words_seed=seed)
                mix = record(made.wave, made.score, HZ, rng, self.snr_db).mix
                yield self._new_song(f"studio-{self.seed}/{number:05}", f"anybody {number}", made, mix)
            else:
                singer = choir[number % len(choir)]
                made = song(seed, singer, self.seconds)
                yield self._new_song(f"synthetic-{self.seed}/{number:05}", singer.name, made, made.wave[:, None])

    def _new_song(self, name: str, singer: str, made: Song, samples: npt.NDArray[np.float32]) -> NewSong:
        text = {
            "artist": singer,
            "singer": singer,
            "title": f"song {int(name.rpartition('/')[2])}",
            "lrc_lyrics": made.lrc,
            "raw_lyrics": made.lyrics,
        }
        audio = encode(samples, HZ, "FLAC")
        return NewSong(f"{self.prefix}{name}.flac", audio, dict(text), _reference(made.sung), len(samples) / HZ)


def _reference(sung: Sung) -> dict[str, Any]:
    line_of = [next(i for i, line in enumerate(sung.lines) if word[0] < line[1]) for word in sung.words]
    return {
        "ref_f0_hz": sung.f0_hz,
        "ref_voiced": sung.voiced,
        "ref_words": [
            {"text": t, "start_s": s, "end_s": e, "line": n} for (s, e, t), n in zip(sung.words, line_of, strict=True)
        ],
        "ref_phones": [{"text": p, "start_s": s, "end_s": e} for s, e, p in sung.phones],
        "ref_notes": [{"text": t, "start_s": s, "end_s": e, "midi": float(m)} for s, e, m, t in sung.notes],
    }
