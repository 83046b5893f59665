"""What a stage makes of songs, whatever it does to them, and the models that it needs for that."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from autosing.pipeline.faults import reached
from autosing.pipeline.schema import Column
from autosing.pipeline.song import Song
from autosing.pipeline.stage import Row, Stage
from autosing.signal.errors import RowError, UsageError


class Models:
    """The models of a worker's stages, loaded on first use and kept."""

    def __init__(self) -> None:
        self._loaded: dict[tuple[Stage, str | None], Any] = {}

    def of(self, stage: Stage, definition: str | None) -> Any:
        """Returns what the stage's `setup` gave; a new definition (a renewed fit) is loaded anew."""
        if (stage, definition) not in self._loaded:
            self._loaded[stage, definition] = stage.setup()
        return self._loaded[stage, definition]


def outcomes(
    stage: Stage, songs: Sequence[Song], model: Any, on_call: Callable[[Sequence[Song]], None] = lambda songs: None
) -> list[Row | RowError]:
    """Returns what a stage makes of a micro-batch.

    A batch that raises is repeated song by song, one for which a GPU has no room in halves.

    Args:
        stage: which.
        songs: of the micro-batch.
        model: what the stage's `setup` gave.
        on_call: told which songs the stage gets, before it gets them.
    """
    if not songs:
        return []
    on_call(songs)
    reached("model-call")
    n = 1
    try:
        return stage.process(songs, model)
    except UsageError:
        raise
    except RowError as error:
        if len(songs) == 1:
            return [error]
    except Exception as error:  # the worker boundary: whatever a song does, its neighbours go on
        if len(songs) == 1:
            return [RowError(f"{type(error).__name__}: {error}")]
        n = (len(songs) + 1) // 2 if is_out_of_gpu_memory(error) else 1
    if n > 1:  # Here nothing holds the arrays of the failed call any more.
        sys.modules["torch"].cuda.empty_cache()
    parts = [songs[i : i + n] for i in range(0, len(songs), n)]
    return [outcome for part in parts for outcome in outcomes(stage, part, model, on_call)]


def is_out_of_gpu_memory(error: BaseException) -> bool:
    """Returns whether a GPU had no room; torch is not loaded for that."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.cuda.OutOfMemoryError)


def canonical(outcome: Row | RowError, columns: Sequence[Column]) -> Row | RowError:
    """Returns values as they will be read back, or why they can't be stored."""
    if isinstance(outcome, RowError):
        return outcome
    try:
        return {c.name: c.canonical(outcome.get(c.name)) for c in columns}
    except RowError as error:
        return error
