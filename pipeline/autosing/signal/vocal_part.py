"""What of a recording behaves like a voice: a cue for voice activity, not a stem.

A voice is mixed into the middle, never holds a pitch as steadily as a chord, and never is as short as a drum. So bins
are kept where both channels agree; then, in windows of 256 ms, those that are no part of a steady tone; then, in
windows of 32 ms, those that are no part of a click. Whether a bin belongs to a tone or to a click is told by medians
along time and along frequency (Fitzgerald, "Harmonic/percussive separation using median filtering", 2010; in two
resolutions: Tachibana et al., "Melody line estimation in homophonic music audio signals", 2010).
"""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from autosing.signal.decode import to_mono
from autosing.signal.decode_stream import in_blocks

Samples = npt.NDArray[np.float32]
Wave = npt.NDArray[np.float32]
Spectrum = npt.NDArray[np.complex64]

SAMPLE_RATE = 16_000

# Of blocks and of the context that they see of their neighbours. Multiples of the long window, so that windows lie
# where they would without blocks.
BLOCK_SAMPLES = 250 * 4096
CONTEXT_SAMPLES = 8 * 4096

_LOWEST_HZ, _HIGHEST_HZ = 80, 5500
_TINY = np.float32(1e-12)

# Windows in samples, and how far the medians look: along time in frames of a quarter of a window, along frequency in
# bins. On real songs, windows of 128 or 512 ms in place of 256 ms told singing from the rest a little worse.
_LONG, _LONG_FRAMES, _LONG_BINS = 4096, 7, 21
_SHORT, _SHORT_FRAMES, _SHORT_BINS = 512, 19, 17
_CENTRE_POWER = 4


def vocal_blocks(blocks: Iterable[Samples]) -> Iterator[Wave]:
    """Yields the vocal part (n,) of a song at 16 kHz, given in blocks (n, C) of any lengths, 64 s at once.

    A block looks 2 s into its neighbours. More than two channels are mixed down, and so are two of which one is silent
    or the opposite of the other.
    """
    for heard, first, length in _with_context(blocks):
        channels = _left_and_right(heard)
        yield vocal_part(channels[0], channels[-1])[first : first + length]


def _with_context(blocks: Iterable[Samples]) -> Iterator[tuple[Samples, int, int]]:
    """Yields blocks with their context, and which of these samples are the block: the first and how many."""
    equal = in_blocks(blocks, BLOCK_SAMPLES)
    this = next(equal, None)
    before = None if this is None else this[:0]
    while this is not None and before is not None:
        following = next(equal, None)
        after = this[:0] if following is None else following[:CONTEXT_SAMPLES]
        yield np.concatenate([before, this, after]), len(before), len(this)
        before, this = this[-CONTEXT_SAMPLES:], following


def vocal_part(left: Wave, right: Wave) -> Wave:
    """Returns the vocal part (T,) of two channels (T,) at 16 kHz, which may be one and the same."""
    n_samples = len(left)
    spectra = [_spectrum(wave, _LONG) for wave in ([left] if left is right else [left, right])]
    moving = _moving(spectra[0], spectra[-1])
    voice = _tonal(_spectrum(_wave(moving, _LONG, n_samples), _SHORT))
    return _wave(voice, _SHORT, n_samples)


def _left_and_right(samples: Samples) -> list[Wave]:
    """Returns one channel (T,), or two that compare: neither they nor their mean are 20 dB below the louder one."""
    if samples.shape[1] != 2:
        return [to_mono(samples)]
    left, right = samples.T
    powers = [float(np.dot(wave, wave)) for wave in (left, right)]
    middle_power = (sum(powers) + 2 * float(np.dot(left, right))) / 4
    return [to_mono(samples)] if 100 * min(*powers, middle_power) < max(powers) else [left, right]


def _moving(left: Spectrum, right: Spectrum) -> Spectrum:
    """Returns the middle (F, N) of two spectra without what is steady or heard on one side only."""
    middle = left
    agreement: npt.NDArray[np.float32] | float = 1.0
    if left is not right:
        middle = (left + right) / np.float32(2)
        both = left.real**2 + left.imag**2 + right.real**2 + right.imag**2
        together = 2 * (left.real * right.real + left.imag * right.imag)
        agreement = np.clip(together / (both + _TINY), 0, 1) ** _CENTRE_POWER
    steady, click = _medians(np.abs(middle), _LONG_FRAMES, _LONG_BINS)
    share = click**2 / (steady**2 + click**2 + _TINY)
    moving: Spectrum = middle * (share * agreement)
    return moving


def _tonal(spectrum: Spectrum) -> Spectrum:
    """Returns a spectrum (F, N) without clicks."""
    tone, click = _medians(np.abs(spectrum), _SHORT_FRAMES, _SHORT_BINS)
    tonal: Spectrum = spectrum * (tone**2 / (tone**2 + click**2 + _TINY))
    return tonal


def _medians(magnitude: Wave, n_frames: int, n_bins: int) -> tuple[Wave, Wave]:
    """Returns the medians of a magnitude (F, N) along time and along frequency."""
    return _median(np.ascontiguousarray(magnitude.T), n_frames).T, _median(magnitude, n_bins)


def _median(rows: Wave, length: int) -> Wave:
    """Returns the running median of every row, its ends repeated; as one long row it takes a tenth of the time."""
    from scipy.ndimage import median_filter

    half = length // 2
    padded = np.pad(rows, ((0, 0), (half, half)), mode="edge")
    medians: Wave = median_filter(padded.ravel(), length).reshape(padded.shape)[:, half : half + rows.shape[1]]
    return medians


def _spectrum(wave: Wave, size: int) -> Spectrum:
    """Returns the bins (F, N) of 80 to 5500 Hz of Hann windows, a quarter of `size` apart, that cover `wave` (T,)."""
    from scipy.fft import rfft

    padded = np.pad(wave, (size, 2 * size))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[:: size // 4]
    spectrum: Spectrum = rfft(frames * _window(size))[:, _bins(size)]
    return spectrum


def _wave(spectrum: Spectrum, size: int, n_samples: int) -> Wave:
    """Returns the wave (n_samples,) of what `_spectrum` gave, other bins being 0."""
    from scipy.fft import irfft

    whole = np.zeros((len(spectrum), size // 2 + 1), np.complex64)
    whole[:, _bins(size)] = spectrum
    frames = irfft(whole, size) * _window(size)
    wave = np.zeros((len(frames) + 4) * size // 4 + size, np.float32)
    for quarter in range(4):
        part = frames[quarter::4].ravel()
        wave[quarter * size // 4 :][: len(part)] += part
    return wave[size : size + n_samples] / np.float32(1.5)  # the squares of four Hann windows add up to that


def _bins(size: int) -> slice:
    return slice(_LOWEST_HZ * size // SAMPLE_RATE, _HIGHEST_HZ * size // SAMPLE_RATE + 1)


def _window(size: int) -> Wave:
    window: Wave = np.hanning(size + 1)[:-1].astype(np.float32)
    return window
