"""`ssl`: features of a pretrained speech encoder at 50 Hz, or weight-free ones: MFCCs, or log-mels that keep pitch."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from autosing.pipeline.schema import Column
from autosing.pipeline.song import AudioName, Song
from autosing.pipeline.stage import NOT_IN_DEFINITION, Reach, Resources, Row, Stage, per_song
from autosing.signal.errors import RowError, UsageError
from autosing.signal.framing import centres_s, frames
from autosing.signal.mel import MelSpec, log_mel
from autosing.signal.mfcc import mfcc
from autosing.signal.ssl import HOP, RATE, SAMPLE_RATE, Encoder, Windowing, encode_songs
from autosing.signal.ssl_encoder import Device, feature_dim, load_encoder

MFCC, LOG_MEL = "mfcc", "log_mel"
# Windows long enough to tell the harmonics of a low voice apart, and some short enough to tell when it is loud.
LOG_MEL_SPECS = (
    MelSpec(SAMPLE_RATE, 2048, HOP, 2048, 128, 0.0, 8000.0),
    MelSpec(SAMPLE_RATE, 512, HOP, 512, 32, 0.0, 8000.0),
)
# Half a window of 128 ms, or five frames of slopes.
WEIGHT_FREE_REACH_S = 0.1
WEIGHT_FREE = {MFCC: 39, LOG_MEL: sum(spec.n_mels for spec in LOG_MEL_SPECS)}


@dataclass(frozen=True)
class Ssl(Stage):
    """Encodes the voice.

    Args:
        model: `mfcc`, the weight-free features of HuBERT's first iteration; `log_mel`, 128 bands of 128 ms and 32 of
            32 ms, from which pitch and loudness can be told; or the hub id or path of a HuBERT, ContentVec, WavLM,
            wav2vec2, data2vec-audio or Whisper model.
        layers: hidden states to put side by side (0 is before the first block); empty for the last.
        audio: which audio is encoded.
        window_s: seconds that the model sees at once; part of what the features mean.
        context_s: seconds at each inner edge of a window that are seen but not used.
        within: an instance of `cuts`; what lies in none of its intervals is skipped (zeros), and `covered` says where
            the features are real. "" computes everything.
        device: auto, cpu or cuda.
        windows_per_batch: windows that a GPU gets at once.
        gpus: GPUs that a worker occupies.

    Raises:
        UsageError: the contexts leave nothing of a window, or batches hold no window.
    """

    model: str = MFCC
    layers: tuple[int, ...] = ()
    audio: AudioName = "voice"
    window_s: float = 30
    context_s: float = 2
    within: str = ""
    device: Device = field(default="auto", metadata=NOT_IN_DEFINITION)
    windows_per_batch: int = field(default=8, metadata=NOT_IN_DEFINITION)
    gpus: float = field(default=0, metadata=NOT_IN_DEFINITION)

    def __post_init__(self) -> None:
        if self.windows_per_batch < 1:
            raise UsageError(f"ssl: windows_per_batch is {self.windows_per_batch}; give 1 or more")
        self._windowing()

    def columns(self) -> tuple[Column, ...]:
        dim = WEIGHT_FREE.get(self.model) or feature_dim(self.model, self.layers)
        ssl = Column("ssl", pa.float16(), RATE, dim, meaning="what is sung, as a speech encoder hears it")
        covered = Column("covered", pa.uint8(), RATE, meaning=f"1 where the features are real: inside {self.within}")
        return (ssl, covered) if self.within else (ssl,)

    def reads(self) -> tuple[str, ...]:
        return (f"{self.within}.cuts",) if self.within else ()

    def models(self) -> dict[str, str]:
        return {} if self.model in WEIGHT_FREE else {"model": self.model}

    def resources(self) -> Resources:
        batch_s = 0 if self.model in WEIGHT_FREE else self.windows_per_batch * self.window_s
        return Resources(gpus=self.gpus, batch_s=batch_s)

    def setup(self) -> Encoder | None:
        if self.model in WEIGHT_FREE:
            return None
        encoder = load_encoder(self.model, self.layers, self.device)
        self._windowing().check(encoder)
        return encoder

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        if model is None:
            return per_song(songs, self._weight_free)
        waves = [song.mono(self.audio, SAMPLE_RATE) for song in songs]
        counts = [_frames(song) for song in songs]
        covered = [self._covered(song, n) for song, n in zip(songs, counts, strict=True)]
        features = encode_songs(model, waves, counts, self._windowing(), self.windows_per_batch, covered)
        return [{"ssl": f, "covered": c} for f, c in zip(features, covered, strict=True)]

    def reach(self, model: Any) -> Reach | None:
        if self.within:
            return None
        if model is None:
            return Reach(WEIGHT_FREE_REACH_S)
        return None if model.normalises else Reach(self.context_s, self._windowing().step_s)

    def _windowing(self) -> Windowing:
        return Windowing.of_seconds(self.window_s, self.context_s)

    def _weight_free(self, song: Song) -> Row:
        wave, n_frames = song.mono(self.audio, SAMPLE_RATE), _frames(song)
        if self.model == MFCC:
            features = mfcc(wave, SAMPLE_RATE, n_frames)
        else:
            features = np.concatenate([log_mel(wave, spec, n_frames) for spec in LOG_MEL_SPECS], axis=1)
        covered = self._covered(song, len(features))
        return {"ssl": features * covered[:, None], "covered": covered}

    def _covered(self, song: Song, n_frames: int) -> npt.NDArray[np.bool_]:
        """Returns which frames have their centre in one of the wanted intervals, (F,)."""
        if not self.within:
            return np.ones(n_frames, np.bool_)
        centres = centres_s(n_frames, RATE)[:, None]
        cuts = song[f"{self.within}.cuts"]
        starts, ends = (np.array([cut[side] for cut in cuts]) for side in ("start_s", "end_s"))
        return np.asarray(((centres >= starts) & (centres < ends)).any(axis=1), np.bool_)


def _frames(song: Song) -> int:
    return frames(song.n_samples, song.sample_rate, RATE)
