"""Where sounds go: files that are there complete or not at all, and beside each what it was made with."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from autosing.models.folder import write_whole
from autosing.signal.errors import UsageError
from autosing.signal.rows import Rows, slices

Format = Literal["wav", "flac"]
SUFFIXES = (".wav", ".flac")
BLOCK = 1 << 20


@dataclass(frozen=True)
class Outputs:
    """Where outputs go and of which kind they are.

    Attributes:
        folder: that they lie in.
        format: `wav` or `flac`.
        bits: 16 or 24.
        file: the one output, where a file was named.
    """

    folder: Path
    format: Format = "wav"
    bits: int = 16
    file: Path | None = None

    @classmethod
    def of(cls, out: Path, format: Format | None, bits: int, n_inputs: int) -> "Outputs":
        """Returns the outputs of `--out`: a folder, or for one recording a file.

        Raises:
            UsageError: a file is named for several recordings, or of another format.
        """
        if bits not in (16, 24):
            raise UsageError(f"--bits is {bits}; give 16 or 24")
        suffix = out.suffix.lower()
        if suffix not in SUFFIXES or out.is_dir():
            if out.exists() and not out.is_dir():
                raise UsageError(f"{out} is a file; give a folder, or the name of a .wav or .flac file")
            return cls(out, format or "wav", bits)
        if n_inputs > 1:
            raise UsageError(f"{out} is one file, and {n_inputs} recordings are converted; give a folder")
        if format and suffix != f".{format}":
            raise UsageError(f"{out} is no {format} file; leave --format out, or name it otherwise")
        return cls(out.parent, "flac" if suffix == ".flac" else "wav", bits, out)

    def path(self, name: str) -> Path:
        """Returns where the output of a name goes."""
        return self.file or self.folder.joinpath(f"{name}.{self.format}")

    def write(self, path: Path, wave: Rows, sample_rate: int, facts: dict[str, Any] | None = None) -> None:
        """Writes a wave (T,) or (T, C), which may lie on disk, and facts, if it has any; the sound comes last, whole.

        Args:
            path: of the sound.
            wave: below full scale.
            sample_rate: in Hz.
            facts: as JSON.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.draft")
        try:
            self._write_sound(draft, wave, sample_rate)
            if facts is not None:
                write_whole(sidecar_of(path), json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)

    def _write_sound(self, path: Path, wave: Rows, sample_rate: int) -> None:
        import soundfile

        channels = 1 if len(wave.shape) == 1 else wave.shape[1]
        kind = {"format": self.format.upper(), "subtype": f"PCM_{self.bits}"}
        with soundfile.SoundFile(path, "w", sample_rate, channels, **kind) as file:
            for block in slices(wave, BLOCK):
                file.write(block)


def sidecar_of(path: Path) -> Path:
    """Returns where the facts of an output lie."""
    return path.with_name(f"{path.name}.json")
