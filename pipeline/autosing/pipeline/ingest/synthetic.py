"""The synthetic singer as a source: songs with exactly known F0, words, phones and notes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from autosing.pipeline.ingest.partitions import NewSong
from autosing.pipeline.schema import NOTES, PHONES, WORDS, Column
from autosing.signal.decode import encode
from autosing.signal.errors import UsageError
from autosing.signal.f0 import RATE
from autosing.signal.singer import Song, Sung, song, voices

SHORTEST_S = 1.0
FORM = re.compile(r"(\d+)(?:x(\d+(?:\.\d+)?))?(?:@(\d+))?")
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
        accompaniment_snr_db: level of the voice over a backing; None for a cappella.
    """

    n_songs: int
    seconds: float = 20.0
    seed: int = 0
    singers: int = 4
    prefix: str = ""
    accompaniment_snr_db: float | None = None

    @classmethod
    def of(cls, text: str, prefix: str = "") -> "SyntheticSource":
        """Returns the source of `SONGS[xSECONDS][@SEED]`, e.g. `40x20@1`.

        Raises:
            UsageError: it is not of that form, or the songs are too short to sing.
        """
        match = FORM.fullmatch(text)
        if not match or int(match[1]) < 1 or float(match[2] or 20) < SHORTEST_S:
            form = f"synthetic:SONGS[xSECONDS][@SEED] with songs of at least {SHORTEST_S:g} s, e.g. synthetic:40x20@1"
            raise UsageError(f"synthetic:{text}: expected {form}")
        return cls(int(match[1]), float(match[2] or 20), int(match[3] or 0), prefix=prefix)

    def songs(self) -> Iterator[NewSong]:
        """Yields the songs; each is the same whatever the number of songs."""
        choir = voices(self.singers, self.seed)
        for number in range(self.n_songs):
            singer = choir[number % len(choir)]
            sung = song(self.seed * 1_000_003 + number, singer, self.seconds, self.accompaniment_snr_db)
            yield self._new_song(number, singer.name, sung)

    def _new_song(self, number: int, singer: str, made: Song) -> NewSong:
        text = {
            "artist": singer,
            "singer": singer,
            "title": f"song {number}",
            "lrc_lyrics": made.lrc,
            "raw_lyrics": made.lyrics,
        }
        audio = encode(made.wave[:, None], 24_000, "FLAC")
        id = f"{self.prefix}synthetic-{self.seed}/{number:05}.flac"
        return NewSong(id, audio, dict(text), _reference(made.sung), len(made.wave) / 24_000)


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
