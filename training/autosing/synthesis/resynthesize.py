"""From columns back to sound: by Griffin-Lim, by a vocoder from mels or tokens, or by a codec from codes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from autosing.signal.errors import RowError, UsageError
from autosing.signal.griffin_lim import griffin_lim
from autosing.signal.mel import LATER_FIELDS, MelSpec
from autosing.signal.rows import Rows
from autosing.signal.typed import of_mapping

if TYPE_CHECKING:
    from autosing.models.codecs import AnyCodec
    from autosing.models.vocoders import AnyVocoder
    from autosing.signal.ssl_encoder import Device

Array = npt.NDArray[Any]
Wave = npt.NDArray[np.float32]

GRIFFIN_LIM = "griffin-lim"


@dataclass(frozen=True)
class Series:
    """A column of a song: values (F, ...) at a rate, in memory; a mel, F0 and voicing may lie on disk for a vocoder."""

    values: Rows
    rate: Fraction


class Way(Protocol):
    """A way from columns to sound."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The short names of the columns it needs."""

    @property
    def sample_rate(self) -> int:
        """Of the waves, in Hz."""

    @property
    def expected(self) -> Mapping[str, Any]:
        """What the columns must be: `mel`, the MelSpec as a mapping, and `definitions` of tokens by name."""

    def make(self, series: Mapping[str, Series]) -> Wave:
        """Returns the wave (T,) of a song.

        Raises:
            RowError: the columns do not fit each other or the model.
        """


def way_of(model: str, seed: int = 0, device: "Device" = "auto") -> Way:
    """Returns the way of a model directory, or `griffin-lim`, which needs no model.

    Raises:
        CheckpointError: the model is damaged.
        UsageError: there is no such model, or it makes no sound.
    """
    if model == GRIFFIN_LIM:
        return ByGriffinLim(seed=seed)
    from autosing.models.codecs import load_codec
    from autosing.models.hub import model_folder
    from autosing.models.vocoders import CLASSES, load_vocoder
    from autosing.signal.checkpoint import Checkpoint

    # A revision is of a model directory; other repositories need not have what makes one.
    folder = str(model_folder(model)) if "@" in model else model
    if Checkpoint(folder).config.get("class") not in CLASSES:
        return ByCodec(load_codec(model))
    return ByVocoder(load_vocoder(model, device=device), seed)


@dataclass(frozen=True)
class ByGriffinLim:
    """Mels, without weights."""

    spec: MelSpec = field(default_factory=MelSpec)
    seed: int = 0

    @property
    def columns(self) -> tuple[str, ...]:
        return ("mel",)

    @property
    def sample_rate(self) -> int:
        return self.spec.sample_rate

    @property
    def expected(self) -> Mapping[str, Any]:
        return {}

    def make(self, series: Mapping[str, Series]) -> Wave:
        return griffin_lim(series["mel"].values[:].astype(np.float32), self.spec, seed=self.seed)


@dataclass(frozen=True)
class ByVocoder:
    """Mels or tokens, with or without F0."""

    vocoder: "AnyVocoder"
    seed: int = 0

    @property
    def columns(self) -> tuple[str, ...]:
        info = self.vocoder.info
        heard = tuple(sorted(info.streams)) or ("mel",)
        return (*heard, "f0_hz", "voiced") if info.use_f0 else heard

    @property
    def sample_rate(self) -> int:
        return self.vocoder.info.spec.sample_rate

    @property
    def expected(self) -> Mapping[str, Any]:
        info = self.vocoder.info
        return {"definitions": info.definitions} if info.streams else {"mel": info.spec.as_mapping()}

    def make(self, series: Mapping[str, Series]) -> Wave:
        wave, done = np.empty(self._n_frames(series) * self.vocoder.info.spec.hop, np.float32), 0
        for piece in self.pieces(series):
            wave[done : done + len(piece)] = piece
            done += len(piece)
        return wave

    def pieces(self, series: Mapping[str, Series]) -> Iterator[Wave]:
        """Yields the wave of a song piece by piece; see `make`."""
        from autosing.models.excitation import f0_between
        from autosing.models.vocoder import tokens_at

        spec, streams = self.vocoder.info.spec, self.vocoder.info.streams
        n_frames = self._n_frames(series)
        inputs: dict[str, Any] = {} if streams else {"mel": series["mel"].values}
        for name in streams:
            tokens = self._tokens(name, series[name])
            inputs |= {name: tokens, f"{name}_at": tokens_at(n_frames, spec.rate, len(tokens), series[name].rate)}
        if not n_frames:
            return
        f0_hz = None
        if self.vocoder.info.use_f0:
            pitch = series["f0_hz"]
            told = (pitch.values, series["voiced"].values, pitch.rate)
            f0_hz = lambda first, last: f0_between(*told, first, last, spec.sample_rate)  # noqa: E731
        yield from self.vocoder.synthesise(inputs, f0_hz, self.seed)

    def _n_frames(self, series: Mapping[str, Series]) -> int:
        streams = self.vocoder.info.streams
        if not streams:
            return len(series["mel"].values)
        longest = max(len(series[name].values) / series[name].rate for name in streams)
        return int(longest * self.vocoder.info.spec.rate + Fraction(1, 2))

    def _tokens(self, name: str, stream: Series) -> Array:
        info = self.vocoder.info
        rate = Fraction(info.streams[name])
        if stream.rate != rate:
            raise RowError(f"{name} has {stream.rate} tokens a second, and the vocoder was trained with {rate}")
        if not len(stream.values):
            raise RowError(f"there are no {name}")
        tokens: Array = stream.values[:].astype(np.int64)
        highest = int(tokens.max())
        if highest >= info.n_tokens:
            raise RowError(f"{name} has the token {highest}, and the vocoder knows {info.n_tokens}")
        return tokens


@dataclass(frozen=True)
class ByCodec:
    """Codes of all levels."""

    codec: "AnyCodec"

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(f"codes_{n}" for n in range(len(self.codec.info.rates)))

    @property
    def sample_rate(self) -> int:
        return self.codec.info.sample_rate

    @property
    def expected(self) -> Mapping[str, Any]:
        return {}

    def make(self, series: Mapping[str, Series]) -> Wave:
        return self.codec.decode([series[name].values[:] for name in self.columns])


def with_spec(way: Way, told: Mapping[str, Any], whose: str = "the data set's") -> Way:
    """Returns the way for mels of the MelSpec of a data set, or of whatever they come from.

    Raises:
        UsageError: the model was trained with another; names the first field that differs.
    """
    if isinstance(way, ByGriffinLim):
        return ByGriffinLim(of_mapping(MelSpec, told, f"{whose} mel"), way.seed)
    if "mel" not in way.expected:
        return way
    wanted, found = ({**LATER_FIELDS, **mapping} for mapping in (way.expected["mel"], told))
    differing = [name for name in wanted if name in found and found[name] != wanted[name]]
    if differing:
        name = differing[0]
        raise UsageError(
            f"the vocoder was trained with mel.{name} = {wanted[name]!r}, and {whose} is {found[name]!r}; "
            f"process a mel of the vocoder's spec (--set mel.spec.{name}={wanted[name]}), or take another vocoder"
        )
    return way


def check_definitions(way: Way, found: Mapping[str, str]) -> None:
    """Checks that columns mean what they meant in training: the same stage, settings and codebooks.

    Raises:
        UsageError: names the first that differs.
    """
    wanted: Mapping[str, str] = way.expected.get("definitions", {})
    for name, definition in wanted.items():
        if found.get(name) != definition:
            raise UsageError(
                f"{name} is computed otherwise than in the set that the vocoder was trained on: other settings, "
                "features or codebook; process it with those of the training set, or train on these"
            )


def names_of(ways: Sequence[Way]) -> list[str]:
    """Returns the columns that any of several ways needs."""
    return list(dict.fromkeys(name for way in ways for name in way.columns))
