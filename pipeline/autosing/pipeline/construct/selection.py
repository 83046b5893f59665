"""A song becomes samples, or the reason why it does not; nothing is dropped in silence."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

from autosing.pipeline.columnfile import INHERITED
from autosing.pipeline.construct.inputs import ALIGNMENT, LYRICS, PROBED, TEXT, WORDS, NamedDataset, Needs
from autosing.pipeline.construct.split import group_of, singer_of
from autosing.pipeline.construct.tar import Piece, length, members, npz
from autosing.pipeline.dataset import SongRow, split_address
from autosing.pipeline.song import Song, Wave
from autosing.signal.decode import encode
from autosing.signal.errors import DataError, RowError
from autosing.signal.lyrics import parse_lrc
from autosing.signal.span import (
    Cut,
    clipped,
    duration_ms,
    floor_ms,
    restrict,
    sample_span,
    snap_period,
    snapped_ms,
    span,
)

DETAIL_CHARACTERS = 300


@dataclass(frozen=True)
class Drop:
    """Why a song, or one cut of it, is no sample.

    Args:
        reason: one of few, for counting.
        detail: what exactly, bounded.
        cut: the cut; None for the whole song.
    """

    reason: str
    detail: str = ""
    cut: Cut | None = None

    def line(self, dataset: str, id: str) -> str:
        """Returns the line of `drops.jsonl`."""
        told: dict[str, Any] = {"dataset": dataset, "id": id, "reason": self.reason}
        if self.cut:
            told |= {"start_s": self.cut.start_ms / 1000, "end_s": self.cut.end_ms / 1000}
        if self.detail:
            told["detail"] = self.detail[:DETAIL_CHARACTERS]
        return json.dumps(told, ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class Sample:
    """One sample, ready to be written.

    Args:
        key: its key.
        length_ms: its length.
        pieces: the bytes of its tar members.
    """

    key: str
    length_ms: int
    pieces: Sequence[Piece]

    @property
    def size(self) -> int:
        """Bytes in the tar."""
        return sum(map(length, self.pieces))


def song_hash(dataset: str, id: str) -> str:
    """Returns the first part of the keys of a song's samples: 16 hex digits, whatever characters the id has."""
    return hashlib.blake2b(f"{dataset}\0{id}".encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Selector:
    """Turns the songs of one data set into samples.

    Args:
        needs: what a sample is made of.
        source: the data set.
    """

    needs: Needs
    source: NamedDataset

    @cached_property
    def period(self) -> Fraction | None:
        """The grid in seconds that starts are moved to; None where they are not moved."""
        return snap_period(self.needs.columns.values()) if self.needs.spec.snap else None

    def text_of(self, row: SongRow) -> dict[str, str | None]:
        """Returns title, artist, singer and split of a song."""
        return {split_address(address)[1]: row.values[address] for address in TEXT}

    def group_of(self, row: SongRow) -> str:
        """Returns the group of a song that was not dropped."""
        return str(group_of(self.needs.spec.group, row.id, self.text_of(row)))

    def samples(self, row: SongRow) -> Iterator[Sample | Drop]:
        """Yields the samples of a song and a reason for each cut that is none, or one reason for the whole song.

        Raises:
            DataError: two cuts begin at the same time.
        """
        drop = self._drop_song(row)
        cuts = [] if drop else self._cuts(row)
        if drop or not cuts:
            yield drop or Drop("no cuts")
            return
        song = Song(row.id, row.values, {a: self.source.audio_address(a) for a in ("voice", "mix")})
        starts: dict[int, Cut] = {}
        for cut in cuts:
            outcome = self._sample(row, song, cut)
            if isinstance(outcome, Sample):
                self._check_start(row.id, cut, starts)
            yield outcome

    def _drop_song(self, row: SongRow) -> Drop | None:
        spec = self.needs.spec
        if row.id in self.source.dataset.excluded:
            return Drop("excluded")
        if row.errors:
            return _drop_for_error(row.errors)
        for address in (*self.needs.addresses.values(), *([f"{spec.cuts}.cuts"] if spec.cuts else [])):
            if row.values[address] is None:
                return Drop(f"null: {address}")
        if group_of(spec.group, row.id, self.text_of(row)) is None:
            return Drop("null: singer", "group: singer needs a singer or an artist in the index")
        is_aligned = self.source.name in self.needs.aligned
        bounds = {**spec.quality} | ({ALIGNMENT: (spec.min_alignment, None)} if is_aligned else {})
        return next(
            (drop for a, (low, high) in bounds.items() if (drop := _outside(a, row.values[a], low, high))), None
        )

    def _cuts(self, row: SongRow) -> list[Cut]:
        whole_ms = duration_ms(*(row.values[address] for address in PROBED))
        if self.needs.spec.cuts is None:
            return [Cut(0, whole_ms, _lyrics(row))]
        found = row.values[f"{self.needs.spec.cuts}.cuts"]
        return [clipped(c["start_s"], c["end_s"], whole_ms, c["text"]) for c in found]

    def _check_start(self, id: str, cut: Cut, starts: dict[int, Cut]) -> None:
        start_ms = self._snapped(cut).start_ms
        other = starts.setdefault(start_ms, cut)
        if other is not cut:
            raise DataError(
                f"{self.source.name}: {id!r} has two cuts that begin at {start_ms} ms (from {other.start_ms} and "
                f"{cut.start_ms} ms); give `snap: false`, or cut it otherwise"
            )

    def _snapped(self, cut: Cut) -> Cut:
        return replace(cut, start_ms=snapped_ms(cut.start_ms, self.period)) if self.period else cut

    def _sample(self, row: SongRow, song: Song, cut: Cut) -> Sample | Drop:
        spec = self.needs.spec
        if cut.length_ms < floor_ms(spec.min_s):
            return Drop("too short", f"{cut.length_ms / 1000} s", cut)
        if spec.max_s is not None and cut.length_ms > floor_ms(spec.max_s):
            return Drop("too long", f"{cut.length_ms / 1000} s", cut)
        return self._encoded(row, song, self._snapped(cut))

    def _encoded(self, row: SongRow, song: Song, cut: Cut) -> Sample | Drop:
        arrays, residuals = {}, {}
        for name, column in self.needs.columns.items():
            if not column.is_series:
                continue
            series = row.values[self.needs.addresses[name]]
            try:
                part = span(cut, column, len(series))
            except RowError as error:
                return Drop(f"short: {self.needs.addresses[name]}", str(error), cut)
            if not part.length:
                return Drop("too short", f"{name} has no frame in {cut.length_ms} ms", cut)
            arrays[name] = series[part.first : part.first + part.length]
            residuals[name] = round(part.residual_s, 9)
        contents: dict[str, Sequence[Piece]] = {"npz": npz(arrays)}
        if self.needs.spec.audio:
            try:
                contents["flac"] = [_flac(song, self.needs.spec.audio, cut)]
            except RowError as error:
                return Drop("error: audio", str(error), cut)
        described = json.dumps(self._description(row, cut, residuals), ensure_ascii=False, sort_keys=True)
        key = f"{song_hash(self.source.name, row.id)}_{cut.start_ms}"
        return Sample(key, cut.length_ms, members(key, {**contents, "json": [described.encode()]}))

    def _description(self, row: SongRow, cut: Cut, residuals: Mapping[str, float]) -> dict[str, Any]:
        """Returns the JSON member."""
        values = {n: row.values[self.needs.addresses[n]] for n, c in self.needs.columns.items() if not c.is_series}
        tiers = {n for n, c in self.needs.columns.items() if c.is_tier}
        described = {
            "id": row.id,
            "dataset": self.source.name,
            "start_s": cut.start_ms / 1000,
            "end_s": cut.end_ms / 1000,
            "seconds": cut.length_ms / 1000,
            "singer": singer_of(self.text_of(row)),
            "text": cut.text,
            "values": {n: restrict(v, cut) if n in tiers else v for n, v in values.items()},
            "residual_s": residuals,
        }
        if self.needs.spec.words:
            words = row.values[WORDS]
            described["words"] = None if words is None else restrict(words, cut)
        return described


def _drop_for_error(errors: Mapping[str, str]) -> Drop:
    """Returns the drop for the instance where the trouble arose, not for those that inherited it."""
    own = [instance for instance, error in errors.items() if not error.startswith(INHERITED)]
    instance = own[0] if own else next(iter(errors))
    return Drop(f"error: {instance}", errors[instance])


def _outside(address: str, value: float | None, low: float | None, high: float | None) -> Drop | None:
    if value is None:
        return Drop(f"null: {address}")
    if (low is not None and value < low) or (high is not None and value > high):
        return Drop(f"out of range: {address}", f"{value:.6g}")
    return None


def _lyrics(row: SongRow) -> str | None:
    raw, lrc = (row.values[address] for address in LYRICS)
    return raw or ("\n".join(line.text for line in parse_lrc(lrc).lines if line.text) if lrc else None) or None


def _flac(song: Song, audio: Any, cut: Cut) -> bytes:
    import soundfile

    wave: Wave = song.mono(audio)
    sample_rate = song.audio(audio).sample_rate
    first, length = sample_span(cut, sample_rate, len(wave))
    try:
        return encode(wave[first : first + length], sample_rate, "FLAC")
    except soundfile.SoundFileError as error:
        raise RowError(f"{sample_rate} Hz can't be written as FLAC: {error}") from error
