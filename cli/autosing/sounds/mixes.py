"""A mix taken apart by the stage `stems`, and put together again with another voice at the level that it had."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from autosing.pipeline.settings import STEMS, DatasetEntry, Project
from autosing.pipeline.song import Song
from autosing.pipeline.stages.stems import Stems
from autosing.signal.decode import Audio
from autosing.signal.errors import RowError
from autosing.signal.faults import peak
from autosing.signal.resample import resample_blocks
from autosing.signal.rows import DiskRows, Rows, Scaled, slices
from autosing.signal.tape import Tape
from autosing.synthesis.conversion.levels import limit_db

MIX = "index.audio"
BLOCK = 1 << 20


@dataclass(frozen=True)
class Parts:
    """A voice and what it is sung to."""

    voice: Tape
    backing: Tape


class Separator:
    """Takes mixes apart.

    Args:
        project: what `datasets.yaml` says of `stems`.
        overrides: `INSTANCE.FIELD=VALUE`; those of other stages change nothing here.
        device: of a separator that has one: auto, cpu or cuda.

    Raises:
        UsageError: a setting is wrong, or its model cannot be had.
    """

    def __init__(self, project: Project, overrides: Iterable[str] = (), device: str = "auto") -> None:
        graph = project.graph(DatasetEntry("", name="convert"), overrides)
        stage = graph[STEMS].stage
        assert isinstance(stage, Stems)
        chosen = {"device": device} if device != "auto" else {}
        self.stage = replace(stage, separate_to="both", **chosen)  # type: ignore[arg-type]
        graph.model_digests(STEMS)
        self._model: Any = self.stage.setup()

    def parts(self, data: bytes) -> Parts:
        """Returns voice and backing of an encoded mix.

        Raises:
            RowError: it cannot be decoded or separated.
        """
        song = Song("mix", {MIX: data}, {"mix": MIX}, {MIX})
        (outcome,) = self.stage.process([song], self._model)
        if isinstance(outcome, RowError):
            raise outcome
        return Parts(Tape.decoded(outcome["vocals"]), Tape.decoded(outcome["backing"]))

    def told(self) -> dict[str, Any]:
        """Returns its settings as JSON."""
        return self.stage.settings()


def mixed(voice: Rows, sample_rate: int, backing: Audio | Tape) -> tuple[Rows, float]:
    """Returns voice and backing together, (T, C) at the backing's rate, and the gain in dB that keeps their peak.

    Args:
        voice: (T,) or (T, 1), at the level that it is to have in the mix.
        sample_rate: of the voice, in Hz.
        backing: as long as the voice, or longer or shorter: the longer one gives the length.
    """
    channels = backing.samples.shape[1]
    together = DiskRows(np.float32, (channels,))
    blocks = (block.reshape(-1, 1) for block in slices(voice, BLOCK))
    for block in resample_blocks(blocks, sample_rate, backing.sample_rate):
        under = backing.samples[len(together) : len(together) + len(block)]
        together.append(np.pad(under, ((0, len(block) - len(under)), (0, 0))) + block)
    for first in range(len(together), len(backing.samples), BLOCK):
        together.append(backing.samples[first : first + BLOCK])
    gain_db = limit_db(peak(together), 0.0)
    return Scaled(together, 10 ** (gain_db / 20)), gain_db
