"""Songs with their tokens, as the comparison hears them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.evaluation.heard import SPEC, Wave
from autosing.evaluation.recordings import audio_of, evenly, voice_of
from autosing.pipeline.construct.sample import SampleSpec
from autosing.pipeline.construct.split import assign_splits, group_of, singer_of
from autosing.pipeline.dataset import INDEX, REFERENCE, Dataset, SongRow, split_address
from autosing.pipeline.schema import Column
from autosing.signal.errors import UsageError
from autosing.signal.framing import nearest_frames
from autosing.signal.mel import log_mel

Array = npt.NDArray[Any]

PHONES = f"{REFERENCE}.ref_phones"
SILENCE = ""
TEXT = ("title", "artist", "singer", "split")
# A crop of the shortest song is not shorter than what the decoder learns from.
LEAST_FRAMES = 97
# What SingOMD's released block does to an id on average, and how far it scatters it, in a replica with random weights.
ID_SCALE, ID_SCATTER = 0.885, 0.5


@dataclass(frozen=True)
class Tokenizer:
    """The token streams of an instance.

    Attributes:
        name: in tables.
        instance: whose columns they are.
        columns: of the streams.
        as_ids: whether all streams are brought to the finest rate as numbers, as SingOMD's released code does.
    """

    name: str
    instance: str
    columns: tuple[Column, ...]
    as_ids: bool = False

    @property
    def addresses(self) -> tuple[str, ...]:
        """Of the streams."""
        return tuple(f"{self.instance}.{column.name}" for column in self.columns)

    @property
    def n_tokens(self) -> int:
        """Of the largest codebook."""
        return max(self.sizes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of the streams' codebooks."""
        return tuple(column.n_tokens or 1 for column in self.columns)

    @property
    def own_rates(self) -> tuple[Fraction, ...]:
        """Of the streams, in tokens a second."""
        return tuple(column.rate or Fraction(0) for column in self.columns)

    @property
    def rates(self) -> tuple[Fraction, ...]:
        """Of the streams, as the decoder is given them."""
        own = self.own_rates
        return (max(own),) * len(own) if self.as_ids else own

    @property
    def bits_per_second(self) -> float:
        """What the streams take without entropy coding."""
        return sum(float(rate) * float(np.log2(size)) for rate, size in zip(self.own_rates, self.sizes, strict=True))


def tokenizers_of(dataset: Dataset, instances: Sequence[str], as_ids: Sequence[str]) -> list[Tokenizer]:
    """Returns the tokenizers of instances, and once more of those whose ids are resampled.

    Raises:
        UsageError: an instance is not computed, or is none of tokens.
    """
    first, found = dataset.partitions[0], []
    stored = first.instances()
    for instance, ids in [*((one, False) for one in instances), *((one, True) for one in as_ids)]:
        if instance not in stored:
            raise UsageError(
                f"{instance} is not computed yet; there are {', '.join(stored)}; compute it with: autosing process "
                f"{dataset.url} {instance}"
            )
        columns = tuple(column for column in first.columns(instance) if column.n_tokens and column.rate)
        if not columns:
            raise UsageError(
                f"{instance} has no stream of tokens; its columns are "
                f"{', '.join(column.name for column in first.columns(instance))}; name one of units, tokens, semantic "
                "or codes"
            )
        found.append(Tokenizer(f"{instance}, ids resampled" if ids else instance, instance, columns, ids))
    return found


@dataclass(frozen=True)
class Song:
    """A stretch of a song, in frames of `SPEC`.

    Attributes:
        id: of the song.
        singer: if known.
        wave: the recording.
        mel: (F, M).
        f0_hz: (F,), 0 where unvoiced.
        streams: tokens (N,) of the stretch, by tokenizer.
        at: (F,) of each stream, the token that each frame has.
        phones: (N,) of each stream, the phone at each token, "" where none is; None where phones are not known.
    """

    id: str
    singer: str | None
    wave: Wave
    mel: Array
    f0_hz: Array
    streams: Mapping[str, Sequence[Array]]
    at: Mapping[str, Sequence[Array]]
    phones: Mapping[str, Sequence[Array]] | None


def split_songs(
    dataset: Dataset, tokenizers: Sequence[Tokenizer], f0: str, seconds: float, most: int, held_out: int
) -> tuple[list[Song], list[Song]]:
    """Returns songs to learn from, and others to measure on; a work that is sung twice is on one side.

    They are stretches from the middle of songs evenly over the set; songs that lack a value are left out. Those held
    out are the test split of a set that is built with as many `test_songs`.

    Args:
        dataset: of the songs.
        tokenizers: whose tokens are read.
        f0: the instance of pitches.
        seconds: of each stretch, at most.
        most: songs that are read.
        held_out: of them.

    Raises:
        UsageError: too few songs have all values.
    """
    found = list(_read(dataset, tokenizers, f0, seconds, most))
    groups = {group: None for _, group in found}
    if len(groups) <= held_out:
        raise UsageError(
            f"{len(groups)} songs of {dataset.url} have all of the values that are compared, and {held_out} are to be "
            "held out; compute the columns for more songs, or hold out fewer"
        )
    splits = assign_splits(groups, SampleSpec("compare", {}, audio="voice", valid_share=0, test_songs=held_out))
    sides: tuple[list[Song], list[Song]] = [], []
    for song, group in found:
        sides[splits[group] == "test"].append(song)
    return sides


def _read(
    dataset: Dataset, tokenizers: Sequence[Tokenizer], f0: str, seconds: float, most: int
) -> Iterator[tuple[Song, str]]:
    audio, first = audio_of(dataset), dataset.partitions[0]
    if f0 not in first.instances():
        raise UsageError(f"{f0} is not computed yet; compute it with: autosing process {dataset.url} {f0}")
    has_phones = REFERENCE in first.instances() and any(c.name == "ref_phones" for c in first.columns(REFERENCE))
    rate = next(c.rate for c in first.columns(f0) if c.name == "f0_hz")
    addresses = [a for one in tokenizers for a in one.addresses]
    addresses += [audio, f"{f0}.f0_hz", f"{f0}.voiced", *(f"{INDEX}.{name}" for name in TEXT)]
    addresses += [PHONES] if has_phones else []
    wanted = evenly(most, sum(partition.n_songs() for partition in dataset.partitions))
    number = -1
    for partition in dataset.partitions:
        stored = {INDEX, *partition.instances()}
        for row in partition.rows([a for a in dict.fromkeys(addresses) if split_address(a)[0] in stored]):
            number += 1
            song = _song(row, tokenizers, f0, rate or Fraction(1), audio, seconds) if number in wanted else None
            if song is not None:
                text = {name: row.values.get(f"{INDEX}.{name}") for name in TEXT}
                yield song, str(group_of("song", row.id, text))


def _song(
    row: SongRow, tokenizers: Sequence[Tokenizer], f0: str, f0_rate: Fraction, audio: str, seconds: float
) -> Song | None:
    needed = [f"{f0}.f0_hz", f"{f0}.voiced", *(a for one in tokenizers for a in one.addresses)]
    if any(row.values.get(address) is None or not len(row.values[address]) for address in needed):
        return None
    wave = voice_of(row, audio)
    n_frames = 0 if wave is None else len(wave) // SPEC.hop
    if wave is None or n_frames < LEAST_FRAMES:
        return None
    length = min(n_frames, max(round(seconds * float(SPEC.rate)), LEAST_FRAMES))
    start = (n_frames - length) // 2
    frames = slice(start, start + length)
    f0_hz = np.where(row.values[f"{f0}.voiced"] > 0, row.values[f"{f0}.f0_hz"], 0).astype(np.float32)
    f0_hz = f0_hz[nearest_frames(n_frames, SPEC.rate, len(f0_hz), f0_rate)][frames]
    wave = wave[start * SPEC.hop : (start + length) * SPEC.hop]
    known = row.values.get(PHONES)
    streams: dict[str, list[Array]] = {}
    ats: dict[str, list[Array]] = {}
    phones: dict[str, list[Array]] = {}
    for one in tokenizers:
        for rate, address in zip(one.own_rates, one.addresses, strict=True):
            tokens = row.values[address].astype(np.int64)
            at = nearest_frames(n_frames, SPEC.rate, len(tokens), rate)[frames]
            kept = np.arange(at[0], at[-1] + 1)
            streams.setdefault(one.name, []).append(tokens[kept])
            ats.setdefault(one.name, []).append(at - at[0])
            if known is not None:
                phones.setdefault(one.name, []).append(phones_at((kept + 0.5) / float(rate), known))
    text = {name: row.values.get(f"{INDEX}.{name}") for name in TEXT}
    told = (row.id, singer_of(text), wave, log_mel(wave, SPEC, length), f0_hz, streams, ats)
    return Song(*told, phones if known is not None else None)


def phones_at(times_s: Array, phones: Sequence[Mapping[str, Any]]) -> Array:
    """Returns the phone that is sung at each of ascending times (N,), "" where there is none."""
    starts, ends = (np.array([phone[key] for phone in phones]) for key in ("start_s", "end_s"))
    names = np.array([str(phone["text"]) for phone in phones] or [SILENCE])
    if not len(phones):
        return np.full(len(times_s), SILENCE)
    which = np.clip(np.searchsorted(starts, times_s, side="right") - 1, 0, len(phones) - 1)
    return np.where((times_s >= starts[which]) & (times_s < ends[which]), names[which], SILENCE)


def streams_of(tokenizer: Tokenizer, song: Song, rng: np.random.Generator) -> list[tuple[Array, Array]]:
    """Returns tokens (N,), and at which of them each frame is, of each stream as the decoder is given it."""
    own = list(zip(song.streams[tokenizer.name], song.at[tokenizer.name], strict=True))
    if not tokenizer.as_ids:
        return own
    finest = max(range(len(own)), key=tokenizer.own_rates.__getitem__)
    n_fine, at_fine = len(own[finest][0]), own[finest][1]
    found = []
    for n, (ids, at) in enumerate(own):
        if n != finest:
            # The first frame of each fine token tells which of the coarse ones it lies in.
            frame = np.clip(np.searchsorted(at_fine, np.arange(n_fine)), 0, len(at) - 1)
            ids = np.clip(ID_SCALE * ids[at[frame]] + rng.normal(0, ID_SCATTER, n_fine), 0, None).astype(np.int64)
        found.append((ids, at_fine))
    return found
