"""How far waves are from each other, sample by sample (SI-SDR) or as standardised listeners would say (PESQ, STOI).

PESQ and STOI were made for speech: on singing they rank versions of one recording, and their values say little more.
"""

import math
import warnings
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.signal.errors import UsageError
from autosing.signal.resample import resample
from autosing.training.metrics.shapes import paired_waves

Wave = npt.NDArray[np.floating[Any]]

_PESQ_HZ = 16_000
# Where the mapping of P.862.2 from raw scores ends.
_PESQ_LEAST = 0.999
# STOI correlates windows of 30 frames of 256 samples, half overlapping, at 10 kHz: 0.4 s.
_STOI_SHORTEST_S = 0.4


def si_sdr(predicted: Wave, target: Wave) -> float:
    """Returns the scale-invariant signal-to-distortion ratio in dB of two waves (T,) (Le Roux et al., 2019).

    The means are taken off first. Infinite where the prediction is a multiple of the target, minus infinity where it
    has nothing of it (silence), NaN where the target is silent.

    Raises:
        ValueError: the waves have two lengths, or no sample.
    """
    p, t = (wave - wave.mean() for wave in paired_waves(predicted, target))
    if not np.any(t):
        return math.nan
    scaled = (p @ t) / (t @ t) * t
    signal, distortion = float(scaled @ scaled), float((p - scaled) @ (p - scaled))
    if not signal:
        return -math.inf
    return 10 * math.log10(signal / distortion) if distortion else math.inf


def pesq(predicted: Wave, target: Wave, sample_rate: int) -> float:
    """Returns the wide-band PESQ (MOS-LQO, 1.0 to 4.64; ITU-T P.862.2) of two waves (T,), resampled to 16 kHz.

    A silent prediction has the least value, 0.999. NaN where the target is shorter than 0.25 s, or PESQ finds no
    utterance in it.

    Raises:
        UsageError: the package `pesq` is missing.
        ValueError: the waves have two lengths, or no sample.
    """
    module = optional_package("pesq", "PESQ")
    p, t = (resample(wave.astype(np.float32), sample_rate, _PESQ_HZ) for wave in paired_waves(predicted, target))
    # The package would divide by the level of silence.
    if not np.any(t):
        return math.nan
    if not np.any(p):
        return _PESQ_LEAST
    try:
        return float(module.pesq(_PESQ_HZ, t, p, "wb"))
    except (module.NoUtterancesError, module.BufferTooShortError):
        return math.nan


def stoi(predicted: Wave, target: Wave, sample_rate: int, extended: bool = False) -> float:
    """Returns the short-time objective intelligibility (Taal et al., 2011) of two waves (T,), at most 1.

    NaN where the target has less than about 0.4 s that is not silent (30 frames within 40 dB of the loudest one).

    Args:
        predicted: (T,).
        target: (T,).
        sample_rate: in Hz; the measure resamples to 10 kHz.
        extended: ESTOI (Jensen and Taal, 2016), which punishes modulated noise too.

    Raises:
        UsageError: the package `pystoi` is missing.
        ValueError: the waves have two lengths, or no sample.
    """
    module = optional_package("pystoi", "STOI")
    p, t = paired_waves(predicted, target)
    if len(t) < _STOI_SHORTEST_S * sample_rate or not np.any(t):
        return math.nan
    with warnings.catch_warnings():
        # With too few frames that are not silent, the package warns and returns 1e-5.
        warnings.filterwarnings("error", message="Not enough STFT frames", category=RuntimeWarning)
        try:
            return float(module.stoi(t, p, sample_rate, extended=extended))
        except RuntimeWarning:
            return math.nan


def optional_package(name: str, metric: str) -> ModuleType:
    """Returns the module of a package that `metric` needs and a plain installation lacks.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise UsageError(f"{metric} needs the package {name}, which is not installed; pip install {name}") from error
