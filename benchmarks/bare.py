"""What `process.py` measures against: the calls of a plain loop over arrays, with nothing stored.

`third_party` calls the libraries themselves, the way a script would; `own` calls the functions of `autosing.signal`.
"""

import io
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import pyloudnorm
import scipy.fft
import soundfile
import soxr
import torch
import torchaudio
from swift_f0 import SwiftF0
from torchaudio.compliance import kaldi

from autosing.signal import faults, loudness, noise
from autosing.signal.decode import decode, to_mono
from autosing.signal.energy import energy
from autosing.signal.f0 import f0
from autosing.signal.fingerprint import SAMPLE_RATE as FINGERPRINT_RATE
from autosing.signal.fingerprint import fingerprint
from autosing.signal.framing import frames, tied_frames
from autosing.signal.kmeans import assign
from autosing.signal.mel import MelSpec, log_mel
from autosing.signal.mfcc import mfcc
from autosing.signal.pooling import pool
from autosing.signal.resample import resample
from autosing.signal.standardise import standardised

Floats = npt.NDArray[np.float32]
SPEC = MelSpec()
FEATURE_RATE, POINT_RATE = Fraction(50), Fraction(100)
_FFT = 4096


@dataclass
class Clock:
    """Seconds by stage. A resampled wave counts for the stage that needs it first."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.add(stage, time.perf_counter() - started)

    def add(self, stage: str, seconds: float) -> None:
        """Adds seconds to a stage."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds


@dataclass(frozen=True)
class Codebooks:
    """Centroids (K, 39) of the units, and of the tokens by milliseconds."""

    units: Floats
    tokens: Mapping[int, Floats]


class ThirdParty:
    """The libraries' own calls, their models loaded."""

    def __init__(self, codebooks: Codebooks) -> None:
        self._units = _index(codebooks.units)
        self._tokens = {ms: _index(book) for ms, book in codebooks.tokens.items()}
        self._window = np.hanning(_FFT).astype(np.float32)
        self._detector = SwiftF0(threads=1, spin=False)
        self._mel = torchaudio.transforms.MelSpectrogram(
            SPEC.sample_rate, SPEC.n_fft, hop_length=SPEC.hop, f_min=SPEC.fmin_hz, f_max=SPEC.fmax_hz,
            n_mels=SPEC.n_mels, power=1.0, center=False, norm="slaney", mel_scale="slaney",
        )  # fmt: skip

    def __call__(self, data: bytes, clock: Clock) -> None:
        """Computes everything for one song and forgets it."""
        with clock("probe"):
            samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
        with clock("energy"):
            mono = samples @ np.full(samples.shape[1], 1 / samples.shape[1], np.float32)
            hop = rate // 100
            totals = np.add.reduceat(np.square(mono), np.arange(0, len(mono), hop))
            rms = np.sqrt((totals[:-1] + totals[1:]) / (2 * hop))
        with clock("ssl"):
            wave = soxr.resample(mono, rate, 16_000)
            features = self._features(wave)
        with clock("mel"):
            mel_input = torch.from_numpy(soxr.resample(mono, rate, SPEC.sample_rate))
            self._mel(mel_input).clamp(min=SPEC.floor).log()
        with clock("f0"):
            self._detector.detect(wave, 16_000, 50.0, 1100.0)
        with clock("quality"):
            self._quality(samples, rate, rms)
        with clock("tokens"):
            for ms, index in self._tokens.items():
                ratio = ms // 20
                whole = features[: len(features) // ratio * ratio].reshape(-1, ratio, features.shape[1])
                index.search(whole.mean(1), 1)
        with clock("units"):
            self._units.search(features - features.mean(0), 1)

    def _features(self, wave: Floats) -> Floats:
        """Returns 13 MFCC with two orders of slopes (F, 39) at 50 Hz."""
        cepstra = kaldi.mfcc(
            torch.from_numpy(wave)[None], sample_frequency=16_000, dither=0.0, use_energy=False, snip_edges=False
        )
        slopes = torchaudio.functional.compute_deltas(cepstra.T[None])
        all_DF = torch.cat([cepstra.T, slopes[0], torchaudio.functional.compute_deltas(slopes)[0]])
        even = all_DF[:, : all_DF.shape[1] // 2 * 2]
        pairs: Floats = ((even[:, 0::2] + even[:, 1::2]) / 2).T.contiguous().numpy()
        return pairs

    def _quality(self, samples: Floats, rate: int, rms: Floats) -> None:
        pyloudnorm.Meter(rate).integrated_loudness(samples)
        magnitude = np.abs(samples)
        peak, clipped = magnitude.max(), (magnitude >= 0.99).mean()
        silent, noise_to_voice = (rms < 1e-3).mean(), np.percentile(rms, [10, 90])
        # Not scipy.signal.welch, which takes twenty times as long.
        for channel in samples.T:
            windows = channel[: len(channel) // _FFT * _FFT].reshape(-1, _FFT) * self._window
            spectrum = np.square(np.abs(scipy.fft.rfft(windows))).mean(0)
        del peak, clipped, silent, noise_to_voice, spectrum


def _index(codebook: Floats) -> Any:
    index = faiss.IndexFlatL2(codebook.shape[1])
    index.add(codebook)
    return index


def own(data: bytes, clock: Clock, codebooks: Codebooks) -> None:
    """Computes everything for one song by the functions of `autosing.signal` and forgets it."""
    with clock("probe"):
        audio = decode(data)
    samples, rate = audio.samples, audio.sample_rate
    with clock("energy"):
        mono = to_mono(samples)
        energy(mono, rate, frames(len(mono), rate, POINT_RATE))
    with clock("ssl"):
        wave = resample(mono, rate, 16_000)
        features = mfcc(wave, 16_000, frames(len(mono), rate, FEATURE_RATE))
    with clock("mel"):
        log_mel(resample(mono, rate, SPEC.sample_rate), SPEC, frames(len(mono), rate, SPEC.rate))
    with clock("f0"):
        f0(wave, 16_000, frames(len(mono), rate, POINT_RATE))
    with clock("quality"):
        loudness.loudness_and_range(samples, rate)
        loudness.true_peak_db(samples, rate)
        faults.peak(samples)
        faults.clipping(samples)
        faults.top_range_db(samples)
        faults.dc_offset(samples)
        faults.silence_ratio(samples, rate)
        faults.stereo(samples)
        noise.snr_db(samples, rate)
        noise.bandwidth_hz(samples, rate)
        fingerprint(resample(mono, rate, FINGERPRINT_RATE))
    with clock("tokens"):
        rates = [Fraction(1000, ms) for ms in codebooks.tokens]
        for (ms, book), n in zip(codebooks.tokens.items(), tied_frames(len(mono), rate, rates), strict=True):
            assign(pool(features, FEATURE_RATE, n, Fraction(1000, ms)), book)
    with clock("units"):
        assign(standardised(features, "mean"), codebooks.units)
