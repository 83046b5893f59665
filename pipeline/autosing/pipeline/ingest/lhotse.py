"""Cuts of lhotse (`cuts.jsonl.gz`): parts of recordings with supervisions that know text, speaker and word times.

The JSON is read as it is documented; lhotse itself is not needed. Times in a cut count from the cut's start.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from autosing.pipeline.ingest.annotation import Timed, TimedLine, lyrics_of, reference, seconds
from autosing.pipeline.ingest.languages import language_tag
from autosing.pipeline.ingest.manifest import Row, first_row, grouped, manifests, sound_of
from autosing.pipeline.ingest.partitions import NewSong
from autosing.pipeline.ingest.parts import ROUNDING_S, Recordings, is_whole
from autosing.pipeline.ingest.source import Layout, Source
from autosing.signal.errors import RowError

KINDS = ("MonoCut", "MultiCut", "Cut")
PHONES = ("phone", "phoneme", "phones")


def _found(source: Source) -> bool:
    return any(_is_cut(first_row(path)) for path in manifests(source))


def _is_cut(values: Mapping[str, Any]) -> bool:
    return "supervisions" in values or (str(values.get("type", "")).endswith("Cut") and "duration" in values)


def _songs(source: Source) -> Iterator[NewSong]:
    used: list[Path] = []
    for path in manifests(source):
        if not _is_cut(first_row(path)):
            source.problems.add(
                f"{source.name(path)} holds no cuts; it is left out (lhotse: cuts = CutSet.from_manifests)"
            )
            continue
        reader = _Reader(source, path, used)
        yield from source.taken(grouped(source, path, _name_of), reader.song)
    source.tell_unused(used, "of no cut")


class _Reader:
    """Makes songs of the cuts of one manifest."""

    def __init__(self, source: Source, manifest: Path, used: list[Path]) -> None:
        self._source, self._manifest, self._used = source, manifest, used
        self._recordings = Recordings()

    def song(self, row: Row) -> NewSong | None:
        """Returns the song of a cut; None of one that the globs leave out."""
        where = f"{row.where} ({row.values.get('id')})"
        path = sound_of(self._source, _name_of(row.values), where, self._manifest)
        self._used.append(path)
        if not self._source.wants(path):
            return None
        try:
            return self._made(row.values, row.values["recording"], path)
        except RowError as error:
            raise RowError(f"{where}: {error}") from error

    def _made(self, cut: Mapping[str, Any], recording: Mapping[str, Any], path: Path) -> NewSong:
        start_s, duration_s = seconds(cut.get("start", 0)), seconds(cut.get("duration"))
        supervisions = _inside(cut.get("supervisions") or [], duration_s)
        text = _text(supervisions)
        try:
            columns, truth = _annotation(supervisions)
        except RowError as error:
            self._source.problems.add(f"cut {cut.get('id')}: no ref_words: {error}")
            columns, truth = {}, {}
        id = str(cut.get("id") or "")
        channels = _channels(cut, recording)
        if channels is None and start_s == 0 and is_whole(path, duration_s):
            return self._source.song(path, text | columns, truth, id)
        data, made_s = self._recordings.part(path, start_s, start_s + duration_s, channels)
        return self._source.song_of(
            data, text | columns, truth, id or f"{self._source.name(path)}#{start_s:.3f}", made_s
        )


def _name_of(cut: Mapping[str, Any]) -> str:
    """Returns the sound file of a cut.

    Raises:
        RowError: there is not exactly one, or it is not the sound as it is.
    """
    if cut.get("type", KINDS[0]) not in KINDS:
        raise RowError(
            f"a {cut['type']} is made up of several recordings; save its audio first (lhotse: cut.save_audio)"
        )
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


def _channels(cut: Mapping[str, Any], recording: Mapping[str, Any]) -> list[int] | None:
    """Returns the channels of a cut; None where they are all that the recording has."""
    channel = cut.get("channel", 0)
    chosen = channel if isinstance(channel, list) else [channel]
    source = recording["sources"][0].get("channels")
    every = source if isinstance(source, list) else [0]
    if not all(isinstance(c, int) and c in every for c in chosen):
        raise RowError(f"its channel is {channel!r}, and the recording has {every}")
    return None if chosen == every else [every.index(c) for c in chosen]


def _inside(supervisions: Sequence[Any], duration_s: float) -> list[Mapping[str, Any]]:
    """Returns the supervisions in order of time.

    Raises:
        RowError: one is not all inside of the cut, so that its text may say more than is heard.
    """
    found = [s for s in supervisions if isinstance(s, dict)]
    for its in found:
        start_s = seconds(its.get("start", 0))
        end_s = start_s + seconds(its.get("duration", duration_s))
        if start_s < -ROUNDING_S or end_s > duration_s + ROUNDING_S:
            raise RowError(
                f"its supervision {its.get('id')} ({start_s:g} to {end_s:g} s) is not all inside of the cut "
                f"({duration_s:g} s); cut where supervisions end (lhotse: trim_to_supervisions)"
            )
    return sorted(found, key=lambda its: seconds(its.get("start", 0)))


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
