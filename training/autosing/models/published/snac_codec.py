"""SNAC behind the interface to codecs: its published layout is read, and long recordings are coded in windows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from autosing.models.codecs import CONTEXT_S, WINDOW_S, CodecInfo, Codes, Wave
from autosing.models.excitation import noise
from autosing.models.pieces import pieces
from autosing.models.published.config import typed
from autosing.models.published.snac import Snac, rotary_frequencies
from autosing.models.published.snac_fields import SnacFields
from autosing.models.published.weights import check_fit, folded, weights_of, without_constants, without_memory
from autosing.signal.checkpoint import Checkpoint
from autosing.signal.errors import RowError

if TYPE_CHECKING:
    import torch

SAFE, PICKLED = "model.safetensors", "pytorch_model.bin"


def load_snac(checkpoint: Checkpoint, info: CodecInfo, device: "torch.device") -> "SnacCodec":
    """Returns a SNAC that codes with the levels of `info`; pickled weights go through the converter.

    Raises:
        CheckpointError: the weights are damaged, hostile, or not those of its config.
    """
    import torch

    fields = typed(SnacFields, checkpoint.config, checkpoint.model)
    is_safe = (Path(checkpoint.model) / SAFE).is_file()
    file = checkpoint.file(SAFE if is_safe else PICKLED)
    constants = {"rel_pos.inv_freq": rotary_frequencies().numpy()}
    tensors = without_constants(folded(weights_of(file), str(file)), constants, str(file))
    network = without_memory(lambda: Snac(fields).eval(), f"{checkpoint.model}/config.json")
    check_fit(file, "its config.json", tensors, network)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()}, assign=True)
    return SnacCodec(info, network.to(device))


@dataclass(frozen=True)
class SnacCodec:
    """A SNAC; its windows begin and end where its attention's do, so that together they are the whole."""

    info: CodecInfo
    network: Snac

    def encode(self, wave: Wave) -> list[npt.NDArray[np.uint16]]:
        """Returns the codes (N,) of each level of a wave (T,) in whole codes of the coarsest level."""
        import torch

        fields, strides = self.network.fields, self._strides
        if len(wave) % (fields.hop * strides[0]):
            raise RowError(f"a wave of {len(wave)} samples is no whole number of codes of the coarsest level")
        unit_samples, n_latents = fields.unit * fields.hop, len(wave) // fields.hop
        padded = np.pad(wave, (0, -len(wave) % unit_samples))
        parts: list[list[npt.NDArray[np.uint16]]] = [[np.zeros(0, np.uint16)] for _ in strides]
        for first, last, seen_from, seen_to in self._windows(len(padded) // unit_samples):
            heard = torch.from_numpy(padded[seen_from * unit_samples : seen_to * unit_samples])[None]
            with torch.inference_mode():
                codes = self.network.encode(heard.to(self._device), len(strides))
            for part, one, stride in zip(parts, codes, strides, strict=True):
                kept = one[0, self._codes(first - seen_from, stride) : self._codes(last - seen_from, stride)]
                part.append(kept.cpu().numpy().astype(np.uint16))
        return [np.concatenate(part)[: n_latents // stride] for part, stride in zip(parts, strides, strict=True)]

    def decode(self, codes: Sequence[Codes]) -> Wave:
        """Returns the wave (T,) of the codes of the first levels; the same codes give the same wave."""
        fields, n_latents = self.network.fields, self._latents(codes)
        n_units, unit_samples = -(-n_latents // fields.unit), fields.unit * fields.hop
        made = [np.zeros(0, np.float32)]
        for first, last, seen_from, seen_to in self._windows(n_units):
            wave = self._wave(codes, seen_from, seen_to)
            made.append(wave[(first - seen_from) * unit_samples : (last - seen_from) * unit_samples])
        return np.concatenate(made)[: n_latents * fields.hop]

    def _wave(self, codes: Sequence[Codes], first: int, last: int) -> Wave:
        """Returns the wave of units `first` to `last`."""
        import torch

        given = []
        for one, stride in zip(codes, self._strides, strict=False):
            start, stop = self._codes(first, stride), self._codes(last, stride)
            part = one[start:stop].astype(np.int64)
            # What is missing of the last window of attention is as the last code.
            part = np.pad(part, (0, stop - start - len(part)), mode="edge")
            given.append(torch.from_numpy(part)[None].to(self._device))
        with torch.inference_mode():
            unit = self.network.fields.unit
            wave: Wave = self.network.decode(given, self._noises(first * unit, last * unit))[0].cpu().numpy()
        return wave

    @property
    def _strides(self) -> tuple[int, ...]:
        return self.network.fields.vq_strides[: len(self.info.rates)]

    def _codes(self, units: int, stride: int) -> int:
        return units * self.network.fields.unit // stride

    @property
    def _device(self) -> "torch.device":
        return next(self.network.parameters()).device

    def _windows(self, n_units: int) -> Iterator[tuple[int, int, int, int]]:
        fields = self.network.fields
        per_s = fields.sampling_rate / (fields.unit * fields.hop)
        return pieces(n_units, max(int(WINDOW_S * per_s), 1), int(np.ceil(CONTEXT_S * per_s)))

    def _noises(self, first: int, last: int) -> "list[torch.Tensor]":
        """Returns noise of latents `first` to `last`; it is that of its place in the recording."""
        import torch

        rates = enumerate(self.network.noise_rates)
        return [
            torch.from_numpy(noise(first * rate, (last - first) * rate, seed))[None].to(self._device)
            for seed, rate in rates
        ]

    def _latents(self, codes: Sequence[Codes]) -> int:
        """Returns how many latents codes stand for.

        Raises:
            RowError: their numbers do not fit each other, or one is no code.
        """
        fields, lengths = self.network.fields, [len(one) for one in codes]
        latents = {n * stride for n, stride in zip(lengths, self._strides, strict=False)}
        if not 1 <= len(codes) <= len(self._strides) or len(latents) != 1:
            raise RowError(f"levels of {lengths} codes do not fit strides {list(self._strides)}")
        if (highest := max(int(one.max(initial=0)) for one in codes)) >= fields.codebook_size:
            raise RowError(f"there is a code {highest}, and the codebooks have {fields.codebook_size}")
        return latents.pop()
