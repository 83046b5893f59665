"""What a vocoder's filters shape: pulses at the pitch, and noise; both known in full from F0 and a seed.

Pulses are band-limited: the sum of all harmonics below half the sample rate, each as strong as the others, in closed
form (Dirichlet's kernel). Phase is summed up in float64, so an hour of it is as exact as a second.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autosing.signal.mel import MelSpec
from autosing.signal.rows import Rows

Floats = npt.NDArray[np.floating]

LOWEST_HZ = 20.0
# Samples of noise that one seed makes; noise at a place in a recording is the same however it is asked for.
NOISE_BLOCK = 4096
# Samples whose pitch and pulses are worked out at once: what that takes in float64 would be 70 bytes a sample.
BLOCK_SAMPLES = 1 << 20
# Below this the kernel is at its peak, which 0 / 0 does not tell.
_AT_PEAK = 1e-4
_NEXT_TO_NOTHING = 1e-12


def sample_f0(f0_hz: Floats, voiced: npt.NDArray[Any], times: Floats) -> npt.NDArray[np.float32]:
    """Returns F0 at fractional frames `times` (T,), in Hz, and 0 where the nearest frame is unvoiced.

    Log F0 is interpolated inside a voiced run alone: between a pitch and none there is no pitch.

    Args:
        f0_hz: (F,).
        voiced: (F,).
        times: places in frames, 0 at the first frame's centre.
    """
    if not len(f0_hz):
        return np.zeros(len(times), np.float32)
    is_voiced = voiced.astype(bool) & (f0_hz > 0)
    log_f0 = np.log(np.where(is_voiced, f0_hz, 1.0))
    left = np.clip(np.floor(times).astype(np.int64), 0, len(f0_hz) - 1)
    right = np.minimum(left + 1, len(f0_hz) - 1)
    nearest = np.clip(np.rint(times).astype(np.int64), 0, len(f0_hz) - 1)
    share = np.where(is_voiced[left] & is_voiced[right], np.clip(times - left, 0, 1), nearest != left)
    found = np.exp(log_f0[left] * (1 - share) + log_f0[right] * share)
    return np.where(is_voiced[nearest], found, 0).astype(np.float32)


def f0_at_samples(
    f0_hz: Floats, voiced: npt.NDArray[Any], rate: Fraction, n_samples: int, sample_rate: int
) -> npt.NDArray[np.float32]:
    """Returns F0 at each sample (T,) of a series (F,) at `rate`, frames being at their centres; see `sample_f0`."""
    found = np.empty(n_samples, np.float32)
    for first in range(0, n_samples, BLOCK_SAMPLES):
        last = min(first + BLOCK_SAMPLES, n_samples)
        found[first:last] = f0_between(f0_hz, voiced, rate, first, last, sample_rate)
    return found


def f0_between(
    f0_hz: Rows, voiced: Rows, rate: Fraction, first: int, last: int, sample_rate: int
) -> npt.NDArray[np.float32]:
    """Returns F0 at the samples from `first` to `last`; see `f0_at_samples`. No more of the series is looked at."""
    times = (np.arange(first, last) + 0.5) * float(rate) / sample_rate - 0.5
    if not len(times) or not len(f0_hz):
        return np.zeros(len(times), np.float32)
    begin = min(max(int(times[0]) - 1, 0), len(f0_hz) - 1)
    near = slice(begin, max(int(times[-1]) + 3, begin + 1))
    return sample_f0(f0_hz[near], voiced[near], times - begin)


def pulses(f0_hz_BT: Tensor, sample_rate: int, start_B: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Returns pulses (B, T) of power 1 where voiced and 0 elsewhere, and the phase in turns after the last sample (B,).

    Args:
        f0_hz_BT: pitch of each sample; 0 is unvoiced, which stops the phase.
        sample_rate: in Hz.
        start_B: phase in turns before the first sample, float64; 0 where None.
    """
    f0_BT = f0_hz_BT.double()
    voiced_BT = f0_BT >= LOWEST_HZ
    turns_BT = torch.where(voiced_BT, f0_BT / sample_rate, 0.0).cumsum(1)
    if start_B is not None:
        turns_BT = turns_BT + start_B[:, None]
    harmonics_BT = torch.floor(0.5 * sample_rate / f0_BT.clamp(min=LOWEST_HZ)).clamp(min=1)
    angle_BT = math.pi * (turns_BT - turns_BT.round())
    is_peak_BT = angle_BT.abs() < _AT_PEAK
    # 1 + 2 sum of cos(2 k angle), k = 1 .. harmonics.
    kernel_BT = torch.sin((2 * harmonics_BT + 1) * angle_BT) / torch.where(is_peak_BT, 1.0, torch.sin(angle_BT))
    kernel_BT = torch.where(is_peak_BT, 2 * harmonics_BT + 1, kernel_BT)
    # Each harmonic has power 1/2.
    wave_BT = (kernel_BT - 1) / 2 / (harmonics_BT / 2).sqrt()
    # Where pulses are 0 there is no voice, and noise takes their place: a voiced sample must not be 0 by chance.
    wave_BT = torch.where(wave_BT.abs() < _NEXT_TO_NOTHING, _NEXT_TO_NOTHING, wave_BT)
    return torch.where(voiced_BT, wave_BT, 0.0).to(f0_hz_BT.dtype), torch.frac(turns_BT[:, -1])


def noise(first: int, n_samples: int, seed: int) -> npt.NDArray[np.float32]:
    """Returns samples `first` to `first + n_samples` of white noise of power 1: they do not depend on what is asked."""
    blocks = range(first // NOISE_BLOCK, (first + n_samples + NOISE_BLOCK - 1) // NOISE_BLOCK)
    made = [np.random.default_rng([seed, block]).standard_normal(NOISE_BLOCK, np.float32) for block in blocks]
    offset = first % NOISE_BLOCK
    return np.concatenate([np.zeros(0, np.float32), *made])[offset : offset + n_samples]


@dataclass
class PulseTrain:
    """Pulses of a recording piece by piece, as they would be of the whole of it."""

    sample_rate: int
    phase: float = 0.0

    def next(self, f0_hz: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Returns the pulses (T,) of the next samples."""
        found = np.empty(len(f0_hz), np.float32)
        for first in range(0, len(f0_hz), BLOCK_SAMPLES):
            block = torch.from_numpy(f0_hz[first : first + BLOCK_SAMPLES])[None]
            wave_BT, end_B = pulses(block, self.sample_rate, torch.tensor([self.phase], dtype=torch.float64))
            found[first : first + BLOCK_SAMPLES] = wave_BT[0].numpy()
            self.phase = float(end_B[0])
        return found


@dataclass(frozen=True)
class Excitation:
    """What a recording's filters shape, known as a whole, since a phase is the sum of all that was before it.

    Attributes:
        f0_hz: (F hop,), of each sample; None where no pitch is used.
        pulses: (F hop,); None where no pitch is used.
        hop: samples to a frame.
        seed: of the noise.
    """

    f0_hz: npt.NDArray[np.float32] | None
    pulses: npt.NDArray[np.float32] | None
    hop: int
    seed: int

    @classmethod
    def of_samples(cls, f0_hz: npt.NDArray[np.float32] | None, spec: MelSpec, seed: int) -> "Excitation":
        """Returns that of a pitch at each sample (T,)."""
        wave = None if f0_hz is None else PulseTrain(spec.sample_rate).next(f0_hz)
        return cls(f0_hz, wave, spec.hop, seed)

    @classmethod
    def of_frames(cls, f0_hz: npt.NDArray[np.float32], spec: MelSpec, seed: int) -> "Excitation":
        """Returns that of a pitch at each of the mel's frames (F,)."""
        n_samples = len(f0_hz) * spec.hop
        return cls.of_samples(f0_at_samples(f0_hz, f0_hz > 0, spec.rate, n_samples, spec.sample_rate), spec, seed)

    def batch(self, first: int, last: int, device: torch.device) -> dict[str, Tensor]:
        """Returns `noise`, and where a pitch is used `pulses` and `period_s`, of frames `first` to `last`, (1, ...)."""
        span = slice(first * self.hop, last * self.hop)
        pitch = None if self.f0_hz is None else self.f0_hz[span]
        pulses = None if self.pulses is None else self.pulses[span]
        return _batch(noise(span.start, span.stop - span.start, self.seed), pitch, pulses, self.hop, device)


@dataclass
class RunningExcitation:
    """An `Excitation` whose pieces are asked for one after the other; it holds no more than one.

    Attributes:
        f0_hz: returns the pitch of the samples from one to another, 0 where unvoiced.
        spec: hop and sample rate.
        seed: of the noise.
    """

    f0_hz: Callable[[int, int], npt.NDArray[np.float32]]
    spec: MelSpec
    seed: int
    # Where what is held begins, its pitch and its pulses.
    _first: int = field(default=0, init=False)
    _pitch: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32), init=False)
    _pulses: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32), init=False)
    _train: PulseTrain = field(init=False)

    def __post_init__(self) -> None:
        self._train = PulseTrain(self.spec.sample_rate)

    def batch(self, first: int, last: int, device: torch.device) -> dict[str, Tensor]:
        """Returns what `Excitation.batch` does; neither border lies before that of the piece before."""
        begin, end, hop = first * self.spec.hop, last * self.spec.hop, self.spec.hop
        pitch = self.f0_hz(self._first + len(self._pitch), end)
        self._pulses = np.concatenate([self._pulses, self._train.next(pitch)])[begin - self._first :]
        self._pitch = np.concatenate([self._pitch, pitch])[begin - self._first :]
        self._first = begin
        return _batch(noise(begin, end - begin, self.seed), self._pitch, self._pulses, hop, device)


def _batch(
    noise: npt.NDArray[np.float32],
    f0_hz: npt.NDArray[np.float32] | None,
    pulses: npt.NDArray[np.float32] | None,
    hop: int,
    device: torch.device,
) -> dict[str, Tensor]:
    """Returns the excitation of a piece as a batch of one."""
    given = {"noise": noise}
    if f0_hz is not None and pulses is not None:
        given |= {"pulses": pulses, "period_s": periods(f0_hz, hop)}
    return {name: torch.from_numpy(array)[None].to(device) for name, array in given.items()}


def periods(f0_hz: npt.NDArray[np.float32], hop: int) -> npt.NDArray[np.float32]:
    """Returns the period in seconds at the centre of each frame (F,), 0 where unvoiced, of F0 per sample (F hop,)."""
    centre_hz = f0_hz[hop // 2 :: hop]
    return np.divide(1, centre_hz, where=centre_hz > 0, out=np.zeros(len(centre_hz), np.float32))
