"""What a micro-batch comes to when a call fails: halves for a GPU without room, song by song for anything else."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest

from autosing.pipeline.outcomes import outcomes
from autosing.pipeline.schema import Column
from autosing.pipeline.song import Song
from autosing.pipeline.stage import Row, Stage
from autosing.signal.errors import RowError

SONGS = [Song(str(n), {}, {}) for n in range(10)]


def no_room() -> Exception:
    import torch

    return torch.cuda.OutOfMemoryError("CUDA out of memory")


@dataclass(frozen=True)
class Narrow(Stage):
    """Takes some songs at once, and one song never."""

    most: int
    fault: Callable[[], Exception]
    refused: str = ""

    def columns(self) -> tuple[Column, ...]:
        return (Column("n", pa.int32()),)

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        if len(songs) > self.most or self.refused in [song.id for song in songs]:
            raise self.fault()
        return [{"n": int(song.id)} for song in songs]


@pytest.mark.parametrize(
    ("most", "fault", "sizes"),
    [
        (10, no_room, [10]),
        (3, no_room, [10, 5, 3, 2, 5, 3, 2]),
        (1, no_room, [10, 5, 3, 2, 1, 1, 1, 2, 1, 1, 5, 3, 2, 1, 1, 1, 2, 1, 1]),
        (9, lambda: ValueError("odd"), [10] + [1] * 10),
        (9, lambda: MemoryError("of the machine"), [10] + [1] * 10),
    ],
)
def test_a_batch_that_fails_is_made_smaller(most: int, fault: Callable[[], Exception], sizes: list[int]) -> None:
    called: list[int] = []
    found = outcomes(Narrow(most, fault), SONGS, None, lambda songs: called.append(len(songs)))
    assert found == [{"n": n} for n in range(10)]
    assert called == sizes


def test_a_song_for_which_a_gpu_has_no_room_by_itself_gets_an_error_and_its_neighbours_go_on() -> None:
    found = outcomes(Narrow(10, no_room, refused="4"), SONGS, None)
    assert isinstance(found[4], RowError) and "OutOfMemoryError: CUDA out of memory" in str(found[4])
    assert [f for f in found if not isinstance(f, RowError)] == [{"n": n} for n in range(10) if n != 4]


def test_torch_is_not_loaded_to_find_out() -> None:
    code = (
        "import sys; from autosing.pipeline.outcomes import is_out_of_gpu_memory; "
        "assert not is_out_of_gpu_memory(MemoryError()); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
