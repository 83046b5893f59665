"""Mixed cuts of lhotse: tracks that begin at offsets, silence between them, and levels relative to one of them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, NamedTuple

import numpy as np

from autosing.pipeline.ingest.annotation import seconds
from autosing.signal.decode import Samples
from autosing.signal.errors import RowError

MIXED, PADDING = "MixedCut", "PaddingCut"
LARGEST_MIX_BYTES = 2 << 30
LARGEST_SNR_DB = 1000.0


class Sound(NamedTuple):
    """Samples (T, C) and their rate."""

    samples: Samples
    sample_rate: int


class Track(NamedTuple):
    """A cut in a mix.

    Args:
        cut: as it stands in the manifest, its type in it.
        offset_s: where it begins.
        snr_db: by how much the reference is louder; None: it keeps its level.
        is_reference: whether the others' levels are relative to it.
        is_muted: whether it is not heard.
    """

    cut: Mapping[str, Any]
    offset_s: float
    snr_db: float | None
    is_reference: bool
    is_muted: bool

    @property
    def is_padding(self) -> bool:
        """Whether it is nothing but silence."""
        return self.cut.get("type") == PADDING


def tracks_of(cut: Mapping[str, Any]) -> list[Track]:
    """Returns the tracks of a mixed cut.

    Raises:
        RowError: they are none, or one is not as it is documented.
    """
    if cut.get("transforms"):
        raise RowError("its mix is to be transformed (reverberation, loudness, ...); save its audio first")
    told = cut.get("tracks")
    if not isinstance(told, list) or not told:
        raise RowError("it has no tracks; a MixedCut is made up of some")
    tracks = [_track(track) for track in told]
    if old := cut.get("snr_reference"):
        tracks.append(_track(old)._replace(is_reference=True, is_muted=True))
    return tracks


def audible(tracks: Sequence[Track]) -> list[Track]:
    """Returns the tracks that are not muted, or all where all are."""
    return [track for track in tracks if not track.is_muted] or list(tracks)


def mixed(cut: Mapping[str, Any], load: Callable[[Mapping[str, Any]], Sound]) -> Sound:
    """Returns the sum of a mixed cut's audible tracks, by lhotse's rules.

    A track's energy is the mean of its squared samples. Those of one channel are heard in all channels.

    Args:
        cut: the mixed cut.
        load: returns the sound of a track's cut.

    Raises:
        RowError: its tracks do not fit each other, have no reference, or the mix is too long.
    """
    tracks = tracks_of(cut)
    heard = audible(tracks)
    sounds = {id(track): load(track.cut) for track in heard if not track.is_padding}
    if not sounds:
        raise RowError("it is made of padding alone")
    rate, channels = _form(sounds.values())
    n_frames = _frames(max(track.offset_s + seconds(track.cut.get("duration")) for track in heard), rate)
    if n_frames * channels * 4 > LARGEST_MIX_BYTES:
        raise RowError(f"its mix of {n_frames / rate:g} s has more than {LARGEST_MIX_BYTES} bytes; cut it in parts")
    energy = None
    if any(track.snr_db is not None for track in heard):
        reference = _reference(tracks)
        energy = _energy((sounds.get(id(reference)) or load(reference.cut)).samples)
    mix = np.zeros((n_frames, channels), np.float32)
    for track in heard:
        if not track.is_padding:
            samples, first = sounds[id(track)].samples, _frames(track.offset_s, rate)
            part = mix[first : first + len(samples)]
            part += samples[: len(part)] * np.float32(_gain(track.snr_db, energy, samples))
    return Sound(mix, rate)


def _track(told: Any) -> Track:
    cut = told.get("cut") if isinstance(told, Mapping) else None
    if not isinstance(cut, Mapping):
        raise RowError(f"a track is {str(told)[:80]!r}; expected an object with a cut")
    offset_s, snr = seconds(told.get("offset", 0)), told.get("snr")
    if offset_s < 0:
        raise RowError(f"a track begins at {offset_s:g} s, before the mix")
    if snr is not None and (isinstance(snr, bool) or not isinstance(snr, int | float) or not abs(snr) < LARGEST_SNR_DB):
        raise RowError(f"a track's snr is {snr!r}; expected decibels")
    kind = told.get("type", cut.get("type"))
    if kind == MIXED:
        raise RowError("a track is itself a MixedCut; save its audio first (lhotse: cut.save_audio)")
    typed = {**cut, "type": kind} if kind else cut
    return Track(typed, offset_s, snr, bool(told.get("is_snr_reference")), bool(told.get("mute")))


def _form(sounds: Collection[Sound]) -> tuple[int, int]:
    rates, widths = {s.sample_rate for s in sounds}, {s.samples.shape[1] for s in sounds}
    if len(rates) > 1:
        raise RowError(f"its tracks have {' and '.join(map(str, sorted(rates)))} Hz; resample them first")
    if len(widths - {1}) > 1:
        raise RowError(f"its tracks have {' and '.join(map(str, sorted(widths)))} channels, which do not fit together")
    return rates.pop(), max(widths)


def _reference(tracks: Sequence[Track]) -> Track:
    """Returns the track to which levels are relative: the one that says so, or the first that keeps its level."""
    said = [track for track in tracks if track.is_reference]
    left = [track for track in tracks if not track.is_padding and track.snr_db is None]
    if not said + left or (said + left)[0].is_padding:
        raise RowError("its tracks have levels relative to none of them; one sound must have no snr")
    return (said + left)[0]


def _gain(snr_db: float | None, reference: float | None, samples: Samples) -> float:
    own = _energy(samples) if snr_db is not None and reference else 0.0
    if snr_db is None or not reference or not own:
        return 1.0
    return float(np.sqrt(reference * 10 ** (-snr_db / 10) / own))


def _energy(samples: Samples) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64))) if samples.size else 0.0


def _frames(duration_s: float, rate: int) -> int:
    """Returns a length in samples, halves up."""
    return int(Decimal(round(duration_s * rate, 8)).quantize(Decimal(0), ROUND_HALF_UP))
