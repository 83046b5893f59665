"""What is to be sung, as people say it."""

from dataclasses import dataclass, field, replace
from fractions import Fraction

from autosing.models.sampling import Sampling
from autosing.signal.decode import Audio
from autosing.signal.errors import UsageError
from autosing.synthesis.conversion.levels import Loudness
from autosing.synthesis.singing.lyrics import Lyrics
from autosing.synthesis.singing.places import PACE_PER_S

# A little more certain than what was learned: of tails of many unlikely tokens one is met every second.
USUAL = Sampling(temperature=0.8, top_p=0.95)
CONTEXT_S = 3.0
MOST_TAKES, MOST_RETRIES = 64, 16


@dataclass(frozen=True)
class Wanted:
    """How a song is sung.

    Attributes:
        lyrics: with times or without.
        length_s: None takes that of what it is sung to, or what lyrics take.
        singer: as `conversion.singers` has it; None is the voice of the reference.
        takes: how many.
        retries: how often windows that lack a line, or have one too many, are sung again.
        seed: of the first take; each further one has the next.
        tokens: how tokens are chosen; those of the last second count as repeated.
        codes: how codes are.
        loudness: `source` is that of the reference's voice, or else of the backing; `none`; or in LUFS.
        pace: characters a second of lyrics without times or length.
        window_s: at most so much is sung at once; None is as much as the models were trained on.
        context_s: so much of what was sung is heard again by the next window.
        language: ISO 639-1 code of the lyrics; None is any.
    """

    lyrics: Lyrics
    length_s: float | None = None
    singer: str | None = None
    takes: int = 1
    retries: int = 1
    seed: int = 0
    tokens: Sampling = USUAL
    codes: Sampling = USUAL
    loudness: Loudness = "source"
    pace: float = PACE_PER_S
    window_s: float | None = None
    context_s: float = CONTEXT_S
    language: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.takes <= MOST_TAKES or not 0 <= self.retries <= MOST_RETRIES:
            raise UsageError(
                f"--takes is {self.takes} and --retries {self.retries}; give 1 to {MOST_TAKES} and 0 to {MOST_RETRIES}"
            )
        if self.seed < 0:
            raise UsageError(f"--seed is {self.seed}; give a whole number from 0")
        is_named = self.loudness in ("source", "none")
        if not is_named and (isinstance(self.loudness, str) or not -70 <= self.loudness <= 0):
            raise UsageError(f"--loudness is {self.loudness}; give source, none, or LUFS from -70 to 0")

    def at(self, token_rate: Fraction) -> "Wanted":
        """Returns it for so many tokens a second."""
        return replace(self, tokens=replace(self.tokens, repetition_window=max(round(token_rate), 1)))


@dataclass(frozen=True)
class Given:
    """What a song is sung to.

    Attributes:
        name: of the reference, for messages and as a singer's.
        voice: of the reference.
        backing: that the models hear, and that gives the length.
        warnings: what is to be said of them.
    """

    name: str = "reference"
    voice: Audio | None = None
    backing: Audio | None = None
    warnings: tuple[str, ...] = field(default_factory=tuple)

    @property
    def seconds(self) -> float | None:
        """How long it is; None where there is nothing."""
        longest = [len(one.samples) / one.sample_rate for one in (self.voice, self.backing) if one is not None]
        return max(longest, default=None)
