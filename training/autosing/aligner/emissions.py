"""Log probabilities of a whole song, from overlapping windows."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from autosing.models.aligner import Aligner

Floats = npt.NDArray[np.float32]

WINDOW_FRAMES = 1500
CONTEXT_FRAMES = 150
"""What a window sees on either side of what is kept of it; 3 s are more than a line's sounds depend on."""


def emissions(model: "Aligner", bands: npt.NDArray[Any]) -> Floats:
    """Returns the log probabilities (N, F, V) of the nets of `model` for normalised bands (F, D) of a song.

    Windows are of a fixed length with context on both sides, so memory is flat and a window's edge is no one's edge.
    """
    import torch

    device, fields = next(model.parameters()).device, model.fields
    found = np.empty((fields.members, len(bands), len(fields.symbols)), np.float32)
    with torch.inference_mode():
        for start in range(0, len(bands), WINDOW_FRAMES):
            first = max(start - CONTEXT_FRAMES, 0)
            seen = torch.from_numpy(bands[first : start + WINDOW_FRAMES + CONTEXT_FRAMES].astype(np.float32))
            log_probs = model(seen[None].to(device))[:, 0, start - first :][:, :WINDOW_FRAMES]
            found[:, start : start + WINDOW_FRAMES] = log_probs.cpu().numpy()
    return found


def with_anything(log_probs: Floats, blank: int = 0) -> Floats:
    """Returns log probabilities (F, V) with a last column for any sound: what is left of 1 without the blank."""
    sounding = np.log(np.maximum(-np.expm1(np.minimum(log_probs[:, blank], -1e-6)), 1e-6))
    return np.concatenate([log_probs, sounding[:, None].astype(log_probs.dtype)], axis=1)


def mixture(log_probs_NFV: Floats) -> Floats:
    """Returns the log of the mean probability (F, V) of several nets."""
    return np.asarray(np.logaddexp.reduce(log_probs_NFV, axis=0) - np.float32(np.log(len(log_probs_NFV))))
