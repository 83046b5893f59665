"""What a song is sung to: the voice and the backing of a recording that was taken apart, or a backing by itself."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autosing.signal.decode import Audio
from autosing.signal.errors import RowError, UsageError
from autosing.signal.tape import Seconds, Tape
from autosing.sounds.mixes import Separator
from autosing.sounds.reading import is_file, read_tape

if TYPE_CHECKING:
    from autosing.synthesis.sing import Given

SHORT_S = 1.0


@dataclass(frozen=True)
class Sources:
    """Where what a song is sung to comes from.

    Attributes:
        reference: a recording with a voice; None without one.
        backing: in place of the reference's; None takes that.
        has_backing: whether the song has a backing.
        start_s: from where on they are used.
    """

    reference: Path | None = None
    backing: Path | None = None
    has_backing: bool = True
    start_s: float = 0.0

    def __post_init__(self) -> None:
        if self.backing is not None and not self.has_backing:
            raise UsageError("--backing and --no-backing are both given; leave one out")
        if not 0 <= self.start_s < float("inf"):
            raise UsageError(f"--start is {self.start_s:g}; give seconds from 0 on")

    @property
    def files(self) -> list[Path]:
        """What is read."""
        return [path for path in (self.reference, self.backing) if path is not None]

    def check(self) -> None:
        """Checks that they are there, before the work begins.

        Raises:
            UsageError: one is no file.
        """
        for option, path in (("--reference", self.reference), ("--backing", self.backing)):
            if path is not None and not is_file(str(path)):
                raise UsageError(f"{option} {path}: no such file; give a sound file")

    @property
    def gives_backing(self) -> bool:
        """Whether there is anything to sing to."""
        return self.has_backing and bool(self.files)

    def told(self) -> dict[str, Any]:
        """Returns them as JSON."""
        names = {name: path and str(path) for name, path in (("reference", self.reference), ("backing", self.backing))}
        return {**names, "has_backing": self.has_backing, "start_s": self.start_s}

    def given(self, separator: Separator | None) -> "Given":
        """Returns what is sung to.

        Args:
            separator: takes the reference apart; needed where there is one.

        Raises:
            UsageError: a file cannot be read, separated, or is shorter than its start.
        """
        from autosing.synthesis.sing import Given

        voice = backing = None
        if self.reference is not None and separator is not None:
            voice, backing = self._apart(self.reference, separator)
        if self.backing is not None:
            backing = self._since(read_tape(self.backing), self.backing)
        name = str(self.reference) if self.reference else "reference"
        return Given(name, voice, backing if self.has_backing else None)

    def _apart(self, path: Path, separator: Separator) -> tuple[Audio, Audio]:
        try:
            found = separator.parts(path.read_bytes())
        except (OSError, RowError) as error:
            raise UsageError(f"--reference {path}: {error}") from error
        return self._since(found.voice, path), self._since(found.backing, path)

    def _since(self, tape: Tape, path: Path) -> Audio:
        if tape.duration_s - self.start_s < SHORT_S:
            raise UsageError(
                f"{path} is {tape.duration_s:.2f} s long; give one of at least {SHORT_S:g} s behind --start, which is "
                f"{self.start_s:g} s"
            )
        return tape.audio(Seconds(Fraction(self.start_s), None))
