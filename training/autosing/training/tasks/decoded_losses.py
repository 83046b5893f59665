"""Losses of what a decoder says of frames before there is a wave: its mel, voicing and pitch."""

import torch
from torch import Tensor
from torch.nn import functional

from autosing.models.frame_decoder import BINS, Decoded

DECODED_MEL, VOICING, PITCH = "decoded_mel", "voicing", "pitch"
DECODED_LOSSES = (DECODED_MEL, VOICING, PITCH)
# The cross-entropy of hundreds of bins begins at many nats.
DECODED_WEIGHTS = {PITCH: 0.5}


def decoded_losses(decoded: Decoded, mel_BFM: Tensor, period_BF: Tensor | None) -> dict[str, Tensor]:
    """Returns mean absolute errors of mels, and cross-entropies of voicing and pitch, in nats, summed over frames.

    Args:
        decoded: what was said.
        mel_BFM: the true mels.
        period_BF: the true periods in seconds, 0 where unvoiced, for a decoder that tells the pitch.
    """
    mask_BF = decoded.mask[..., 0]
    found = {DECODED_MEL: ((decoded.mel - mel_BFM).abs().mean(2) * mask_BF).sum()}
    if decoded.pitch is None or period_BF is None:
        return found
    pitch_BFP = decoded.pitch.float()
    voiced_BF = (period_BF > 0).float()
    voicing_BF = functional.binary_cross_entropy_with_logits(pitch_BFP[..., 0], voiced_BF, reduction="none")
    wanted_BFN = BINS.soft_labels(1 / torch.where(period_BF > 0, period_BF, 1.0))
    pitch_BF = -(wanted_BFN * pitch_BFP[..., 1:].log_softmax(-1)).sum(-1) * voiced_BF
    return {**found, VOICING: (voicing_BF * mask_BF).sum(), PITCH: (pitch_BF * mask_BF).sum()}
