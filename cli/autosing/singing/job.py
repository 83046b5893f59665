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
from autosing.sounds.outputs import SUFFIXES, Outputs

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
        voice_only: whether the voice alone is what is wanted.
        made_with: facts that go beside it.
    """

    path: Path
    bits: int = 16
    overwrite: bool = False
    voice_only: bool = False
    made_with: Mapping[str, Any] = field(default_factory=dict)

    def check(self, *sources: Path | None) -> None:
        """Checks that nothing is lost.

        Raises:
            UsageError: it is no sound file, is there, or is one of the sources.
        """
        if self.path.suffix.lower() not in SUFFIXES or self.path.is_dir():
            raise UsageError(f"{self.path} is no sound file; give OUT.wav or OUT.flac")
        if any(source is not None and self.path.exists() and self.path.samefile(source) for source in sources):
            raise UsageError(f"{self.path} is what the song is sung to; give another OUT")
        if self.path.exists() and not self.overwrite:
            raise UsageError(f"{self.path} is there; --overwrite makes it again")

    def beside(self, what: str) -> Path:
        """Returns where something of the song goes."""
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
    outputs = Outputs.of(target.path, None, target.bits, 1)
    backing = None if target.voice_only or given.backing is None else _fitted(given.backing, performed.length_ms)
    files = []
    for number, take in enumerate(performed.takes[1:], 2):
        files.append(target.beside(f"take{number}"))
        outputs.write(files[-1], *_whole(take, performed, backing)[:2])
    best = performed.takes[0]
    wave, rate, gain_db = _whole(best, performed, backing)
    facts = _facts(performed, wanted, target, [target.path, *files]) | {"sample_rate_hz": rate, "n_samples": len(wave)}
    if backing is not None:
        stems = {"vocals": (best.wave, performed.sample_rate), "backing": (_quieter(backing), backing.sample_rate)}
        for name, (stem, stem_rate) in stems.items():
            outputs.write(target.beside(name), stem, stem_rate)
        facts["mix"] = {"gain_db": gain_db, "stems": [str(target.beside(name)) for name in stems]}
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
