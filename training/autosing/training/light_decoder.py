"""One light decoder for all tokenizers: tokens to mel and pitch, and those to sound by a filter of pulses and noise.

It is small and learns for minutes, so that what tokens keep shows rather than what a large decoder can guess.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from autosing.models.acoustic import Size
from autosing.models.vocoder import Vocoder, sized_vocoder, synthesise
from autosing.signal.mel import MelSpec
from autosing.training.tasks.decoded_losses import DECODED_WEIGHTS, decoded_losses

Array = npt.NDArray[Any]
Streams = Sequence[tuple[Array, Array]]

CROP_FRAMES = 96
LR = 2e-3


@dataclass(frozen=True)
class Teaching:
    """How a decoder learns, the same for all: steps, crops in each, the seed, and the decoder's size."""

    steps: int = 400
    crops: int = 24
    seed: int = 0
    size: Size = "tiny"


@dataclass(frozen=True)
class Lesson:
    """A song to learn from.

    Attributes:
        streams: tokens (N,) of each stream, and at which of them each frame is (F,).
        mel: (F, M), of more frames than a crop.
        f0_hz: (F,), 0 where unvoiced.
    """

    streams: Streams
    mel: Array
    f0_hz: Array


def taught(
    lessons: Sequence[Lesson], rates: Sequence[Fraction], n_tokens: int, spec: MelSpec, how: Teaching
) -> Vocoder:
    """Returns a decoder that has learned mel and pitch from tokens.

    Args:
        lessons: the songs.
        rates: of the streams, in tokens per second.
        n_tokens: of the largest codebook.
        spec: of the mels.
        how: long it learns.
    """
    torch.manual_seed(how.seed)
    rng = np.random.default_rng(how.seed)
    names = {_name(n): str(rate) for n, rate in enumerate(rates)}
    decoder = Vocoder(sized_vocoder(how.size, "istft", spec, False, names, n_tokens))
    decoder.measure([lesson.mel for lesson in lessons])
    optimiser = torch.optim.AdamW(decoder.parameters(), LR, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LR, total_steps=how.steps)
    for _ in range(how.steps):
        batch = _stacked(_crop(lessons[n], rates, spec, rng) for n in rng.choice(len(lessons), how.crops))
        losses = decoded_losses(decoder.decoded(batch), batch["mel"], batch["period_s"])
        weighted = [DECODED_WEIGHTS.get(name, 1.0) * loss for name, loss in losses.items()]
        optimiser.zero_grad()
        (torch.stack(weighted).sum() / batch["mel"].shape[:2].numel()).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return decoder.eval()


def made_of(decoder: Vocoder, streams: Streams, n_frames: int, seed: int) -> tuple[npt.NDArray[np.float32], Array]:
    """Returns the sound (F hop,) of tokens, and the pitch (F,) that the decoder heard in them."""
    inputs: dict[str, Array] = {}
    for n, (tokens, at) in enumerate(streams):
        inputs |= {_name(n): tokens, f"{_name(n)}_at": at}
    wave = np.concatenate(list(synthesise(decoder, inputs, seed=seed)))
    with torch.inference_mode():
        batch = {name: torch.from_numpy(np.ascontiguousarray(array))[None] for name, array in inputs.items()}
        f0_hz = decoder.decoded({**batch, "frames": torch.tensor([n_frames])}).f0_hz[0].numpy()
    return wave, f0_hz


def _name(n: int) -> str:
    return f"stream_{n}"


def _crop(lesson: Lesson, rates: Sequence[Fraction], spec: MelSpec, rng: np.random.Generator) -> Mapping[str, Array]:
    """Returns a stretch of a song, with its tokens as they are in the whole."""
    first = int(rng.integers(0, len(lesson.mel) - CROP_FRAMES + 1))
    span = slice(first, first + CROP_FRAMES)
    f0_hz = lesson.f0_hz[span]
    period_s = np.divide(1, f0_hz, where=f0_hz > 0, out=np.zeros_like(f0_hz))
    given: dict[str, Array] = {"mel": lesson.mel[span], "period_s": period_s, "frames": np.array(CROP_FRAMES)}
    for n, ((tokens, at), rate) in enumerate(zip(lesson.streams, rates, strict=True)):
        # The same number of tokens for every song of a batch.
        held = np.minimum(at[first] + np.arange(int(CROP_FRAMES * rate / spec.rate) + 2), len(tokens) - 1)
        given |= {_name(n): tokens[held], f"{_name(n)}_at": at[span] - at[first]}
    return given


def _stacked(crops: Iterable[Mapping[str, Array]]) -> dict[str, torch.Tensor]:
    rows = list(crops)
    return {name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]}
