"""What the config of a SNAC tells: read without torch, since it says what columns its codes are."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import lcm, prod
from typing import Any

from autosing.models.codecs import CodecInfo
from autosing.models.published.config import typed
from autosing.signal.errors import CheckpointError


@dataclass(frozen=True)
class SnacFields:
    """What a SNAC is built from, by the names of its config.json.

    Raises:
        CheckpointError: the numbers do not fit each other.
    """

    sampling_rate: int
    encoder_dim: int
    encoder_rates: tuple[int, ...]
    decoder_dim: int
    decoder_rates: tuple[int, ...]
    codebook_size: int
    codebook_dim: int
    vq_strides: tuple[int, ...]
    attn_window_size: int | None = 32
    latent_dim: int | None = None
    noise: bool = True
    depthwise: bool = True

    def __post_init__(self) -> None:
        numbers = [self.sampling_rate, self.encoder_dim, self.decoder_dim, self.codebook_size, self.codebook_dim]
        lists = [self.encoder_rates, self.decoder_rates, self.vq_strides, [self.attn_window_size or 1]]
        if min(numbers) < 1 or any(not values or min(values) < 1 for values in lists):
            raise CheckpointError("snac: a size, a rate or a stride of its config is below 1; copy config.json again")
        if prod(self.encoder_rates) != prod(self.decoder_rates):
            raise CheckpointError(
                f"snac: rates {list(self.encoder_rates)} in and {list(self.decoder_rates)} out are not the same hop; "
                "copy config.json again"
            )
        if any(self.vq_strides[0] % stride for stride in self.vq_strides):
            raise CheckpointError(
                f"snac: of the strides {list(self.vq_strides)} the first is no multiple of all others"
            )

    @property
    def hop(self) -> int:
        """Samples to a latent."""
        return prod(self.encoder_rates)

    @property
    def latents(self) -> int:
        """Width of the latents."""
        return self.latent_dim or self.encoder_dim * 2 ** len(self.encoder_rates)

    @property
    def unit(self) -> int:
        """Latents that belong together: whole codes of every level, and whole windows of attention."""
        return lcm(self.vq_strides[0], self.attn_window_size or 1)


def snac_info(config: Mapping[str, Any], where: str) -> CodecInfo:
    """Returns what the codes of a SNAC are, by its config alone."""
    fields = typed(SnacFields, config, where)
    rates = tuple(Fraction(fields.sampling_rate, fields.hop * stride) for stride in fields.vq_strides)
    return CodecInfo(fields.sampling_rate, rates, (fields.codebook_size,) * len(rates))
