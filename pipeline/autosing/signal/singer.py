"""A synthetic singer: a source-filter synthesiser that sings a score, so that every truth about the song is known.

Glottal pulses are placed by the phase of the F0 curve, exact to a fraction of a sample. Each brings the response of
the vocal tract of its moment (a cascade of formant resonators, Klatt 1980, evaluated in the frequency domain), so
formants move without steps and nothing aliases. Frication and breath are noise shaped in short spectra. It shows that
trainers learn and that measures work; it says nothing about natural sound.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from scipy.fft import irfft
from scipy.ndimage import convolve1d

from autosing.signal.framing import centres_s, frames
from autosing.signal.score import Score, Timeline, Wave, accompaniment, compose, lrc_text, timeline
from autosing.signal.voice import NASAL_POLE_HZ, PHONES, Voice, accented

Floats = npt.NDArray[np.floating]
Spectra = npt.NDArray[np.complex64]

FRAME_RATE = Fraction(100)  # of the F0 and voicing truth
PEAK = 10 ** (-3 / 20)
_GRID_S = 0.005
_RESPONSE_S = 0.04  # the tract's response has died away by then
_DELAY_STEPS = 256  # a pulse is placed to a 256th of a sample
_BANDWIDTHS_HZ = (110.0, 120.0, 160.0, 230.0)  # wide, or high notes boom where a harmonic meets a formant
_NASAL_BANDWIDTH_HZ = 150.0


@dataclass(frozen=True)
class Sung(Timeline):
    """A sung score and the truth about it; F frames at 100 Hz, F0 at their centres and 0 where unvoiced."""

    wave: Wave  # (T,), peak at -3 dBFS
    f0_hz: Wave  # (F,), vibrato, slides and jitter included
    voiced: npt.NDArray[np.uint8]  # (F,)


@dataclass(frozen=True)
class Song:
    """What there is to know about a made song; `wave` is the voice and the backing, where there is one."""

    wave: Wave  # (T,)
    sung: Sung
    backing: Wave | None  # (T,)
    score: Score
    lrc: str
    lyrics: str


def song(
    seed: int,
    voice: Voice,
    duration_s: float,
    accompaniment_snr_db: float | None = None,
    sample_rate: int = 24000,
    words_seed: int = 0,
) -> Song:
    """Returns a new song in the range of `voice`, with an accompaniment at this level below the voice, or none.

    Songs of one `words_seed` are written in the same 300 words.
    """
    score = compose(seed, duration_s, voice.lowest_midi, voice.highest_midi, words_seed)
    sung = sing(score, voice, sample_rate, seed)
    wave, backing = sung.wave, None
    if accompaniment_snr_db is not None:
        vocals, backing = balance(wave, accompaniment(score, sample_rate, seed), accompaniment_snr_db)
        sung, wave = replace(sung, wave=vocals), vocals + backing
    return Song(wave, sung, backing, score, lrc_text(sung.lines), "".join(f"{line}\n" for line in score.lines))


def mix(voice: Wave, backing: Wave, snr_db: float) -> Wave:
    """Returns the sum (T,) of a voice and a backing of equal length, the voice `snr_db` above; see `balance`."""
    vocals, band = balance(voice, backing, snr_db)
    return vocals + band


def balance(voice: Wave, backing: Wave, snr_db: float) -> tuple[Wave, Wave]:
    """Returns voice and backing (T,) so that their powers differ by `snr_db` and their sum does not pass -3 dBFS.

    The voice keeps its level unless the sum would be too loud. Where either is silent there is no ratio, and the
    backing keeps its level.
    """
    powers = [float(np.mean(np.square(wave, dtype=np.float64))) if len(wave) else 0.0 for wave in (voice, backing)]
    gain = np.sqrt(powers[0] / powers[1] / 10 ** (snr_db / 10)) if min(powers) > 0 else 1.0
    peak = float(np.max(np.abs(voice + gain * backing), initial=0.0))
    scale = min(1.0, PEAK / peak) if peak else 1.0
    return (voice * scale).astype(np.float32), (backing * (scale * gain)).astype(np.float32)


def sing(score: Score, voice: Voice, sample_rate: int = 24000, seed: int = 0) -> Sung:
    """Returns `score` sung by `voice` at `sample_rate` Hz: the wave and the truth about it.

    `seed` draws jitter, shimmer, drift and noise; phones, words, lines, notes and voicing depend on the score alone.
    """
    rng = np.random.default_rng(seed)
    truth = timeline(score)
    n_samples = round(score.duration_s * sample_rate)
    grid_s = np.arange(int(score.duration_s / _GRID_S) + 2) * _GRID_S
    f0_hz = _f0_hz(score, voice, grid_s, rng)
    moments = _moments(truth, voice, f0_hz, grid_s)
    wave = _pulses(moments, f0_hz, voice, n_samples, sample_rate, rng)
    wave += _noise(moments, voice, n_samples, sample_rate, rng)
    wave *= PEAK / max(float(np.max(np.abs(wave), initial=0.0)), 1e-9)
    times_s = centres_s(frames(n_samples, sample_rate, FRAME_RATE), FRAME_RATE)
    voicing = np.array([PHONES[name].voicing > 0 for _, _, name in truth.phones])
    voiced = voicing[_phone_at(truth, times_s)].astype(np.uint8)
    f0_hz = np.interp(times_s, grid_s, f0_hz) * voiced
    return Sung(**vars(truth), wave=wave, f0_hz=f0_hz.astype(np.float32), voiced=voiced)


def _phone_at(truth: Timeline, times_s: Floats) -> npt.NDArray[np.intp]:
    """Returns the place in `truth.phones` of the phone that sounds at each time."""
    starts = [start_s for start_s, _, _ in truth.phones]
    return (np.searchsorted(starts, times_s, side="right") - 1).clip(0)


def _f0_hz(score: Score, voice: Voice, times_s: Floats, rng: np.random.Generator) -> Floats:
    """Returns the F0 curve (G,): slides between notes, lines begun from below, vibrato on long notes, drift, jitter."""
    jitter = 1 + voice.jitter * rng.standard_normal(len(times_s))
    drift, wander = _slow_noise(rng, len(times_s)), _slow_noise(rng, len(times_s))
    if not score.notes:
        return 220 * jitter
    starts, ends, midi = np.array([(note.start_s, note.end_s, note.midi) for note in score.notes]).T
    begins = np.diff([note.line for note in score.notes], prepend=-1)  # 1 for the first note of a line
    note = (np.searchsorted(starts - 0.03, times_s, side="right") - 1).clip(0)
    since_s, left_s = times_s - starts[note], ends[note] - times_s
    semitones = _smooth(midi[note], 19) - begins[note] * np.exp(-since_s.clip(0) / 0.06)
    depth = _smooth(((since_s - 0.25) / 0.25).clip(0, 1) * (left_s / 0.1).clip(0, 1), 9) * voice.vibrato_cents / 100
    cycles = np.cumsum(voice.vibrato_rate_hz * (1 + 0.04 * wander)) * _GRID_S
    semitones += depth * np.sin(2 * np.pi * cycles) + 0.08 * drift
    curve_hz: Floats = 440 * 2 ** ((semitones - 69) / 12) * jitter
    return curve_hz


def _smooth(series: Floats, points: int) -> Floats:
    """Returns `series` (G, ...) averaged over time with a Hann window of an odd number of `points`."""
    window = np.hanning(points + 2)[1:-1]
    smoothed: Floats = convolve1d(series, window / window.sum(), axis=0, mode="nearest")
    return smoothed


def _slow_noise(rng: np.random.Generator, length: int) -> Floats:
    """Returns noise (G,) of about unit deviation that changes within about a quarter of a second."""
    return _smooth(rng.standard_normal(length), 99) * 8


@dataclass(frozen=True)
class _Moments:
    """The state of the voice over time: amplitudes are relative, all fields have one row per moment."""

    times_s: Floats
    formants_hz: Floats  # (G, 4)
    zero_hz: Floats
    voicing: Floats
    noise: Floats
    noise_hz: Floats
    noise_width_hz: Floats
    breath: Floats

    def at(self, times_s: Floats) -> "_Moments":
        """Returns the state at other times, linear in between."""
        place = (times_s / _GRID_S).clip(0, len(self.times_s) - 1.001)
        before, share = place.astype(np.intp), place % 1

        def between(rows: Floats) -> Floats:
            weight = share[:, None] if rows.ndim == 2 else share
            mixed: Floats = rows[before] * (1 - weight) + rows[before + 1] * weight
            return mixed

        return _Moments(*(between(rows) for rows in vars(self).values()))


def _moments(truth: Timeline, voice: Voice, f0_hz: Floats, times_s: Floats) -> _Moments:
    """Returns the voice's state (G,): targets of the phones, smoothed because tongues are slow (coarticulation)."""
    table = accented(voice.accent)
    phones = [table[name] for _, _, name in truth.phones]
    for n in reversed(range(len(phones))):
        if not phones[n].formants_hz:
            after = phones[n + 1] if n + 1 < len(phones) else table["ah"]
            phones[n] = replace(phones[n], formants_hz=after.formants_hz)
    edges = np.array([(start_s, end_s) for start_s, end_s, _ in truth.phones])
    now = _phone_at(truth, times_s)
    passed = (times_s - edges[now, 0]) / (edges[now, 1] - edges[now, 0])

    def of(name: str) -> Floats:
        return np.array([getattr(phone, name) for phone in phones], float)[now]

    formants_hz = _smooth(of("formants_hz"), 13) * voice.formant_scale * np.array(voice.formant_shifts)
    formants_hz[:, 0] = np.maximum(formants_hz[:, 0], f0_hz)  # high voices open the mouth until F1 meets F0
    released = passed >= of("closure")
    loudness = _loudness(truth, times_s)
    voicing = _smooth(of("voicing"), 3) * loudness
    breath = _smooth(of("breath") * released, 3) * loudness + voice.breathiness * voicing
    noise = _smooth(of("noise") * released, 3) * loudness
    noise_hz = of("noise_hz") * np.sqrt(voice.formant_scale)
    zero_hz = _smooth(of("zero_hz"), 7)
    return _Moments(times_s, formants_hz, zero_hz, voicing, noise, noise_hz, of("noise_width_hz"), breath)


def _loudness(truth: Timeline, times_s: Floats) -> Floats:
    """Returns the level (G,): each line swells a little, begins within 30 ms and dies away in the last 80 ms."""
    level = np.zeros(len(times_s))
    for start_s, end_s, _ in truth.lines:
        since_s, left_s = times_s - start_s, end_s - times_s
        swell = 0.75 + 0.25 * np.sin(np.pi * (since_s / (end_s - start_s)).clip(0, 1))
        level += swell * np.sin(np.pi / 2 * np.minimum(since_s / 0.03, left_s / 0.08).clip(0, 1))
    return level


def _tract(formants_hz: Floats, zero_hz: Floats, frequencies_hz: Floats) -> Spectra:
    """Returns the responses (G, bins) of the moving formants (G, 4) and the moving zero of the nose (G,)."""
    response = _denominator(zero_hz, _NASAL_BANDWIDTH_HZ, frequencies_hz)
    poles = _denominator(formants_hz[:, 0], _BANDWIDTHS_HZ[0], frequencies_hz)
    for formant_hz, bandwidth_hz in zip(formants_hz.T[1:], _BANDWIDTHS_HZ[1:], strict=True):
        poles *= _denominator(formant_hz, bandwidth_hz, frequencies_hz)
    response /= poles
    return response


def _fixed_tract(voice: Voice, frequencies_hz: Floats) -> Spectra:
    """Returns the response (bins,) of what does not move: the pole of the nose and the formants above the fourth."""
    higher_hz = (2 * np.arange(5, 17) - 1) * 500 * voice.formant_scale
    poles = _denominator(np.array([NASAL_POLE_HZ]), _NASAL_BANDWIDTH_HZ, frequencies_hz)
    for formant_hz in higher_hz[:, None]:
        poles *= _denominator(formant_hz, 0.06 * formant_hz.item(), frequencies_hz)
    response: Spectra = 1 / poles[0]
    return response


def _denominator(centre_hz: Floats, bandwidth_hz: float, frequencies_hz: Floats) -> Spectra:
    """Returns one over the responses (G, bins) of resonators: `1 + s (s + 2 pi B) / w_0^2` at `s = 2 pi i f`."""
    shape: Spectra = ((1j * bandwidth_hz - frequencies_hz) * frequencies_hz).astype(np.complex64)
    weight = (1 / (centre_hz**2 + bandwidth_hz**2 / 4)).astype(np.float32)
    denominator = weight[:, None] * shape
    denominator += 1
    return denominator


def _source(voice: Voice, frequencies_hz: Floats) -> Spectra:
    """Returns the spectrum (bins,) of a glottal pulse as radiated."""
    tilt = (1 + 1j * frequencies_hz / 150) ** (-voice.tilt_db_per_octave / 6.02)
    source: Spectra = (tilt * 1j * frequencies_hz / (1j * frequencies_hz + 50)).astype(np.complex64)
    return source


def _equal_loudness(excitation: Spectra, voice: Voice, frequencies_hz: Floats) -> Spectra:
    """Returns `excitation` (bins,) through the fixed tract, scaled to a mean power of 1 when `ah` is sung with it."""
    formants_hz = np.array([PHONES["ah"].formants_hz]) * voice.formant_scale
    spectrum = excitation * _fixed_tract(voice, frequencies_hz)
    sung = spectrum * _tract(formants_hz, np.array([NASAL_POLE_HZ]), frequencies_hz)[0]
    return spectrum / np.float32(np.sqrt(np.mean(np.abs(sung) ** 2)))


def _pulses(
    moments: _Moments, f0_hz: Floats, voice: Voice, n_samples: int, sample_rate: int, rng: np.random.Generator
) -> Wave:
    """Returns the voiced part (T,): a response of the tract wherever the phase of F0 completes a cycle."""
    size = 1 << int(np.ceil(np.log2(_RESPONSE_S * sample_rate)))
    frequencies_hz = np.fft.rfftfreq(size, 1 / sample_rate)
    source = _equal_loudness(_source(voice, frequencies_hz), voice, frequencies_hz)
    source *= np.sqrt(sample_rate / 200)  # the level is that of 200 pulses a second
    steps = np.outer(np.arange(_DELAY_STEPS + 1) / _DELAY_STEPS, np.arange(size // 2 + 1))
    delays = np.exp(-2j * np.pi / size * steps).astype(np.complex64)
    wave = np.zeros(n_samples + size, np.float32)
    for times_s in _pulse_blocks(moments, f0_hz, n_samples, sample_rate):
        state = moments.at(times_s)
        amplitude = state.voicing * (1 + voice.shimmer * rng.standard_normal(len(times_s)))
        first, late = np.divmod(times_s * sample_rate, 1)
        spectra = _tract(state.formants_hz, state.zero_hz, frequencies_hz)
        spectra *= source * delays[np.rint(late * _DELAY_STEPS).astype(int)]
        responses = irfft(spectra * amplitude[:, None].astype(np.float32), size)
        for start, response in zip(first.astype(int).tolist(), responses, strict=True):
            wave[start : start + size] += response
    return wave[:n_samples]


def _pulse_blocks(moments: _Moments, f0_hz: Floats, n_samples: int, sample_rate: int) -> Iterator[Floats]:
    """Yields the times of the glottal pulses in voiced parts, some hundred at once to stay in the processor's cache."""
    samples_s = np.arange(n_samples) / sample_rate
    f0_hz = np.interp(samples_s, moments.times_s, f0_hz)
    cycles = (np.cumsum(f0_hz) - f0_hz / 2) / sample_rate
    times_s = np.interp(np.arange(1, cycles[-1]), cycles, samples_s)
    times_s = times_s[moments.at(times_s).voicing > 0]
    yield from (times_s[start : start + 128] for start in range(0, len(times_s), 128))


def _noise(moments: _Moments, voice: Voice, n_samples: int, sample_rate: int, rng: np.random.Generator) -> Wave:
    """Returns frication and breath (T,): independent noise spectra every 5 ms, joined so that their power is steady."""
    hop = round(_GRID_S * sample_rate)
    size = 1 << (2 * hop - 1).bit_length()
    frequencies_hz = np.fft.rfftfreq(size, 1 / sample_rate)
    state = moments.at(np.arange(n_samples // hop + 2) * hop / sample_rate)
    offset = (frequencies_hz - state.noise_hz[:, None]) / state.noise_width_hz[:, None]
    level = state.noise[:, None] * np.exp(-(offset**2) / 2)
    hiss: Spectra = (1j * frequencies_hz / (1j * frequencies_hz + 500)).astype(np.complex64)
    breath = _equal_loudness(hiss, voice, frequencies_hz)
    level += state.breath[:, None] * np.abs(_tract(state.formants_hz, state.zero_hz, frequencies_hz) * breath)
    phasors = rng.standard_normal((2, *level.shape), np.float32)
    pieces = irfft((phasors[0] + 1j * phasors[1]) * level.astype(np.float32), size)[:, : 2 * hop]
    pieces *= np.sin(np.pi * (np.arange(2 * hop) + 0.5) / (2 * hop)) * np.sqrt(size / 2)
    wave: Wave = (pieces[:-1, hop:] + pieces[1:, :hop]).reshape(-1)[:n_samples]
    return wave
