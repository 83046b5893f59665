"""How mels of conversion models are drawn: steps, guidance towards a singer, and long recordings in pieces."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autosing.models.acoustic import UNKNOWN_SINGER
from autosing.models.diffusion import Solver, calls, leap, solve
from autosing.models.excitation import noise as white
from autosing.models.pieces import pieces
from autosing.models.svc import SvcModel, Tensors

Array = npt.NDArray[Any]

# Of what is known, what guidance moves beside the denoiser's estimates.
GUIDED = ("coarse", "log_spread")
# Of what is looked at beside a piece: more changes less than can be heard, and costs time.
MOST_CONTEXT = 384
PIECE_FRAMES = 1536


@dataclass(frozen=True)
class Sampling:
    """How a mel is drawn.

    Attributes:
        steps: of a teacher's solver, or calls of a student; 0 gives the coarse mel alone.
        solver: of a teacher.
        guidance: how far towards the asked singer from nobody in particular; 1 is the model's own.
        seed: of the noise; the same seed gives the same mel.
    """

    steps: int = 0
    solver: Solver = "heun"
    guidance: float = 1.0
    seed: int = 0


def draw(model: SvcModel, inputs: Tensors, noises: Iterator[Tensor], how: Sampling) -> Tensor:
    """Returns mels (B, F, M) in nats; of a guided singer, each estimate is moved away from that for nobody.

    Args:
        model: teacher or student.
        inputs: see `SvcModel`.
        noises: white noise (B, F, M), one for a teacher, one for each step of a student.
        how: steps, solver and guidance.
    """
    known = model.known(inputs)
    if how.guidance != 1.0:
        nobody = model.known(without_singer(inputs))
        parts = {name: torch.lerp(getattr(nobody, name), getattr(known, name), how.guidance) for name in GUIDED}
        apart = model.denoise(known), model.denoise(nobody)
        known = replace(known, **parts)

        def denoise(x_BFM: Tensor, level_B: Tensor) -> Tensor:
            return torch.lerp(apart[1](x_BFM, level_B), apart[0](x_BFM, level_B), how.guidance)
    else:
        denoise = model.denoise(known)  # type: ignore[assignment]
    if not how.steps:
        return model.mel(known)
    if model.fields.distilled:
        levels = model.noise.levels(how.steps + 1)[:-1]
        return model.mel(known, leap(denoise, noises, levels, model.noise.lowest))
    return model.mel(known, solve(denoise, next(noises), model.noise.levels(how.steps), how.solver))


def without_singer(inputs: Tensors) -> dict[str, Tensor]:
    """Returns the inputs with nobody in particular singing, as in training where the singer was withheld."""
    kept = {name: tensor for name, tensor in inputs.items() if name != "singer_weights"}
    rows = torch.full_like(inputs["mel_frames"], UNKNOWN_SINGER)
    if "singer_embedding" in inputs:
        kept["singer_embedding"] = torch.zeros_like(inputs["singer_embedding"])
    return {**kept, "singer": rows}


@torch.inference_mode()
def convert_mel(
    model: SvcModel, inputs: Mapping[str, Array], how: Sampling, piece_frames: int = PIECE_FRAMES
) -> Iterator[npt.NDArray[np.float32]]:
    """Yields the mel of a recording piece by piece (F', M); memory is in proportion to a piece.

    The noise of a frame is the same in every piece that sees it, so that pieces agree where they meet; what lies beyond
    `MOST_CONTEXT` frames beside a piece is not looked at.

    Args:
        model: in evaluation mode.
        inputs: of one recording, each (F, ...); see `SvcModel`.
        how: it is drawn.
        piece_frames: frames that are made at once.
    """
    n_frames, device = len(inputs["frame"]), next(model.parameters()).device
    around = min(context_of(model, how), MOST_CONTEXT)
    for first, last, seen_from, seen_to in pieces(n_frames, piece_frames, around):
        part = {name: torch.from_numpy(array[seen_from:seen_to])[None].to(device) for name, array in inputs.items()}
        part["mel_frames"] = torch.tensor([seen_to - seen_from], device=device)
        noises = _noises(seen_from, seen_to, model.fields.n_mels, how.seed, device)
        mel: npt.NDArray[np.float32] = draw(model, part, noises, how)[0].float().cpu().numpy()
        yield mel[first - seen_from : last - seen_from]


def context_of(model: SvcModel, how: Sampling) -> int:
    """Returns how many frames on either side a frame depends on."""
    looks = how.steps if model.fields.distilled else calls(how.steps, how.solver)
    return model.context_frames + looks * model.denoiser.context_frames


def _noises(first: int, last: int, n_mels: int, seed: int, device: torch.device) -> Iterator[Tensor]:
    """Yields noise (1, F, M) of frames `first` to `last`, new each time, that depends on the frame alone."""
    draw = 0
    while True:
        # Seeds of draws lie far apart, so that no two seeds share one.
        made = white(first * n_mels, (last - first) * n_mels, seed * 1_000_003 + draw)
        yield torch.from_numpy(made.reshape(1, last - first, n_mels)).to(device)
        draw += 1
