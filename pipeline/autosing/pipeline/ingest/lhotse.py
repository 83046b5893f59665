"""Cuts of lhotse (`cuts.jsonl.gz`): parts of recordings, or mixes of such, with supervisions that know text, speaker
and word times.

The JSON is read as it is documented; lhotse itself is not needed. Times in a cut count from the cut's start. The
title of a part or a mix is its (first) recording's name, so that cuts of one recording are on one side of a split.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from autosing.pipeline.ingest.annotation import Timed, TimedLine, lyrics_of, reference, seconds
from autosing.pipeline.ingest.languages import language_tag
from autosing.pipeline.ingest.lhotse_mix import MIXED, PADDING, Sound, audible, mixed, tracks_of
from autosing.pipeline.ingest.manifest import Row, first_row, grouped, manifests, sound_of
from autosing.pipeline.ingest.partitions import NewSong
from autosing.pipeline.ingest.parts import ROUNDING_S, Recordings, is_whole, lossless
from autosing.pipeline.ingest.source import Layout, Source
from autosing.signal.errors import RowError

KINDS = ("MonoCut", "MultiCut", "Cut")
PHONES = ("phone", "phoneme", "phones")


def _found(source: Source) -> bool:
    return any(_is_cut(first_row(path)) for path in manifests(source))


def _is_cut(values: Mapping[str, Any]) -> bool:
    is_cut = str(values.get("type", "")).endswith("Cut")
    return "supervisions" in values or (is_cut and not {"duration", "tracks"}.isdisjoint(values))


def _songs(source: Source) -> Iterator[NewSong]:
    used: list[Path] = []
    for path in manifests(source):
        if not _is_cut(first_row(path)):
            source.problems.add(
                f"{source.name(path)} holds no cuts; it is left out (lhotse: cuts = CutSet.from_manifests)"
            )
            continue
        reader = _Reader(source, path, used)
        yield from source.taken(grouped(source, path, _names), reader.song)
    source.tell_unused(used, "of no cut")


class _Reader:
    """Makes songs of the cuts of one manifest."""

    def __init__(self, source: Source, manifest: Path, used: list[Path]) -> None:
        self._source, self._manifest, self._used = source, manifest, used
        self._recordings = Recordings()

    def song(self, row: Row) -> NewSong | None:
        """Returns the song of a cut; None of one whose first recording the globs leave out."""
        where = f"{row.where} ({row.values.get('id')})"
        paths = {name: sound_of(self._source, name, where, self._manifest) for name in _names(row.values)}
        self._used.extend(paths.values())
        if not self._source.wants(next(iter(paths.values()))):
            return None
        try:
            return self._made(row.values, paths)
        except RowError as error:
            raise RowError(f"{where}: {error}") from error

    def _made(self, cut: Mapping[str, Any], paths: Mapping[str, Path]) -> NewSong:
        supervisions = sorted(_supervisions(cut), key=lambda its: seconds(its.get("start", 0)))
        text = _text(supervisions)
        try:
            columns, truth = _annotation(supervisions)
        except RowError as error:
            self._source.problems.add(f"cut {cut.get('id')}: no ref_words: {error}")
            columns, truth = {}, {}
        id = str(cut.get("id") or "")
        if (path := _whole(cut, paths)) is not None:
            return self._source.song(path, text | columns, truth, id)
        samples, rate = self._sound(cut, paths)
        name = self._source.name(next(iter(paths.values())))
        titled = {"title": name} | text | columns
        id = id or f"{name}#{seconds(cut.get('start', 0)):.3f}"
        return self._source.song_of(lossless(samples, rate), titled, truth, id, len(samples) / rate)

    def _sound(self, cut: Mapping[str, Any], paths: Mapping[str, Path]) -> Sound:
        if cut.get("type") == MIXED:
            return mixed(cut, lambda track: self._sound(track, paths))
        start_s = seconds(cut.get("start", 0))
        end_s = start_s + seconds(cut.get("duration"))
        return Sound(*self._recordings.samples(paths[_name_of(cut)], start_s, end_s, _channels(cut)))


def _names(cut: Mapping[str, Any]) -> list[str]:
    """Returns the sound files of a cut and of its tracks.

    Raises:
        RowError: there are none, or one is not the sound as it is.
    """
    every = [track.cut for track in tracks_of(cut)] if cut.get("type") == MIXED else [cut]
    names = [_name_of(its) for its in every if its.get("type") != PADDING]
    if not names:
        raise RowError("it is made of padding alone")
    return names


def _whole(cut: Mapping[str, Any], paths: Mapping[str, Path]) -> Path | None:
    """Returns the sound file that a cut is all of; None where it is a part or a mix."""
    if cut.get("type") == MIXED or seconds(cut.get("start", 0)) != 0 or _channels(cut) is not None:
        return None
    path = paths[_name_of(cut)]
    return path if is_whole(path, seconds(cut.get("duration"))) else None


def _name_of(cut: Mapping[str, Any]) -> str:
    """Returns the sound file of a cut.

    Raises:
        RowError: there is not exactly one, or it is not the sound as it is.
    """
    if cut.get("type", KINDS[0]) not in KINDS:
        raise RowError(f"a {cut['type']} is no cut that is known ({', '.join((*KINDS, MIXED, PADDING))})")
    recording = cut.get("recording")
    if not isinstance(recording, dict):
        raise RowError("it has no recording; cuts that are made of features alone hold no sound")
    if recording.get("transforms"):
        raise RowError("its recording is to be transformed (speed, volume, ...); save its audio first")
    sources = recording.get("sources")
    if not isinstance(sources, list) or len(sources) != 1 or not isinstance(sources[0], dict):
        raise RowError("its recording has not exactly one source; join its channels in one file")
    if sources[0].get("type") != "file":
        raise RowError(f"its sound is of the type {sources[0].get('type')!r}, not 'file'; save its audio first")
    return str(sources[0].get("source") or "")


def _channels(cut: Mapping[str, Any]) -> list[int] | None:
    """Returns the channels of a cut; None where they are all that the recording has."""
    channel = cut.get("channel", 0)
    chosen = channel if isinstance(channel, list) else [channel]
    source = cut["recording"]["sources"][0].get("channels")
    every = source if isinstance(source, list) else [0]
    if not all(isinstance(c, int) and c in every for c in chosen):
        raise RowError(f"its channel is {channel!r}, and the recording has {every}")
    return None if chosen == every else [every.index(c) for c in chosen]


def _supervisions(cut: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Returns the supervisions of a cut and of its tracks, their times counted from the cut's start.

    Raises:
        RowError: one is not all inside of its cut, so that its text may say more than is heard.
    """
    if cut.get("type") == MIXED:
        heard = [track for track in audible(tracks_of(cut)) if not track.is_padding]
        return [_later(its, track.offset_s) for track in heard for its in _supervisions(track.cut)]
    told, duration_s = cut.get("supervisions"), seconds(cut.get("duration"))
    found: list[Mapping[str, Any]] = [its for its in told if isinstance(its, dict)] if isinstance(told, list) else []
    for its in found:
        start_s = seconds(its.get("start", 0))
        end_s = start_s + seconds(its.get("duration", duration_s))
        if start_s < -ROUNDING_S or end_s > duration_s + ROUNDING_S:
            raise RowError(
                f"its supervision {its.get('id')} ({start_s:g} to {end_s:g} s) is not all inside of the cut "
                f"({duration_s:g} s); cut where supervisions end (lhotse: trim_to_supervisions)"
            )
    return found


def _later(supervision: Mapping[str, Any], offset_s: float) -> Mapping[str, Any]:
    """Returns a supervision that begins `offset_s` later, and its alignment with it."""
    told = supervision.get("alignment")
    alignment = {
        kind: [[part.text, part.start_s + offset_s, part.end_s - part.start_s] for part in map(_timed, items)]
        for kind, items in (told.items() if isinstance(told, dict) else ())
        if isinstance(items, list)
    }
    return {**supervision, "start": seconds(supervision.get("start", 0)) + offset_s, "alignment": alignment}


def _text(supervisions: Sequence[Mapping[str, Any]]) -> dict[str, str | None]:
    def all_of(key: str) -> list[str]:
        return list(dict.fromkeys(str(its[key]) for its in supervisions if its.get(key)))

    lines = [str(its["text"]) for its in supervisions if its.get("text")]
    speakers = all_of("speaker")
    return {
        "raw_lyrics": "\n".join(lines),
        # Of several singers none is the song's.
        "singer": speakers[0] if len(speakers) == 1 else None,
        "language": language_tag(", ".join(all_of("language"))),
    }


def _annotation(supervisions: Sequence[Mapping[str, Any]]) -> tuple[dict[str, str | None], dict[str, Any]]:
    """Returns the lyrics and reference columns of the alignments, where all supervisions with a text have one."""
    spoken = [its for its in supervisions if its.get("text")]
    lines = [TimedLine(str(its["text"]), _alignment(its, ("word",))) for its in spoken]
    phones = [phone for its in supervisions for phone in _alignment(its, PHONES)]
    if not lines or not all(line.parts for line in lines):
        return {}, reference(phones=phones or None)
    lyrics = lyrics_of(lines)
    return {"lrc_lyrics": lyrics.lrc, "raw_lyrics": lyrics.raw}, reference(lyrics, phones or None)


def _alignment(supervision: Mapping[str, Any], kinds: Sequence[str]) -> list[Timed]:
    alignment = supervision.get("alignment")
    found = alignment if isinstance(alignment, dict) else {}
    items: list[Any] = next((found[kind] for kind in kinds if isinstance(found.get(kind), list)), [])
    return [_timed(item) for item in items]


def _timed(item: Any) -> Timed:
    """Returns an alignment item: `[symbol, start, duration, score]`, or the same as an object."""
    if isinstance(item, dict):
        item = [item.get("symbol"), item.get("start"), item.get("duration")]
    if not isinstance(item, list) or len(item) < 3:
        raise RowError(f"an alignment item is {item!r}; expected [SYMBOL, START, DURATION]")
    start_s = seconds(item[1])
    return Timed(str(item[0] or ""), start_s, start_s + seconds(item[2]))


LHOTSE = Layout(_found, _songs)
