"""Log-mel spectrograms: one definition for columns, losses and vocoders."""

import functools
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from autosing.signal.errors import UsageError

if TYPE_CHECKING:
    import torch

Floats = npt.NDArray[np.float32]
Filters = Literal["slaney", "htk"]

# Fields that a mapping of a spec leaves out at these values, so that what was written before they came means the same.
LATER_FIELDS = {"filters": "slaney"}

# Frames that `log_mel` computes at once. Every block has this shape, so a frame's values depend on its samples alone.
_BLOCK_FRAMES = 512

# BigVGAN's definition has it in the power of every bin; it keeps the gradient of the magnitude finite where one is 0.
_POWER_FLOOR = 1e-9


@dataclass(frozen=True)
class MelSpec:
    """What a mel spectrogram means; the defaults are those of BigVGAN-v2 `24khz_100band_256x`.

    Frame `i` is centred at sample `(i + 1/2) hop`: the wave is padded by `(n_fft - hop) / 2` on both sides. Values are
    the natural logarithm of mel bands of the magnitude spectrum, not below `log(floor)`. The bands' `filters` are
    `slaney`, whose triangles have unit area per hertz, or `htk`, whose triangles have unit height, as in Vocos.

    Raises:
        UsageError: a number is out of its range, or there are no such filters.
    """

    sample_rate: int = 24_000
    n_fft: int = 1024
    hop: int = 256
    win: int = 1024
    n_mels: int = 100
    fmin_hz: float = 0.0
    fmax_hz: float = 12_000.0
    floor: float = 1e-5
    filters: Filters = "slaney"

    def __post_init__(self) -> None:
        for name in ("sample_rate", "n_fft", "hop", "win", "n_mels", "floor"):
            if not getattr(self, name) > 0:
                raise UsageError(f"mel: {name} is {getattr(self, name)}; it must be above 0")
        if max(self.hop, self.win) > self.n_fft:
            raise UsageError(f"mel: hop is {self.hop} and win {self.win}; neither may be above n_fft, {self.n_fft}")
        highest_hz = self.sample_rate / 2
        if not 0 <= self.fmin_hz < self.fmax_hz <= highest_hz:
            raise UsageError(
                f"mel: bands from {self.fmin_hz:g} to {self.fmax_hz:g} Hz are not inside 0 to {highest_hz:g} Hz, half "
                "the sample rate; change fmin_hz, fmax_hz or sample_rate"
            )
        if self.filters not in get_args(Filters):
            raise UsageError(f"mel: filters is {self.filters!r}; there are: {', '.join(get_args(Filters))}")

    @property
    def rate(self) -> Fraction:
        """Frames per second."""
        return Fraction(self.sample_rate, self.hop)

    @property
    def pad(self) -> int:
        """Samples added on either side of the wave."""
        return (self.n_fft - self.hop) // 2

    def as_mapping(self) -> dict[str, Any]:
        """Returns what settings, fields and contracts say of it; `MelSpec(**mapping)` is the spec again."""
        return {name: value for name, value in asdict(self).items() if LATER_FIELDS.get(name) != value}


def log_mel(wave: Floats, spec: MelSpec, n_frames: int) -> Floats:
    """Returns the log-mel spectrogram (n_frames, M) of `wave` (T,), which is zero-padded or cut to `n_frames` hops.

    Works in blocks, so that memory is flat, and gives a frame the same bits wherever it lies in a file.
    """
    import torch

    mel = np.empty((n_frames, spec.n_mels), np.float32)
    for start in range(0, n_frames, _BLOCK_FRAMES):
        first = start * spec.hop - spec.pad
        last = first + (_BLOCK_FRAMES - 1) * spec.hop + spec.n_fft
        piece = _mirrored(wave, first, last, n_frames * spec.hop, spec.pad)
        block = _log_mel_of_padded(torch.tensor(piece)[None], spec)[0].T.numpy()
        mel[start : start + _BLOCK_FRAMES] = block[: n_frames - start]
    return mel


def shifted_log_mel(wave: Floats, spec: MelSpec, n_frames: int, octaves: float) -> Floats:
    """Returns the log-mel spectrogram (n_frames, M) of a voice whose pitch and formants lie higher, at the same times.

    The window is longer by the shift, and its bins are read as if it were not: what stood at a frequency stands at
    2^octaves times that. The level stays. Of a lower voice nothing is known of the highest bands: they mirror what is
    below half the sampling rate, so that noise goes on there; a hole would be farther off than anything that is sung.

    Args:
        wave: (T,).
        spec: of the result.
        n_frames: of it.
        octaves: how much higher; below 0 lower, down to where a window would be shorter than a hop.
    """
    import torch

    n_fft = 2 * max(round(spec.n_fft * 2**octaves / 2), -(-spec.hop // 2))
    wide = replace(spec, n_fft=n_fft, win=min(round(spec.win * 2**octaves), n_fft))
    piece = _mirrored(wave, -wide.pad, n_frames * spec.hop + wide.pad, n_frames * spec.hop, wide.pad)
    magnitude_BNF = _magnitude(torch.tensor(piece)[None], wide) * (spec.win / wide.win)
    n_bins = spec.n_fft // 2 + 1
    missing = max(n_bins - magnitude_BNF.shape[1], 0)
    mirrored_BNF = magnitude_BNF[:, -1 - missing : -1].flip(1)
    magnitude_BNF = torch.cat([magnitude_BNF, mirrored_BNF], dim=1)[:, :n_bins]
    mel: Floats = _log_bands(magnitude_BNF, spec)[0].T.numpy()
    return mel


def log_mel_torch(wave_BT: "torch.Tensor", spec: MelSpec) -> "torch.Tensor":
    """Returns the log-mel spectrogram (B, M, T // hop) of waves (B, T): differentiable, float32 under any autocast."""
    import torch.nn.functional as F

    wave_BT = wave_BT.float()
    mirrored = min(spec.pad, wave_BT.shape[-1] - 1)
    wave_BT = F.pad(wave_BT, (mirrored, mirrored), mode="reflect")
    wave_BT = F.pad(wave_BT, (spec.pad - mirrored, spec.pad - mirrored))
    return _log_mel_of_padded(wave_BT, spec)


def _log_mel_of_padded(wave_BT: "torch.Tensor", spec: MelSpec) -> "torch.Tensor":
    import torch

    with torch.autocast(wave_BT.device.type, enabled=False):
        return _log_bands(_magnitude(wave_BT, spec), spec)


def _magnitude(wave_BT: "torch.Tensor", spec: MelSpec) -> "torch.Tensor":
    # Vocos's definition adds nothing: what keeps the gradient finite there lies below what can be told.
    power_floor = _POWER_FLOOR if spec.filters == "slaney" else (1e-3 * spec.floor) ** 2
    spectrum_BNF = _stft(wave_BT, spec)
    return (spectrum_BNF.real.square() + spectrum_BNF.imag.square() + power_floor).sqrt()


def _log_bands(magnitude_BNF: "torch.Tensor", spec: MelSpec) -> "torch.Tensor":
    filters_MN, _ = _constants(spec, magnitude_BNF.device)
    return (filters_MN @ magnitude_BNF).clamp(min=spec.floor).log()


def _stft(wave_BT: "torch.Tensor", spec: MelSpec) -> "torch.Tensor":
    import torch

    window = _constants(spec, wave_BT.device)[1]
    return torch.stft(wave_BT, spec.n_fft, spec.hop, spec.win, window, center=False, return_complex=True)


@functools.cache
def _constants(spec: MelSpec, device: "torch.device") -> "tuple[torch.Tensor, torch.Tensor]":
    """Returns the mel filters (M, N) and the window (win,) on a device."""
    import torch

    with torch.inference_mode(False):  # What is made in inference mode could not be used by a loss later on.
        return torch.from_numpy(mel_filters(spec)).to(device), torch.hann_window(spec.win, device=device)


def _mirrored(wave: Floats, start: int, stop: int, length: int, pad: int) -> Floats:
    """Returns samples `start` to `stop` of a wave of `length` (zeros after its end), mirrored for `pad` at each end.

    There are zeros where the wave is too short to be mirrored, and beyond the padding.
    """
    known = min(len(wave), length)
    if start >= 0 and stop <= known:
        return wave[start:stop]
    index = np.arange(start, min(stop, length + pad))
    index = np.where(index < length, np.abs(index), 2 * (length - 1) - index)
    inside = (index >= 0) & (index < known)
    piece = np.zeros(stop - start, np.float32)
    piece[: len(index)][inside] = wave[index[inside]]
    return piece


def padded_window(spec: MelSpec) -> "torch.Tensor":
    """Returns the window (n_fft,) of `spec`, zeros on either side where it is shorter than the transform."""
    import torch
    import torch.nn.functional as F

    left = (spec.n_fft - spec.win) // 2
    return F.pad(torch.hann_window(spec.win), (left, spec.n_fft - spec.win - left))


def mel_filters(spec: MelSpec) -> Floats:
    """Returns the triangular filters (M, n_fft/2 + 1) of a spec's bands."""
    return htk_filters(spec) if spec.filters == "htk" else slaney_filters(spec)


def slaney_filters(spec: MelSpec) -> Floats:
    """Returns the triangular filters (M, n_fft/2 + 1) of Slaney's Auditory Toolbox, each of unit area per hertz.

    The mel scale is linear below 1 kHz (3 mel per 200 Hz) and logarithmic above (27 mel per factor of 6.4).
    """
    lowest_mel, highest_mel = _hz_to_mel(np.array([spec.fmin_hz, spec.fmax_hz]))
    edges_hz = _mel_to_hz(np.linspace(lowest_mel, highest_mel, spec.n_mels + 2))
    width_hz = (edges_hz[2:] - edges_hz[:-2])[:, None]
    return (_triangles(edges_hz, spec) * 2 / width_hz).astype(np.float32)


def htk_filters(spec: MelSpec) -> Floats:
    """Returns the triangular filters (M, n_fft/2 + 1) of HTK's mel scale, 2595 log10(1 + f / 700), of unit height."""
    lowest_mel, highest_mel = 2595 * np.log10(1 + np.array([spec.fmin_hz, spec.fmax_hz]) / 700)
    edges_hz = 700 * (10 ** (np.linspace(lowest_mel, highest_mel, spec.n_mels + 2) / 2595) - 1)
    return _triangles(edges_hz, spec).astype(np.float32)


def _triangles(edges_hz: npt.NDArray[np.float64], spec: MelSpec) -> npt.NDArray[np.float64]:
    """Returns triangles (M, n_fft/2 + 1) of unit height, each from an edge over the next to the one after it."""
    bins_hz = np.arange(spec.n_fft // 2 + 1) * spec.sample_rate / spec.n_fft
    low, centre, high = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    return np.maximum(np.minimum((bins_hz - low) / (centre - low), (high - bins_hz) / (high - centre)), 0)


def _hz_to_mel(hz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(hz < 1000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1000) / 1000) / np.log(6.4))


def _mel_to_hz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))
