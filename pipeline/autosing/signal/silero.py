"""Silero VAD, a small network for speech whose weights come with the package `silero-vad` (MIT).

It is run by onnxruntime, without importing the package, which would load torch and set its threads.
"""

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.signal.errors import UsageError
from autosing.signal.voice_activity import HOP

Wave = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float32]

PACKAGE = "silero-vad"
_WEIGHTS = "silero_vad/data/silero_vad_16k_sequence.onnx"
_INSTALL = "install it with: pip install 'autosing[vad]', or take `method: weight_free`"

# Samples of a frame, and those of the frame before that it sees.
_FRAME, _CONTEXT = 512, 64
_STATE = (1, 1, 128)


def load_silero(package: str = PACKAGE) -> Any:
    """Returns the network that a package holds as an onnxruntime session of one thread.

    Raises:
        UsageError: the package is not installed, or is a release without this network.
    """
    try:
        found = distribution(package)
    except PackageNotFoundError as error:
        raise UsageError(f"the package {package} is not installed; {_INSTALL}") from error
    # All packages lie in one folder, so the file being there does not make it this one's.
    path = Path(str(found.locate_file(_WEIGHTS)))
    if _WEIGHTS not in map(str, found.files or ()) or not path.is_file():
        raise UsageError(f"the installed {package} has no {_WEIGHTS}; {_INSTALL}")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def speech(network: Any, blocks: Iterable[Wave], n_frames: int) -> Scores:
    """Returns the probability of speech (n_frames,) at 50 Hz of a wave at 16 kHz.

    It is given in blocks (n,) of whole frames and a rest; to the network each is a recording of its own.
    """
    found = [_block(network, block) for block in blocks]
    scores = np.concatenate(found) if found else np.zeros(0, np.float32)
    return np.pad(scores, (0, max(n_frames - len(scores), 0)))[:n_frames]


def _block(network: Any, block: Wave) -> Scores:
    """Returns the probability (F,) in frames of 20 ms: that of the network's frame of 32 ms about the centre."""
    frames = np.pad(block, (0, -len(block) % _FRAME)).reshape(-1, _FRAME)
    before = np.zeros((len(frames), _CONTEXT), np.float32)
    before[1:] = frames[:-1, -_CONTEXT:]
    state = np.zeros(_STATE, np.float32)
    heard = np.concatenate([before, frames], axis=1)
    probability = network.run(["speech_probs"], {"input": heard, "h": state, "c": state})[0].ravel()
    centres = np.arange(-(-len(block) // HOP)) * HOP + HOP // 2
    scores: Scores = probability[np.minimum(centres // _FRAME, len(frames) - 1)]
    return scores
