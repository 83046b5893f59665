"""NSF-HiFiGAN as published by OpenVPI: HiFi-GAN that is given its pitch as harmonics (Wang et al., 2019).

Of two kinds: in the older one nine harmonics and noise are merged and added after every step up; in the newer, `mini`,
one sine is added after the second. Both were trained on a pitch that goes on where nobody sings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from autosing.models.excitation import noise
from autosing.models.published.config import GanConfig, typed
from autosing.models.published.hifigan import HifiGanFields, PublishedHifiGan
from autosing.signal.errors import UsageError

Floats = npt.NDArray[np.float32]

N_HARMONICS = 9
SINE = 0.1
# Of the noise beside harmonics, and of the noise where there are none.
BREATH, HISS = 0.003, SINE / 3
# The step up after which the newer kind adds its sine.
MINI_STEP = 1


@dataclass(frozen=True)
class NsfHifiGanFields(HifiGanFields):
    """What an NSF-HiFiGAN is built from.

    Attributes:
        mini: whether it is of the newer kind.
        noise_sigma: of the noise that the newer kind adds before its steps up.

    Raises:
        UsageError: the numbers do not fit each other.
    """

    mini: bool
    noise_sigma: float

    def __post_init__(self) -> None:
        super().__post_init__()
        steps = list(self.steps_up)
        if self.mini and len(steps) <= MINI_STEP:
            raise UsageError(f"a mini NSF-HiFiGAN has two steps up or more, and not {steps}")
        if not self.mini and any(step > 1 and step % 2 for step in self.steps_after):
            raise UsageError(f"harmonics can't be brought to rates an odd number of times lower, as steps {steps} want")

    @property
    def steps_after(self) -> tuple[int, ...]:
        """Samples to a value after each step up."""
        return tuple(prod(self.steps_up[n + 1 :]) for n in range(len(self.steps_up)))

    @property
    def per_frame(self) -> int:
        """Values of the excitation to a frame."""
        return prod(self.steps_up[: MINI_STEP + 1]) if self.mini else self.spec.hop


@dataclass(frozen=True)
class _Kind:
    mini_nsf: bool = False
    noise_sigma: float = 0.0


def nsf_hifigan_fields(config: GanConfig, told: Mapping[str, Any], where: str) -> NsfHifiGanFields:
    """Returns the fields of a published config."""
    kind = typed(_Kind, {name: value for name, value in told.items() if value is not None}, where)
    return NsfHifiGanFields(config.spec.as_mapping(), **config.sizes, mini=kind.mini_nsf, noise_sigma=kind.noise_sigma)


class NsfHifiGan(PublishedHifiGan):
    """Mels (B, F, M) and the phase of the pitch (B, S) to waves (B, F hop)."""

    fields_type: ClassVar[type[HifiGanFields]] = NsfHifiGanFields
    use_f0: ClassVar[bool] = True

    def __init__(self, fields: NsfHifiGanFields) -> None:
        super().__init__(fields)
        self.fields: NsfHifiGanFields = fields
        if fields.mini:
            self.source_conv = nn.Conv1d(1, fields.widths[MINI_STEP + 1], 1)
        else:
            self.m_source = nn.ModuleDict({"l_linear": nn.Linear(N_HARMONICS, 1)})
            after = zip(fields.widths[1:], fields.steps_after, strict=True)
            self.noise_convs = nn.ModuleList(_down(width, step) for width, step in after)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Returns waves (B, F hop) of `mel` (B, F, M) and of what `excitation` gives; see `Harmonics.batch`."""
        return super().forward({**inputs, "source": self._source(inputs)})

    def first(self, mel_BMF: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """Returns what goes into the first step up (B, C, F)."""
        x_BCF = super().first(mel_BMF, inputs)
        return x_BCF + self.fields.noise_sigma * inputs["hidden_noise"] if "hidden_noise" in inputs else x_BCF

    def excited(self, step: int, x_BCF: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """Returns what comes out of a step up, with the harmonics."""
        if not self.fields.mini:
            added: Tensor = self.noise_convs[step](inputs["source"])
            return x_BCF + added
        return x_BCF + self.source_conv(inputs["source"]) if step == MINI_STEP else x_BCF

    def excitation(self, f0_hz: Floats, n_frames: int, seed: int) -> "Harmonics":
        """Returns the excitation of a recording by the pitch of each sample (T,), 0 where unvoiced or not given."""
        frames_hz = f0_hz[:: self.spec.hop][:n_frames]
        return Harmonics(self.fields, pitch_everywhere(np.pad(frames_hz, (0, n_frames - len(frames_hz)))), seed)

    def _source(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Returns what is added to the steps up (B, 1, S)."""
        if self.fields.mini:
            return torch.sin(2 * torch.pi * inputs["turns"])[:, None]
        merge = self.m_source["l_linear"]
        assert isinstance(merge, nn.Linear)
        order = torch.arange(1, N_HARMONICS + 1, device=inputs["turns"].device)
        turns_BSH = inputs["turns"][..., None] * order + inputs["start"][:, None]
        sines_BSH = SINE * inputs["voiced"][..., None] * torch.sin(2 * torch.pi * turns_BSH)
        # Noise of each harmonic, merged, is one noise of the merge's length.
        level_BS = torch.where(inputs["voiced"] > 0, BREATH, HISS) * merge.weight.norm()
        return torch.tanh(merge(sines_BSH)[..., 0] + level_BS * inputs["noise"])[:, None]


def _down(width: int, step: int) -> nn.Conv1d:
    """Returns a layer that brings harmonics to a rate `step` times lower."""
    return nn.Conv1d(1, width, 2 * step, step, padding=step // 2) if step > 1 else nn.Conv1d(1, width, 1)


def pitch_everywhere(f0_hz: Floats) -> Floats:
    """Returns F0 (F,) with log F0 interpolated where it is 0, held at both ends; 0 where there is no pitch at all."""
    voiced = f0_hz > 0
    if not voiced.any():
        return f0_hz
    places = np.arange(len(f0_hz))
    found: Floats = np.exp(np.interp(places, places[voiced], np.log(f0_hz[voiced]))).astype(np.float32)
    return found


class Harmonics:
    """The phase of a recording's pitch, by its frames, since a phase is the sum of all that was before it.

    The older kind holds a frame's pitch, the newer goes on to the next frame's in a straight line.
    """

    def __init__(self, fields: NsfHifiGanFields, f0_hz: Floats, seed: int) -> None:
        self._fields, self._f0_hz, self._seed = fields, f0_hz.astype(np.float64), seed
        self._rate_hz = float(fields.spec.rate * fields.per_frame)
        rising = np.diff(self._f0_hz, append=self._f0_hz[-1:]) if fields.mini else np.zeros_like(self._f0_hz)
        n = fields.per_frame
        # Per frame: turns of a value at its first pitch, and what each value adds to that of the one before it.
        self._step, self._rise = self._f0_hz / self._rate_hz, rising / self._rate_hz / n
        whole = self._step * n + self._rise * n * (n - 1) / 2
        self._start = np.concatenate([[0.0], np.cumsum(whole)[:-1]]) % 1 if len(whole) else whole
        self._harmonics = np.random.default_rng(seed).uniform(size=N_HARMONICS).astype(np.float32)
        self._harmonics[0] = 0

    def batch(self, first: int, last: int, device: torch.device) -> dict[str, Tensor]:
        """Returns `turns`, `voiced` and `noise` (1, S) of frames `first` to `last`, `start` (1, H) of the harmonics.

        With noise before the steps up, `hidden_noise` (1, C, F), too.
        """
        n, span = self._fields.per_frame, slice(first, last)
        values = np.arange(1, n + 1)
        ahead = self._step[span, None] * values + self._rise[span, None] * values * (values - 1) / 2
        turns = (self._start[span, None] + ahead).reshape(-1) % 1
        given = {
            "turns": turns.astype(np.float32),
            "voiced": np.repeat(self._f0_hz[span] > 0, n).astype(np.float32),
            "noise": noise(first * n, len(turns), self._seed),
            "start": self._harmonics,
        }
        if self._fields.mini and self._fields.noise_sigma > 0:
            width = self._fields.channels
            hidden = noise(first * width, (last - first) * width, self._seed + 1)
            given["hidden_noise"] = hidden.reshape(-1, width).T
        return {name: torch.from_numpy(np.ascontiguousarray(array))[None].to(device) for name, array in given.items()}
