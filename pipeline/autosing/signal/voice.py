"""Who sings, and how phones sound in a mouth: the voices and the phones of the synthetic singer."""

import functools
from dataclasses import dataclass, replace

import numpy as np

from autosing.signal.score import SILENCE

NASAL_POLE_HZ = 1000.0


@dataclass(frozen=True)
class Voice:
    """What makes a singer: none of it changes the words, the timing or the notes."""

    name: str
    formant_scale: float = 1.0  # 1 for a long (bass) vocal tract, larger for shorter ones
    formant_shifts: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)  # of F1 to F4 beside the scale
    tilt_db_per_octave: float = 6.0
    jitter: float = 0.004  # of F0, every 5 ms
    shimmer: float = 0.04  # of a pulse's amplitude
    vibrato_rate_hz: float = 5.5
    vibrato_cents: float = 50.0
    breathiness: float = 0.05  # level of breath noise in voiced phones
    lowest_midi: int = 50
    highest_midi: int = 67
    accent: int = 0  # seed of how its phones differ from those of the table; 0 sings them as they are there


@dataclass(frozen=True)
class Phone:
    """How a phone sounds in a long vocal tract; without formants it borrows those of the phone after it."""

    formants_hz: tuple[float, ...] = ()
    voicing: float = 0.0  # amplitude of the pulses
    zero_hz: float = NASAL_POLE_HZ  # of the nose; at the pole it does nothing
    noise: float = 0.0  # amplitude of the frication, around noise_hz
    noise_hz: float = 0.0
    noise_width_hz: float = 1.0
    breath: float = 0.0  # amplitude of the noise that passes the whole tract
    closure: float = 0.0  # the share of its time that the mouth is closed before a burst


PHONES = {
    SILENCE: Phone(),
    "aa": Phone((730, 1090, 2440, 3400), 1.0),
    "ae": Phone((660, 1720, 2410, 3500), 1.0),
    "ah": Phone((600, 1250, 2390, 3400), 1.0),
    "ao": Phone((500, 840, 2410, 3300), 1.0),
    "eh": Phone((500, 1880, 2500, 3500), 1.0),
    "er": Phone((480, 1350, 1690, 3300), 1.0),
    "iy": Phone((290, 2290, 3010, 3600), 1.0),
    "uw": Phone((310, 820, 2240, 3300), 1.0),
    "m": Phone((270, 1100, 2200, 3300), 0.6, zero_hz=750),
    "n": Phone((270, 1500, 2500, 3400), 0.6, zero_hz=1450),
    "ng": Phone((270, 2000, 2700, 3400), 0.6, zero_hz=2900),
    "l": Phone((360, 1100, 2700, 3400), 0.7),
    "r": Phone((330, 1100, 1500, 3300), 0.7),
    "w": Phone((290, 640, 2200, 3300), 0.7),
    "y": Phone((270, 2250, 3000, 3600), 0.7),
    "v": Phone((250, 1200, 2300, 3400), 0.4, noise=0.1, noise_hz=6500, noise_width_hz=4000),
    "z": Phone((260, 1550, 2550, 3500), 0.35, noise=0.5, noise_hz=7000, noise_width_hz=1800),
    "f": Phone((300, 1200, 2300, 3400), noise=0.22, noise_hz=7000, noise_width_hz=4500),
    "s": Phone((300, 1600, 2600, 3500), noise=1.0, noise_hz=7200, noise_width_hz=1700),
    "sh": Phone((300, 1800, 2500, 3500), noise=1.0, noise_hz=3600, noise_width_hz=1100),
    "hh": Phone(breath=0.5),
    "b": Phone((200, 800, 2300, 3400), 0.3, noise=0.3, noise_hz=900, noise_width_hz=900, closure=0.8),
    "d": Phone((200, 1750, 2700, 3500), 0.3, noise=0.4, noise_hz=4500, noise_width_hz=2000, closure=0.75),
    "g": Phone((200, 1900, 2300, 3400), 0.3, noise=0.4, noise_hz=2100, noise_width_hz=900, closure=0.75),
    "p": Phone((300, 800, 2300, 3400), noise=0.3, noise_hz=900, noise_width_hz=1200, breath=0.3, closure=0.6),
    "t": Phone((300, 1750, 2700, 3500), noise=0.7, noise_hz=5000, noise_width_hz=2000, breath=0.25, closure=0.6),
    "k": Phone((300, 1900, 2300, 3400), noise=0.6, noise_hz=2100, noise_width_hz=1000, breath=0.3, closure=0.6),
    "ch": Phone((300, 1800, 2500, 3500), noise=0.9, noise_hz=3800, noise_width_hz=1300, closure=0.45),
    "jh": Phone((250, 1800, 2500, 3500), 0.3, noise=0.6, noise_hz=3800, noise_width_hz=1300, closure=0.5),
}


def voices(n: int, seed: int = 0) -> list[Voice]:
    """Returns `n` different singers, evenly spread over what voices can be; the first ones do not depend on `n`.

    Shorter vocal tracts sing higher. Each quality steps by an irrational number of its own, modulo its range, which
    keeps any two singers apart.
    """
    start = np.random.default_rng(seed).random(9)
    steps = np.sqrt([5, 2, 3, 7, 11, 13, 17, 19, 23])
    return [_voice(f"singer_{i + 1:02}", ((start + i * steps) % 1).tolist()) for i in range(n)]


def _voice(name: str, point: list[float]) -> Voice:
    """Returns the voice at a point of the unit cube of nine dimensions."""
    lowest = round(44 + 14 * point[0])
    return Voice(
        name,
        formant_scale=0.92 + 0.3 * point[0],
        formant_shifts=tuple(0.94 + 0.12 * shift for shift in point[5:9]),
        tilt_db_per_octave=4 + 6 * point[1],
        jitter=0.002 + 0.004 * point[6],
        shimmer=0.02 + 0.06 * point[7],
        vibrato_rate_hz=4.6 + 2 * point[2],
        vibrato_cents=20 + 60 * point[3],
        breathiness=0.02 + 0.12 * point[4] ** 2,
        lowest_midi=lowest,
        highest_midi=lowest + 16,
    )


@functools.lru_cache(maxsize=16)
def accented(accent: int) -> dict[str, Phone]:
    """Returns the phones of an accent: formants 8 % off, consonants louder, softer, brighter or darker."""
    if not accent:
        return PHONES
    rng = np.random.default_rng(accent)
    return {name: _accented_phone(phone, rng) for name, phone in PHONES.items()}


def _accented_phone(phone: Phone, rng: np.random.Generator) -> Phone:
    formants = np.exp(rng.normal(0, 0.08, len(phone.formants_hz))) * phone.formants_hz
    voicing, noise, pitch = np.exp(rng.normal(0, [0.2, 0.4, 0.15]))
    return replace(
        phone,
        formants_hz=tuple(formants.tolist()),
        voicing=phone.voicing * voicing,
        noise=phone.noise * noise,
        noise_hz=phone.noise_hz * pitch,
    )
