"""The weights of published models as plain arrays: from a pickle through the converter, weight norm folded in."""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from autosing.models.arrays import WEIGHTS, read_safetensors
from autosing.models.convert import MAX_BYTES, TIMEOUT_S, convert_checkpoint
from autosing.models.directory import differing_shapes
from autosing.signal.errors import CheckpointError

if TYPE_CHECKING:
    from torch import nn

N = TypeVar("N")
Array = npt.NDArray[Any]

# Where the generator's weights are, by what their names begin with: HiFi-GAN's format, Lightning's, and nothing around.
PREFIXES = ("generator/", "state_dict/generator.", "state_dict/", "")
# Length and direction of a normalised weight, by torch's older and newer names.
_NORMED = (
    ("weight_g", "weight_v", "weight"),
    ("parametrizations.weight.original0", "parametrizations.weight.original1", "weight"),
)
# By how much a constant may differ from what it should be: float32 of another library.
_ROUNDING = 1e-4


def weights_of(file: Path, max_bytes: int = MAX_BYTES, timeout_s: float = TIMEOUT_S) -> dict[str, Array]:
    """Returns the tensors of a torch checkpoint or a safetensors file by name; a pickle is opened by the converter.

    Raises:
        CheckpointError: it is damaged, too big, or wants to run code.
    """
    if file.suffix == ".safetensors":
        return read_safetensors(file, "copy it again from where it comes from")
    with TemporaryDirectory() as folder:
        convert_checkpoint(file, Path(folder) / "converted", max_bytes, timeout_s)
        return read_safetensors(Path(folder) / "converted" / WEIGHTS)


def generator_of(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Returns the generator's tensors by their own names."""
    prefix = next(prefix for prefix in PREFIXES if any(name.startswith(prefix) for name in tensors) or not prefix)
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}


def folded(tensors: Mapping[str, Array], source: str) -> dict[str, Array]:
    """Returns weights in float32 with weight norm (Salimans & Kingma, 2016) multiplied out: g v / |v|, row by row.

    Raises:
        CheckpointError: a weight has a length without a direction or none at all, or holds what is no finite number.
    """
    found = dict(tensors)
    for length, direction, plain in _NORMED:
        for name in [name for name in found if name.endswith(f".{direction}")]:
            owner = name.removesuffix(direction)
            if owner + length not in found:
                raise CheckpointError(f"{source}: {name} has no {owner}{length} beside it; copy it again")
            v, g = found.pop(name).astype(np.float64), found.pop(owner + length).astype(np.float64)
            norm = np.sqrt(np.square(v).sum(axis=tuple(range(1, v.ndim)), keepdims=True))
            with np.errstate(divide="ignore", invalid="ignore"):
                found[owner + plain] = _scaled(v, g, norm, f"{source}: {owner}")
    for name, array in found.items():
        if not np.isfinite(array).all():
            raise CheckpointError(f"{source}: {name} holds what is no finite number; take another checkpoint")
    return {name: array.astype(np.float32) for name, array in found.items()}


def _scaled(v: Array, g: Array, norm: Array, owner: str) -> Array:
    if g.shape != norm.shape:
        raise CheckpointError(f"{owner} has lengths {g.shape} and directions {v.shape}; copy the checkpoint again")
    scaled: Array = (v * (g / norm)).astype(np.float32)
    return scaled


def without_constants(tensors: Mapping[str, Array], constants: Mapping[str, Array], source: str) -> dict[str, Array]:
    """Returns the tensors without those that are computed here; they must be what is computed.

    Args:
        tensors: by name.
        constants: by the end of their names.
        source: where they come from, for messages.

    Raises:
        CheckpointError: one is another, so the network is, too.
    """
    left = {}
    for name, array in tensors.items():
        known = next((value for end, value in constants.items() if name.endswith(end)), None)
        if known is None:
            left[name] = array
        elif array.shape != known.shape or np.abs(array - known).max() > _ROUNDING:
            raise CheckpointError(
                f"{source}: {name} is another constant than its config tells; copy config and weights from one place"
            )
    return left


def without_memory(build: Callable[[], N], where: str) -> N:
    """Returns a network whose weights have shapes and no memory yet, whatever sizes its config tells.

    Raises:
        CheckpointError: there is no network of these sizes.
    """
    import torch

    with torch.device("meta"):
        try:
            return build()
        except (RuntimeError, ValueError, OverflowError, TypeError) as error:
            raise CheckpointError(f"{where}: there is no network of these sizes ({error}); copy it again") from error


def check_fit(file: Path, config: str, tensors: Mapping[str, Array], network: "nn.Module") -> None:
    """Checks that a network has these weights, each of its shape.

    Raises:
        CheckpointError: names the first that is missing, too many or of another shape.
    """
    for name, found, wanted in differing_shapes(tensors, network.state_dict()):
        raise CheckpointError(
            f"{file} does not fit {config}: {name} is {'missing' if found is None else found}, expected "
            f"{'no such tensor' if wanted is None else wanted}; copy config and weights from one place"
        )
