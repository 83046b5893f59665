"""One recording after the other, and what became of each: a bad one does not stop the others."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from autosing.conversion.inputs import Input
from autosing.conversion.text import Outcome, Progress
from autosing.signal.errors import RowError, UsageError
from autosing.signal.tape import Tape
from autosing.sounds.mixes import Parts, Separator, mixed
from autosing.sounds.outputs import Outputs
from autosing.sounds.reading import read_tape
from autosing.synthesis.convert import Converted, Converter, Wanted

SOME_FAILED = 3


@dataclass(frozen=True)
class Job:
    """What is done with every recording.

    Attributes:
        converter: the model with its vocoder.
        wanted: how recordings are converted, as far as a manifest does not say otherwise.
        outputs: where they go.
        separator: takes mixes apart; None where recordings are voices.
        backing: what a voice is mixed with; None for nothing, or for what the separator leaves.
        overwrite: whether an output that is there is made again.
        made_with: facts that are the same for all.
    """

    converter: Converter
    wanted: Wanted
    outputs: Outputs
    separator: Separator | None = None
    backing: Path | None = None
    overwrite: bool = False
    made_with: dict[str, Any] = field(default_factory=dict)

    def run(self, inputs: Sequence[Input], progress: Progress) -> Iterator[Outcome]:
        """Yields what became of each recording, as soon as it is known.

        Raises:
            UsageError: something that is asked for is wrong for all of them; nothing was started.
        """
        self.converter.singing(self.wanted)
        self.converter.sampling(self.wanted)
        for each in inputs:
            yield self._one(each, progress)

    def _one(self, given: Input, progress: Progress) -> Outcome:
        path = self.outputs.path(given.name)
        try:
            if path.exists():
                if not self.overwrite:
                    return Outcome(str(given.path), str(path), "skipped", "it is there; --overwrite makes it again")
                if path.samefile(given.path):
                    raise UsageError("the output is the source itself; give another OUT")
            made, facts = self._converted(given, path, lambda part: progress.part(given.name, part))
        except (RowError, UsageError, OSError) as error:
            return Outcome(str(given.path), str(path), "failed", str(error))
        except Exception as error:  # the worker boundary: whatever a recording does, the others go on
            return Outcome(str(given.path), str(path), "failed", f"{type(error).__name__}: {error}")
        return Outcome(str(given.path), str(path), "converted", "", facts, made.warnings)

    def _converted(self, given: Input, path: Path, tell: Callable[[str], None]) -> tuple[Converted, dict[str, Any]]:
        started = time.perf_counter()
        wanted = replace(self.wanted, **given.changes)
        tell("separation" if self.separator else "decoding")
        parts = self._parts(given.path)
        separating_s = time.perf_counter() - started
        made = self.converter.convert(parts.voice, wanted, tell)
        samples, rate, facts = made.samples, made.sample_rate, {"source_file": str(given.path), **made.facts}
        if parts.backing is not None:
            samples, gain_db = mixed(samples, rate, parts.backing)
            rate = parts.backing.sample_rate
            facts["mix"] = {"gain_db": gain_db, "separator": self.separator.told() if self.separator else None}
            facts["realtime_factors"]["separation"] = round(separating_s / facts["source"]["seconds"], 5)
        facts |= {"warnings": list(made.warnings), "sample_rate_hz": rate, **self.made_with}
        facts["wanted"] = asdict(wanted)
        self.outputs.write(path, samples, rate, facts)
        return made, facts

    def _parts(self, path: Path) -> "_Given":
        if self.separator is not None:
            found: Parts = self.separator.parts(path.read_bytes())
            return _Given(found.voice, found.backing)
        return _Given(Tape.decoded(path), None if self.backing is None else read_tape(self.backing))


@dataclass(frozen=True)
class _Given:
    """A voice, and what it is mixed with."""

    voice: Tape
    backing: Tape | None


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """Returns 3 where a recording failed, else 0."""
    return SOME_FAILED if any(outcome.became == "failed" for outcome in outcomes) else 0
