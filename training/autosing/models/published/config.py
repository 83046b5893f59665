"""What the configs of published models tell, checked value by value."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from autosing.signal.errors import CheckpointError, UsageError
from autosing.signal.mel import MelSpec
from autosing.signal.typed import of_mapping

T = TypeVar("T")


def typed(cls: type[T], told: Mapping[str, Any], where: str) -> T:
    """Returns a dataclass of those values of a config that it knows; what else is there is of training.

    Raises:
        CheckpointError: a value is missing or of another type.
    """
    known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
    try:
        return of_mapping(cls, {name: value for name, value in told.items() if name in known}, where)
    except UsageError as error:
        raise CheckpointError(f"{error}; copy the config again from where the weights come from") from error


@dataclass(frozen=True)
class GanConfig:
    """What configs of HiFi-GAN's format (config.json) tell of the generator and its mel."""

    sampling_rate: int
    n_fft: int
    hop_size: int
    win_size: int
    num_mels: int
    fmin: float
    resblock: str | int
    upsample_initial_channel: int
    upsample_rates: tuple[int, ...]
    upsample_kernel_sizes: tuple[int, ...]
    resblock_kernel_sizes: tuple[int, ...]
    resblock_dilation_sizes: tuple[tuple[int, ...], ...]
    fmax: float | None = None

    @property
    def spec(self) -> MelSpec:
        """The mel's definition."""
        highest_hz = self.sampling_rate / 2 if self.fmax is None else self.fmax
        sizes = (self.n_fft, self.hop_size, self.win_size, self.num_mels)
        return MelSpec(self.sampling_rate, *sizes, self.fmin, highest_hz)

    @property
    def sizes(self) -> dict[str, Any]:
        """The fields of the generator, beside the mel."""
        return {
            "resblock": str(self.resblock), "channels": self.upsample_initial_channel,
            "steps_up": self.upsample_rates, "kernels_up": self.upsample_kernel_sizes,
            "kernels": self.resblock_kernel_sizes, "dilations": self.resblock_dilation_sizes,
        }  # fmt: skip
