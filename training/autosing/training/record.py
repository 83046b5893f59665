"""The record of a run: scalars in `log.jsonl` and TensorBoard, pictures in TensorBoard."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOG = "log.jsonl"
BOARD = "tensorboard"


class Record:
    """Writes what a run says of itself; on resuming, lines of steps that were lost are removed first.

    Args:
        folder: of the run.
        step: the step that the run goes on from.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / LOG
        kept = [line for line in self._lines() if json.loads(line)["step"] <= step]
        self._log.write_text("".join(kept))
        self._board = SummaryWriter(str(folder / BOARD), purge_step=step + 1 if step else None)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds one line of named values, named like `train/mel_l1`."""
        with open(self._log, "a") as log:
            log.write(json.dumps({"step": step, **values}) + "\n")
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def figures(self, step: int, figures: Mapping[str, "Figure"]) -> None:
        """Adds pictures by name."""
        for name, figure in figures.items():
            self._board.add_figure(name, figure, step)

    def __enter__(self) -> "Record":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._board.close()

    def _lines(self) -> list[str]:
        """Returns the whole lines so far; a line that a dying process cut short is none."""
        if not self._log.exists():
            return []
        return [line for line in self._log.read_text().splitlines(keepends=True) if line.endswith("\n")]
