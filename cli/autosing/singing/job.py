"""A song is sung, mixed and written: the best take, its stems, and further takes beside it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from autosing.signal.decode import Audio
from autosing.signal.errors import UsageError
from autosing.signal.resample import resample
from autosing.signal.rows import Rows
from autosing.singing.text import Progress
from autosing.sounds.mixes import mixed
from autosing.sounds.outputs import SUFFIXES, Outputs, sidecar_of

if TYPE_CHECKING:
    from autosing.synthesis.sing import Given, Performed, Performer, Take, Wanted

Wave = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Target:
    """Where a song goes.

    Attributes:
        path: of the best take; stems and further takes lie beside it.
        bits: 16 or 24.
        overwrite: whether what is there is written over.
        has_stems: whether it has a backing, so that voice and backing lie beside it.
        takes: how many there are.
        made_with: facts that go beside it.
    """

    path: Path
    bits: int = 16
    overwrite: bool = False
    has_stems: bool = False
    takes: int = 1
    made_with: Mapping[str, Any] = field(default_factory=dict)

    @property
    def take_files(self) -> list[Path]:
        """Of the takes, the best first."""
        return [self.path, *(self._beside(f"take{number}") for number in range(2, self.takes + 1))]

    @property
    def stem_files(self) -> dict[str, Path]:
        """Of the stems, by their names."""
        return {name: self._beside(name) for name in ("vocals", "backing") if self.has_stems}

    @property
    def outputs(self) -> Outputs:
        """Writes them."""
        return Outputs.of(self.path, None, self.bits, 1)

    def check(self, *sources: Path) -> None:
        """Checks that nothing is lost, before the work begins.

        Args:
            sources: files that are read, there or not.

        Raises:
            UsageError: it is no sound file, or one that is written is there, or one of the sources.
        """
        if self.path.suffix.lower() not in SUFFIXES or self.path.is_dir():
            raise UsageError(f"{self.path} is no sound file; give OUT.wav or OUT.flac")
        _ = self.outputs
        for path in (*self.take_files, *self.stem_files.values(), sidecar_of(self.path)):
            if not path.exists():
                continue
            if any(source.exists() and path.samefile(source) for source in sources):
                raise UsageError(f"{path} is what the song is made of, and would be written over; give another OUT")
            if not self.overwrite:
                raise UsageError(f"{path} is there; --overwrite makes it again")

    def _beside(self, what: str) -> Path:
        return self.path.with_name(f"{self.path.stem}.{what}{self.path.suffix}")


def sing(
    performer: "Performer", wanted: "Wanted", given: "Given", target: Target, progress: Progress
) -> dict[str, Any]:
    """Sings a song, writes it, and returns what was used as JSON.

    Raises:
        UsageError: it cannot be sung as it is wanted.
    """
    performed = performer.sing(wanted, given, progress.part)
    for line in performed.warnings:
        progress.say(line)
    outputs, files = target.outputs, target.take_files
    backing = _fitted(given.backing, performed.length_ms) if target.has_stems and given.backing is not None else None
    for path, take in zip(files[1:], performed.takes[1:], strict=True):
        outputs.write(path, *_whole(take, performed, backing)[:2])
    best = performed.takes[0]
    wave, rate, gain_db = _whole(best, performed, backing)
    facts = _facts(performed, wanted, target, files) | {"sample_rate_hz": rate, "n_samples": len(wave)}
    if backing is not None:
        stems = {"vocals": (best.wave, performed.sample_rate), "backing": (_quieter(backing), backing.sample_rate)}
        for name, path in target.stem_files.items():
            outputs.write(path, *stems[name])
        facts["mix"] = {"gain_db": gain_db, "stems": list(map(str, target.stem_files.values()))}
    outputs.write(target.path, wave, rate, facts)
    return facts


def _whole(take: "Take", performed: "Performed", backing: Audio | None) -> tuple[Rows, int, float]:
    """Returns what is heard of a take, its rate, and the gain in dB that keeps its peak."""
    if backing is None:
        return take.wave, performed.sample_rate, 0.0
    voice = resample(take.wave, performed.sample_rate, backing.sample_rate)[: len(backing.samples)]
    wave, gain_db = mixed(voice, backing.sample_rate, backing)
    return wave, backing.sample_rate, gain_db


def _fitted(backing: Audio, length_ms: int) -> Audio:
    """Returns a backing of exactly a length."""
    n_samples = length_ms * backing.sample_rate // 1000
    kept = backing.samples[:n_samples]
    return Audio(np.pad(kept, ((0, n_samples - len(kept)), (0, 0))), backing.sample_rate, backing.codec)


def _quieter(backing: Audio) -> Wave:
    """Returns a stem that a file of whole numbers can hold."""
    highest = float(np.abs(backing.samples).max(initial=0))
    return backing.samples / np.float32(max(highest, 1.0))


def _facts(performed: "Performed", wanted: "Wanted", target: Target, files: list[Path]) -> dict[str, Any]:
    asked = {name: value for name, value in asdict(wanted).items() if name != "lyrics"}
    facts = {**performed.facts, "wanted": asked, **target.made_with}
    for told, path in zip(facts["takes"], files, strict=True):
        told["file"] = str(path)
    return facts
