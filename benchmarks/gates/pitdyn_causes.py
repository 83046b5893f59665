"""Why hubert-pitdyn failed: each of its defects put back alone into `pitdyn`, all of them, and none.

    python benchmarks/gates/pitdyn_causes.py [--steps N] [--seed N] [--cause NAME]

Everything is heard on songs that are held out, beside the true pitch and level, and in the bins of the sound recipe:
pitch within a semitone and dynamics within a bin of the voiced frames, voicing of all. Some 45 CPU s for each.
"""

import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from autosing.pipeline.threads import one_thread

one_thread()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from content import SPEC  # noqa: E402
from synthetic_set import built, only_at_the_end, options_of  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from autosing.models.content import ContentEncoder  # noqa: E402
from autosing.models.listener import Heard, Listener  # noqa: E402
from autosing.pipeline.ingest.synthetic import SyntheticSource  # noqa: E402
from autosing.training.loader import Batch, Reading  # noqa: E402
from autosing.training.loop import Loop  # noqa: E402
from autosing.training.manifest import Manifest  # noqa: E402
from autosing.training.order import EpochPlan  # noqa: E402
from autosing.training.ranks import joined  # noqa: E402
from autosing.training.recipes import apply_settings, pitdyn  # noqa: E402
from autosing.training.sample import Sample  # noqa: E402
from autosing.training.shards import Data, ShardSet  # noqa: E402
from autosing.training.task import Tensors  # noqa: E402
from autosing.training.tasks.content import ContentConfig, ContentTask  # noqa: E402
from autosing.training.tasks.listener import frames_mask  # noqa: E402

# Tracked at 16 kHz as if it were 22.05 kHz.
WRONG_RATE = 22_050 / 16_000
# Where YIN looked for the pitch of what has none.
YIN_HZ = (20.0, 550.0)
# The loudest RMS of the corpus that the reference's bins were measured on.
FOREIGN_PEAK = 0.33497
LABELS_HZ = 100
CAUSES: Mapping[str, str] = {
    "none": "none: the recipe",
    "rate": "F0 labels x 1.378, by a wrong sample rate",
    "unvoiced": "no being unvoiced: an arbitrary pitch there",
    "gelu": "one GELU more in inference, after the first convolution",
    "gelus": "one GELU more in inference, after every convolution",
    "order": "the same order in every epoch",
    "late": "labels half a frame late",
    "hard": "hard labels",
    "masked": "hidden frames alone teach (alpha = 1, p = 0.8)",
    "linear": "linear bins of dynamics, up to a foreign peak",
    "all": "all of them",
}


@dataclass(frozen=True, kw_only=True)
class FaultyConfig(ContentConfig):
    """`pitdyn` with defects.

    Attributes:
        causes: which, by the names of `CAUSES`.
    """

    causes: tuple[str, ...] = ()

    def task(self, manifest: Manifest) -> "FaultyTask":
        return FaultyTask(self, manifest)


class FaultyTask(ContentTask):
    """Trains with the defects and validates beside the truth."""

    of_voiced: ClassVar[tuple[str, ...]] = (*ContentTask.of_voiced, "pitch_undone")

    def __init__(self, config: FaultyConfig, manifest: Manifest) -> None:
        super().__init__(config, manifest)
        self.causes = config.causes

    def build(self) -> ContentEncoder:
        model = super().build()
        convolutions = _convolutions(model)
        wrong = {"gelus": convolutions, "gelu": convolutions[:1]}
        for convolution in (c for cause in self.causes for c in wrong.get(cause, [])):
            convolution.register_forward_hook(_another_gelu)
        return model

    def initialise(self, model: Listener, samples: Iterable[Sample]) -> None:
        super().initialise(model, map(self._labelled, samples))

    def collate(self, samples: Sequence[Sample], *, training: bool) -> Batch:
        return super().collate([self._labelled(s) for s in samples] if training else samples, training=training)

    def _labelled(self, sample: Sample) -> Sample:
        """Returns a sample with the defects of its labels."""
        series = dict(sample.series)
        if "unvoiced" in self.causes:
            low, high = np.log(YIN_HZ)
            anything = np.exp(sample.rng("yin").uniform(low, high, len(series["f0_hz"])))
            series["f0_hz"] = np.where(series["voiced"] > 0, series["f0_hz"], anything).astype(np.float32)
            series["voiced"] = np.ones_like(series["voiced"])
        if "rate" in self.causes:
            series["f0_hz"] = series["f0_hz"] * np.float32(WRONG_RATE)
        if "late" in self.causes:
            late = round(0.5 * LABELS_HZ / float(self.rate))
            for name in ("f0_hz", "voiced", "energy"):
                series[name] = np.concatenate([np.repeat(series[name][:1], late), series[name][:-late]])
        return replace(sample, series=series)

    def _pitch_labels(self, model: Listener, batch: Tensors) -> Tensor:
        return self._as_taught(super()._pitch_labels(model, batch))

    def _dynamic_labels(self, model: Listener, batch: Tensors) -> Tensor:
        if "linear" not in self.causes:
            return self._as_taught(super()._dynamic_labels(model, batch))
        n_bins = self.config.dynamic_bins
        return functional.one_hot((batch["energy"] / FOREIGN_PEAK * n_bins).long().clamp(0, n_bins - 1), n_bins).float()

    def _as_taught(self, soft: Tensor) -> Tensor:
        return functional.one_hot(soft.argmax(-1), soft.shape[-1]).float() if "hard" in self.causes else soft

    def _right(self, model: Listener, heard: Heard, batch: Tensors) -> dict[str, Tensor]:
        assert heard.pitch is not None and heard.dynamics is not None
        voiced_BN = frames_mask(batch) & (batch["f0_hz"] > 0)
        found = super()._right(model, heard, batch)
        as_if = {**batch, "f0_hz": batch["f0_hz"] * WRONG_RATE}
        found["pitch_undone"] = super()._right(model, heard, as_if)["pitch_within_semitone"]
        told = heard.dynamics.argmax(-1)
        if "linear" in self.causes:
            energy = (told.numpy() + 0.5) / self.config.dynamic_bins * FOREIGN_PEAK
            told = torch.from_numpy(model.dynamic_places(energy)).round()
        true = torch.from_numpy(model.dynamic_places(batch["energy"].numpy())).round()
        found["dynamics_within_bin"] = (((told - true).abs() <= 1) & voiced_BN).sum()
        return found


class InOrder(Reading):
    """The songs in the order in which they were ingested, in each epoch the same."""

    def plan(self, epoch: int) -> EpochPlan:
        plan, shards = super().plan(epoch), self.shards
        places = [(info["id"], info["start_s"]) for info in (shards.read(i, ()).info for i in range(len(shards)))]
        order = np.array(sorted(range(len(shards)), key=places.__getitem__))
        size = max(round(self.budget_s / (self.crop_s or 1)), 1)
        begins = np.arange(0, len(order), size)
        return EpochPlan(order, np.zeros_like(plan.turn), begins, np.minimum(begins + size, len(order)))


class LoopInOrder(Loop):
    """Does not shuffle what is trained on."""

    def _reading(self, shards: ShardSet, training: bool) -> Reading:
        return InOrder(shards, **self._batching(training)) if training else super()._reading(shards, training)


def main() -> None:
    """Prints the table."""
    parser = options_of(__doc__, 180)
    parser.add_argument("--cause", action="append", choices=CAUSES, help="only this one; may be given again")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        source = SyntheticSource(options.songs, options.seconds, 0, 8)
        shards = built(Path(scratch) / "set", source, SPEC, ("ssl", "f0", "energy"), ("ssl.model=log_mel",))
        print("| put back | pitch within a semitone | of the pitch x 1.378 | voicing | dynamics within a bin | CPU s |")
        print("|---" * 6 + "|")
        for cause in options.cause or CAUSES:
            row(cause, shards, Path(scratch) / cause, options.steps, options.seed)


def row(cause: str, shards: Path, folder: Path, steps: int, seed: int) -> None:
    """Trains with a cause and prints what is heard."""
    started = time.process_time()
    metrics = heard(config_of(cause, steps, seed), shards, folder)
    shown = ("pitch_within_semitone", "pitch_undone", "voicing_accuracy", "dynamics_within_bin")
    told = " | ".join(f"{100 * metrics[f'valid/{name}']:.1f} %" for name in shown)
    print(f"| {CAUSES[cause]} | {told} | {time.process_time() - started:.0f} |", flush=True)


def config_of(cause: str, steps: int, seed: int) -> FaultyConfig:
    """Returns the settings of a run with a cause, the same but for it."""
    # One GELU more was after one convolution.
    causes = tuple(sorted(CAUSES.keys() - {"gelus"})) if cause == "all" else (cause,)
    settings = [
        f"seed={seed}",
        "size=tiny",
        "lr=3e-3",
        "warmup_steps=20",
        "seconds_per_batch=64",
        "crop_s=4",
        "validate_samples=999",
    ]
    if "masked" in causes:
        settings += ["masked_share=0.8", "unmasked_weight=0"]
    recipe: dict[str, Any] = vars(apply_settings(pitdyn(), [*settings, *only_at_the_end(steps)]))
    return FaultyConfig(**recipe, causes=causes)


def heard(config: FaultyConfig, shards: Path, folder: Path) -> Mapping[str, float]:
    """Returns the figures of a run on the songs that are held out for validation."""
    data = Data.open([str(shards)])
    folder.mkdir(parents=True)
    with joined("cpu") as ranks:
        loop = LoopInOrder if "order" in config.causes else Loop
        return loop(config.task(data.manifest), data, folder, ranks).run().metrics


def _convolutions(model: Any) -> list[nn.Module]:
    return [block.conv for block in model.blocks.blocks]


def _another_gelu(module: nn.Module, given: Any, made: Tensor) -> Tensor | None:
    return None if module.training else functional.gelu(made)


if __name__ == "__main__":
    main()
