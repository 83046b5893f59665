"""Whose voice a singer model hears in a wave, by the stages that its own training set was processed with."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from autosing.evaluation.heard import SPEC, Wave
from autosing.pipeline.dataset import INDEX
from autosing.pipeline.outcomes import Models
from autosing.pipeline.sections import computed
from autosing.pipeline.settings import DatasetEntry, Project
from autosing.pipeline.song import Song
from autosing.pipeline.stages.singer_embedding import STATISTICS
from autosing.signal.checkpoint import Checkpoint
from autosing.signal.decode import Audio
from autosing.signal.errors import UsageError

STAGE = "singer_embedding"
AUDIO = f"{INDEX}.audio"


class SingerEar:
    """Hears voices by a singer model.

    Args:
        model: what `autosing train singer` made, or the hub id or path of an x-vector model.
        project: what `datasets.yaml` says of stages; what the model's contract says of them goes before.
        overrides: `INSTANCE.FIELD=VALUE`, such as where the encoder is whose features the model hears.

    Raises:
        CheckpointError: the model is of another kind, or would be given other frames than it learned from.
        UsageError: an override is wrong, or the model is none.
    """

    def __init__(self, model: str, project: Project, overrides: Sequence[str] = ()) -> None:
        if model == STATISTICS:
            raise UsageError("--singer-model is statistics, which is what is compared without one; leave it out")
        contract = Checkpoint(model).config.get("contract", {})
        heard = "".join(contract.get("columns", {}).values()).rpartition(".")[0]
        learned = {heard: dict(contract["instances"][heard])} if heard in contract.get("instances", {}) else {}
        stages = {**project.stages, **learned, STAGE: {"model": model, "source": heard}}
        self._graph = Project(stages=stages).graph(DatasetEntry("", name="eval sing"), overrides)
        self._names = [name for name in self._graph.closure([STAGE]) if name != "probe"]
        for name in self._names:
            self._graph.check_reads(name)
        self._models = Models()

    def voice(self, wave: Wave) -> npt.NDArray[np.float64] | None:
        """Returns the voice in a wave (T,) at `SPEC.sample_rate` as a direction (E,); None where nobody is heard.

        Raises:
            RowError: the wave cannot be heard.
        """
        audio = Audio(wave[:, None], SPEC.sample_rate, "")
        song = Song("voice", {}, self._graph.audio_addresses, decoded={AUDIO: audio})
        for name in self._names:
            song.values |= computed(self._graph, name, song, self._models.of(self._graph[name].stage, None))
        found = song.values[f"{STAGE}.{STAGE}"]
        if found is None:
            return None
        direction = np.asarray(found, np.float64)
        return direction / max(float(np.linalg.norm(direction)), 1e-12)

    def similarity(self, voice: Wave, other: Wave) -> float:
        """Returns the cosine of two voices; no number where nobody is heard in either."""
        told = [self.voice(wave) for wave in (voice, other)]
        return float("nan") if told[0] is None or told[1] is None else float(told[0] @ told[1])
