"""What a training run hands to the report, as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autosing.signal.mel import MelSpec

Mel = npt.NDArray[np.floating]


class Example(NamedTuple):
    """One held-out sample beside what the model made of it.

    Args:
        id: name of the sample.
        target_mel: log-mel (F, M) of the recording.
        predicted_mel: log-mel (F, M) of the model.
        target_wav: the recording as an encoded sound file.
        predicted_wav: the model's sound as an encoded sound file.
    """

    id: str
    target_mel: Mel
    predicted_mel: Mel
    target_wav: bytes
    predicted_wav: bytes


@dataclass(frozen=True)
class RunSummary:
    """What a run was and what it reached.

    Args:
        recipe: name of the recipe.
        settings: its settings.
        losses: (step, training loss, validation loss or None) in order.
        comparison: value of the metric by name of what was compared, baselines included.
        metric: what the comparison measures, with its unit.
        lower_is_better: whether a smaller value is the better one.
        examples: held-out samples.
        seconds: how long the training took.
        spec: what the examples' mels mean.
    """

    recipe: str
    settings: Mapping[str, object] = field(default_factory=dict)
    losses: Sequence[tuple[int, float, float | None]] = ()
    comparison: Mapping[str, float] = field(default_factory=dict)
    metric: str = "mel-L1 (ln)"
    lower_is_better: bool = True
    examples: Sequence[Example] = ()
    seconds: float | None = None
    spec: MelSpec = field(default_factory=MelSpec)

    @property
    def ranking(self) -> list[tuple[str, float]]:
        """The comparison, best first."""
        return sorted(self.comparison.items(), key=lambda entry: entry[1], reverse=not self.lower_is_better)

    def verdict(self) -> str:
        """Returns a sentence that says what is better, and by how much the best leads."""
        rule, side = ("Lower", "below") if self.lower_is_better else ("Higher", "above")
        if len(self.ranking) < 2 or not self.ranking[1][1]:
            return f"{rule} is better."
        (best, first), (second_best, second) = self.ranking[:2]
        lead = abs(first - second) / abs(second)
        return (
            f"{rule} is better. Best is {best} ({first:.3g}), {100 * lead:.0f} % {side} {second_best} ({second:.3g})."
        )
