"""Figures of the mels that conversion models draw for validations: of mels, their singers and their pitch."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from autosing.signal.f0 import f0
from autosing.signal.framing import nearest_frames
from autosing.signal.griffin_lim import griffin_lim
from autosing.signal.mel import MelSpec
from autosing.training.metrics import (
    PitchTrack,
    SingerProbe,
    fd_mel,
    global_variance_error,
    log_f0_correlation,
    mcd,
    mel_l1,
    unpadded,
)
from autosing.training.task import Tensors

Mel = npt.NDArray[Any]

TRACK_HZ = 100
# Samples whose pitch is heard in what Griffin-Lim makes of their mels: a second of sound takes some 0.1 s.
MOST_HEARD = 4
# Mel cepstra that tell timbre, as MCD counts them.
CEPSTRA = 24


@dataclass
class Drawn:
    """The mels of several ways beside the true ones, as batches of a validation bring them.

    Attributes:
        spec: of the mels.
        ways: mels (F, M) by way.
        true: the targets.
        singers: who sings each, as a row of the table.
        asked: the pitch that each was to have, at the mel's frames; empty for models that are given none.
    """

    spec: MelSpec
    ways: dict[str, list[Mel]] = field(default_factory=dict)
    true: list[Mel] = field(default_factory=list)
    singers: list[str] = field(default_factory=list)
    asked: list[Mel] = field(default_factory=list)

    def add(self, batch: Tensors, mels: Mapping[str, Tensor]) -> None:
        """Takes up what the ways made of a batch, without padding."""
        lengths = batch["mel_frames"].cpu().numpy()
        for way, mel_BFM in mels.items():
            self.ways.setdefault(way, []).extend(unpadded(mel_BFM.float().cpu().numpy(), lengths))
        self.true.extend(unpadded(batch["mel"].float().cpu().numpy(), lengths))
        if "singer" in batch:
            self.singers.extend(map(str, batch["singer"].tolist()))
        if "period_s" in batch:
            periods = unpadded(batch["period_s"].float().cpu().numpy(), lengths)
            self.asked.extend(np.divide(1, p, where=p > 0, out=np.zeros_like(p)) for p in periods)

    def figures(self) -> dict[str, float]:
        """Returns the figures of each way, each name followed by the way's: how far its mels are from the true ones."""
        found, known = dict[str, float](), self._known()
        singers = [self.singers[n] for n in known]
        probe = SingerProbe.fit([self.true[n] for n in known], singers) if known else None
        for way, mels in self.ways.items():
            found[f"mel_l1{way}"] = mel_l1(mels, self.true)
            found[f"fd_mel{way}"] = fd_mel(mels, self.true)
            found[f"gv_error_db{way}"] = global_variance_error(mels, self.true)
            pairs = zip(mels, self.true, strict=True)
            found[f"mcd{way}"] = float(np.mean([mcd(_cepstra(one), _cepstra(other)) for one, other in pairs]))
            if probe is not None:
                found[f"singer{way}"] = probe.accuracy([mels[n] for n in known], singers)
            if self.asked:
                found[f"f0_corr{way}"] = self._pitch(mels)
        return found

    def _known(self) -> list[int]:
        """Returns which samples are of singers with more than one, if there are two such singers; else none."""
        counts = Counter(self.singers)
        known = [n for n, singer in enumerate(self.singers) if counts[singer] > 1]
        return known if len({self.singers[n] for n in known}) > 1 else []

    def _pitch(self, mels: Sequence[Mel]) -> float:
        found = []
        for mel, asked_hz in zip(mels[:MOST_HEARD], self.asked, strict=False):
            wave = griffin_lim(mel, self.spec)
            n = len(wave) * TRACK_HZ // self.spec.sample_rate
            heard = f0(wave, self.spec.sample_rate, n)
            at = nearest_frames(n, Fraction(TRACK_HZ), len(asked_hz), self.spec.rate)
            asked = PitchTrack(asked_hz[at], asked_hz[at] > 0)
            found.append(log_f0_correlation(PitchTrack(heard.f0_hz, heard.voiced), asked))
        known = [value for value in found if value == value]
        return float(np.mean(known)) if known else float("nan")


def _cepstra(mel: Mel) -> npt.NDArray[np.float64]:
    """Returns cepstra (F, 24) of a log-mel (F, M), without the one that tells loudness."""
    from scipy.fft import dct

    # Of cosines that run over all bands, as of the cepstra that MCD is defined for.
    cepstra: npt.NDArray[np.float64] = dct(mel.astype(np.float64), norm="ortho", axis=1) / np.sqrt(2 * mel.shape[1])
    return cepstra[:, 1 : CEPSTRA + 1]
