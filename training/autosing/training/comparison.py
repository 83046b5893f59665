"""What an acoustic model is worth: its mel-L1 on a held-out split beside ridge regression and the mean mel."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from autosing.models.acoustic import AcousticModel
from autosing.models.directory import load_model
from autosing.training.baselines import MeanBaseline, RidgeBaseline
from autosing.training.metrics import mel_l1, unpadded
from autosing.training.sample import Sample
from autosing.training.shards import ShardSet
from autosing.training.tasks.acoustic import AcousticConfig

Mel = npt.NDArray[np.floating[Any]]
MODEL, RIDGE, MEAN = "acoustic model", "ridge regression from one-hot units", "mean mel"
BATCH = 8
# More frames change the regression's weights in the third digit only.
RIDGE_SAMPLES = 2000


@dataclass(frozen=True)
class HeldOut:
    """One held-out sample and what the model makes of it, running freely."""

    sample: Sample
    predicted: Mel


@dataclass(frozen=True)
class AcousticComparison:
    """Mel-L1 in nats by name of what predicts, and the model's predictions."""

    mel_l1: Mapping[str, float]
    predictions: Sequence[HeldOut]

    @property
    def ratio(self) -> float:
        """The model's error divided by that of the better baseline."""
        return self.mel_l1[MODEL] / min(self.mel_l1[RIDGE], self.mel_l1[MEAN])


def compare_acoustic(model: Path, config: AcousticConfig, data: Path, split: str = "valid") -> AcousticComparison:
    """Returns the comparison of a model directory with the baselines on a split of the set that it was trained on.

    Args:
        model: the model directory.
        config: the settings it was trained with.
        data: the folder of the built set.
        split: what the model has not seen.

    Raises:
        DataError: the split is missing or empty.
        CheckpointError: the directory is damaged or no acoustic model.
    """
    trained, held_out = ShardSet.open(data, "train"), ShardSet.open(data, split)
    predictions = list(_predictions(model, config, held_out))
    targets = [p.sample.series["mel"].astype(np.float32) for p in predictions]
    ridge, mean = _baselines(trained, config)
    errors = {
        MODEL: mel_l1([p.predicted for p in predictions], targets),
        RIDGE: mel_l1([ridge.predict(p.sample.series["units"], len(p.predicted)) for p in predictions], targets),
        MEAN: mel_l1([mean.predict(len(p.predicted)) for p in predictions], targets),
    }
    return AcousticComparison(errors, predictions)


def _baselines(trained: ShardSet, config: AcousticConfig) -> tuple[RidgeBaseline, MeanBaseline]:
    columns = trained.manifest.columns
    unit_rate, mel_rate = columns["units"].rate, columns["mel"].rate
    assert unit_rate is not None and mel_rate is not None
    chosen = np.linspace(0, len(trained) - 1, min(len(trained), RIDGE_SAMPLES)).astype(int)
    samples = [trained.read(int(i), ["units", "mel"]).series for i in chosen]
    n_units = 1 + max(int(s["units"].max(initial=0)) for s in samples)
    pairs = ((np.minimum(s["units"], n_units - 1), s["mel"].astype(np.float32)) for s in samples)
    ridge = RidgeBaseline.fit(pairs, n_units, unit_rate, mel_rate)
    return ridge, MeanBaseline.fit([s["mel"].astype(np.float32) for s in samples])


def _predictions(model: Path, config: AcousticConfig, held_out: ShardSet) -> Iterator[HeldOut]:
    task = config.task(held_out.manifest)
    network = load_model(model, task.contract()).model
    assert isinstance(network, AcousticModel)
    for start in range(0, len(held_out), BATCH):
        indices = range(start, min(start + BATCH, len(held_out)))
        samples = [held_out.read(i, config.columns) for i in indices]
        batch = task.collate(samples, training=False)
        tensors = {name: torch.from_numpy(array) for name, array in batch.arrays.items()}
        mels = unpadded(network.generate(tensors).numpy(), batch.arrays["mel_frames"])
        yield from (HeldOut(s, m) for s, m in zip(samples, mels, strict=True))
