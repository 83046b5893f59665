"""All that `autosing chaos` does: songs, a run in peace, and then cells of the matrix or a soak."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from autosing.pipeline.chaos.cells import Cell
from autosing.pipeline.chaos.site import Site, end_of, site
from autosing.pipeline.chaos.soak import Soak, SoakPlan, soak
from autosing.pipeline.chaos.state import State, copy_songs, make_songs
from autosing.pipeline.chaos.trial import try_cell
from autosing.pipeline.chaos.verdict import Verdict
from autosing.signal.errors import DataError


@dataclass(frozen=True)
class Songs:
    """The synthetic songs that runs are disturbed on: long enough for a run to be at work when it is struck."""

    partitions: int = 6
    songs: int = 3
    seconds: float = 8.0


def _silent(verdict: Verdict) -> None:
    """Tells nobody."""


def try_cells(
    cells: Sequence[Cell],
    data: str | None = None,
    store: str = "",
    songs: Songs = Songs(),
    hosts: bool = False,
    tell: Callable[[Verdict], None] = _silent,
) -> list[Verdict]:
    """Returns what each cell comes to.

    Args:
        cells: of the matrix.
        data: a data set whose songs are taken; it stays as it is. None: synthetic ones.
        store: the address below which copies of the songs are computed; it stays as it is. "": a temporary folder.
        songs: how many synthetic ones.
        hosts: whether nodes of Ray have hosts of their own.
        tell: told each verdict as soon as it is there.

    Raises:
        DataError: the undisturbed run fails.
        UsageError: there can be no hosts here.
    """
    verdicts = []
    with _prepared(data, store, songs, hosts) as (place, source, peaceful):
        for cell in cells:
            verdicts.append(try_cell(cell, place, source, peaceful))
            tell(verdicts[-1])
    return verdicts


def try_soak(
    plan: SoakPlan,
    data: str | None = None,
    store: str = "",
    songs: Songs = Songs(partitions=12),
    hosts: bool = False,
    tell: Callable[[Verdict], None] = _silent,
) -> Soak:
    """Returns what random kills come to.

    Args:
        plan: how many kills, and how long.
        data: as of `try_cells`, like the others.
    """
    with _prepared(data, store, songs, hosts) as (place, source, peaceful):
        return soak(plan, place, source, peaceful, tell)


@contextmanager
def _prepared(data: str | None, store: str, songs: Songs, hosts: bool) -> Iterator[tuple[Site, Path, State]]:
    """Gives a site, songs without columns, and what a run in peace makes of them."""
    with tempfile.TemporaryDirectory(prefix="autosing-chaos-", ignore_cleanup_errors=True) as scratch:
        source, peace = Path(scratch) / "songs", Path(scratch) / "peace"
        if data is None:
            make_songs(str(source), songs.partitions, songs.songs, songs.seconds)
        else:
            copy_songs(data, str(source))
        copy_songs(str(source), str(peace))
        with site(Path(scratch) / "site", store, hosts) as place:
            if code := end_of(place.process(str(peace), "local")):
                raise DataError(f"the undisturbed run ended with {code}: {place.log_since(0)}")
            yield place, source, State.of(str(peace))
