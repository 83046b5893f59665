"""Further training of an aligner on the songs that it is to align, from the line stamps of their lyrics.

A few minutes on one core. It is not the trainer of `autosing train aligner`, which begins from nothing and streams
shards: everything here is in memory, batches are of lines of one length, and there is nothing to resume.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from autosing.signal.alphabet import ANYTHING, Alphabet
from autosing.signal.errors import UsageError
from autosing.signal.lyric_mel import RATE
from autosing.signal.lyrics import LrcLine
from autosing.signal.word_times import Word, place_words

if TYPE_CHECKING:
    from autosing.models.aligner import Aligner

BEFORE_S, AFTER_S = 0.1, 0.5  # of a line, that are heard besides; what the rule says of its length is off by a third
LENGTH_SLACK = 1.3
JITTER_S = 0.3  # how much earlier a window may begin
STEP_FRAMES = 24  # lengths of windows, so that batches need no padding
LONGEST_FRAMES = 800
STRENGTH = 0.5
WARM_UP_STEPS = 30


@dataclass(frozen=True)
class Line:
    """A line to learn from: the song's bands (F, D), the time that its words take by the rule, and its labels."""

    bands: npt.NDArray[Any]
    start_s: float
    end_s: float
    labels: tuple[int, ...]


@dataclass(frozen=True)
class AdaptConfig:
    """How an aligner is trained further.

    Attributes:
        steps: of the optimiser.
        frames_per_batch: of lines of one length.
        lr: highest learning rate.
        seed: of the order, the windows, the augmentation and dropout.
    """

    steps: int = 1400
    frames_per_batch: int = 3600
    lr: float = 4e-3
    seed: int = 0


def lines_of(bands: npt.NDArray[Any], lines: Sequence[LrcLine], duration_s: float, alphabet: Alphabet) -> list[Line]:
    """Returns the stamped lines of a song that can be learned from: those with a symbol for every word."""
    groups: dict[int, list[Word]] = defaultdict(list)
    for word in place_words(lines, duration_s):
        groups[word.line].append(word)
    found = []
    for words in groups.values():
        labels = tuple(label for word in words for label in alphabet.labels(word.text))
        if ANYTHING not in labels:
            found.append(Line(bands, words[0].start_s, words[-1].end_s, labels))
    return found


def adapt(model: "Aligner", lines: Sequence[Line], config: AdaptConfig) -> list[float]:
    """Trains `model` further on lines and leaves it in evaluation mode; returns the loss per label of each step.

    Raises:
        UsageError: there are no lines that fit into their time.
    """
    import torch

    from autosing.aligner.examples import ctc_loss

    usable = [line for line in lines if _is_usable(line)]
    if not usable:
        raise UsageError(
            "no line of lyrics fits the time that its stamps leave it; look at the stamps, or do not adapt"
        )
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    optimiser = torch.optim.AdamW(model.parameters(), config.lr, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, config.steps))
    losses: list[float] = []
    model.train()
    for bands_NBFD, labels, lengths_B in _batches(usable, config, rng, model.fields.members):
        log_probs_NBFV = model(torch.from_numpy(bands_NBFD))
        frames_B = torch.full((bands_NBFD.shape[1],), bands_NBFD.shape[2])
        loss = ctc_loss(log_probs_NBFV, frames_B, torch.from_numpy(labels), torch.from_numpy(lengths_B)) / len(labels)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
    model.eval()
    return losses


def _rate(step: int, steps: int) -> float:
    warm = min(1.0, (step + 1) / WARM_UP_STEPS)
    return warm * max(0.02, 0.5 * (1 + math.cos(math.pi * step / steps)))


def _is_usable(line: Line) -> bool:
    from autosing.aligner.examples import fits

    first, last = _window(line, 0.0)
    return last - first <= LONGEST_FRAMES and fits(line.labels, last - first)


def _window(line: Line, earlier_s: float) -> tuple[int, int]:
    """Returns first and last frame of a line's window, a multiple of `STEP_FRAMES` long where the song is."""
    rate = float(RATE)
    first = max(int((line.start_s - BEFORE_S - earlier_s) * rate), 0)
    end_s = line.start_s + LENGTH_SLACK * (line.end_s - line.start_s) + AFTER_S
    length = STEP_FRAMES * math.ceil(max(end_s * rate - first, 1) / STEP_FRAMES)
    return first, min(first + length, len(line.bands))


def _batches(
    lines: Sequence[Line], config: AdaptConfig, rng: np.random.Generator, members: int
) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Yields bands (N, B, F, D), labels one after the other, and how many each line has."""
    from autosing.aligner.examples import augmented

    waiting: dict[int, list[tuple[Line, int]]] = defaultdict(list)
    made = 0
    for line in _shuffled(lines, rng):
        first, last = _window(line, rng.uniform(0, JITTER_S))
        waiting[last - first].append((line, first))
        if len(waiting[last - first]) * (last - first) < config.frames_per_batch:
            continue
        batch = waiting.pop(last - first)
        heard = [line.bands[start : start + last - first].astype(np.float32) for line, start in batch]
        bands = np.stack([np.stack([augmented(x, rng, STRENGTH) for x in heard]) for _ in range(members)])
        labels = np.concatenate([np.array(line.labels) for line, _ in batch])
        yield bands, labels, np.array([len(line.labels) for line, _ in batch])
        made += 1
        if made == config.steps:
            return


def _shuffled(lines: Sequence[Line], rng: np.random.Generator) -> Iterable[Line]:
    while True:
        for place in rng.permutation(len(lines)):
            yield lines[place]
